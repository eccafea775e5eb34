"""The paper's studies as one command each: tiny here, whole otherwise."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tiny_beats import PERIOD, beating_sheet, write_sheets

from specktrack.rt.errors import ConfigError, InputError
from specktrack.rt.settings import load_settings
from specktrack.training.checkpoint import find_checkpoint, load_checkpoint
from specktrack.training.clip_format import load_clip, save_clip
from specktrack.training.data import Batch, ExampleSettings
from specktrack.training.metrics import Accuracy
from specktrack.training.studies import STUDIES, main, run_study
from specktrack.training.study_bench import StudyBench, progress_bar, track
from specktrack.training.study_clips import clip_paths, hold_out, rate_of
from specktrack.training.study_config import PhaseStudy, SelfSupervision, StudyConfig
from specktrack.training.study_loop import PairMatcher, draw_pairs, pair_loss, run_of, train_run, trained_state
from specktrack.training.study_phase import frame_near, group_by_rate, minimum_with_spread
from specktrack.training.study_report import Line, plus_minus, write_page

CONFIGS = Path(__file__).parents[1] / "configs" / "studies"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of training clips and one of held-out ones, whose RV moves across instead of up and down."""
    root = tmp_path_factory.mktemp("clips")
    write_sheets(root / "train", {"a4c": 2})
    write_sheets(root / "val", {"a4c": 1, "rv": 1}, {"rv": 0.0})
    return root


def config_of(clips: Path, out: Path, **changes: object) -> StudyConfig:
    settings = {
        "train": (str(clips / "train"),),
        "held_out": (str(clips / "val"),),
        "size": 64,
        "steps": 2,
        "batch": 2,
        "n_points": 6,
        "search_px": 21,
        "seeds": (1, 2),
        "out": str(out),
        "phase": PhaseStudy(size=64, search_px=21, step_percent=25.0, stream="no-motion"),
        "selfsup": SelfSupervision(
            clips=(str(clips / "val"),),
            size=64,
            search_px=21,
            steps=2,
            n_points=6,
            reference_clip=str(clips / "val" / "a4c-000000.npz"),
            reference_tracks=str(clips / "val" / "a4c-000000.npz"),
        ),
    }
    return StudyConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_leaves_numbers_a_table_and_figures(name: str, clips: Path, tmp_path: Path) -> None:
    page = run_study(name, config_of(clips, tmp_path))
    text = page.read_text(encoding="utf-8")
    results = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))
    assert results["study"] == name
    assert results["settings"]["steps"] == 2
    assert results["findings"]
    assert text.startswith("## ")
    assert "|---" in text
    figures = sorted(page.parent.glob("*.png"))
    assert figures
    for figure in figures:
        assert f"({figure.name})" in text
        assert cv2.imread(str(figure)).shape[1] > 500


def test_a_study_that_was_stopped_trains_only_what_is_missing(clips: Path, tmp_path: Path) -> None:
    config = config_of(clips, tmp_path)
    run_study("scales", config)
    networks = sorted((tmp_path / "networks").glob("*.pt"))
    assert len(networks) == 6  # three subsets, two seeds
    first = (tmp_path / "scales" / "results.json").read_text()
    made = {path: path.stat().st_mtime_ns for path in networks}
    networks[0].unlink()
    run_study("scales", config)
    again = sorted((tmp_path / "networks").glob("*.pt"))
    assert again == networks
    assert [path for path in again if path.stat().st_mtime_ns != made[path]] == [networks[0]]
    assert (tmp_path / "scales" / "results.json").read_text() == first


def test_studies_share_the_networks_they_have_in_common(clips: Path, tmp_path: Path) -> None:
    config = config_of(clips, tmp_path, seeds=(1,))
    run_study("scales", config)
    before = len(list((tmp_path / "networks").glob("*.pt")))
    run_study("combine", config)
    after = len(list((tmp_path / "networks").glob("*.pt")))
    assert (before, after) == (3, 3 + 5)  # of seven arms the product and the fine scale were there


def test_new_training_clips_mean_new_networks(clips: Path, tmp_path: Path) -> None:
    config = config_of(clips, tmp_path, seeds=(1,))
    more = write_sheets(tmp_path / "more", {"a4c": 3})
    with progress_bar() as progress:
        keys = {
            StudyBench(config_of(clips, tmp_path, train=train), progress).run(1).key
            for train in (config.train, (str(more),))
        }
    assert len(keys) == 2


def test_a_trained_matcher_follows_better_than_an_untrained_one(clips: Path, tmp_path: Path) -> None:
    config = config_of(clips, tmp_path, steps=60, affine="none", learning_rate=5e-3)
    run = run_of(config, 1, "sheets")
    trained = train_run(
        run, [load_clip(p) for p in sorted((clips / "train").glob("*"))], tmp_path, "cpu", lambda _: None
    )
    torch.manual_seed(1)
    case = hold_out(load_clip(clips / "val" / "a4c-000000.npz"), "a4c", 64, 16)
    errors = [
        np.abs(track(m.eval(), case, case.query_frame, 21) - case.truth).mean() for m in (trained, PairMatcher(run))
    ]
    assert errors[0] < 0.8 * errors[1]


def test_a_learned_exponent_moves_and_a_fixed_one_does_not(clips: Path, tmp_path: Path) -> None:
    run = run_of(config_of(clips, tmp_path, steps=4), 1, "sheets")
    train = [load_clip(p) for p in sorted((clips / "train").glob("*"))]
    fixed = train_run(run, train, tmp_path, "cpu", lambda _: None)
    free = train_run(replace(run, is_gamma_learned=True), train, tmp_path, "cpu", lambda _: None)
    assert fixed.gamma == pytest.approx(15.0)
    assert free.gamma != pytest.approx(15.0, abs=1e-4)


def test_all_arms_of_a_seed_see_the_same_pairs(clips: Path, tmp_path: Path) -> None:
    sheets = [beating_sheet(seed=s) for s in range(2)]
    settings = ExampleSettings(64, 6, ())
    first, second = (draw_pairs(3, 7, sheets, 2, settings) for _ in range(2))
    np.testing.assert_array_equal(first.frames, second.frames)
    assert first.frames.shape == (2, 2, 64, 64)


def test_a_point_that_left_the_square_does_not_teach() -> None:
    matcher = PairMatcher(run_of(StudyConfig(), 1, ""))
    points = np.full((1, 2, 1, 2), 20, np.float32)
    points[0, 1] = 45
    frames = np.random.default_rng(0).integers(0, 255, (1, 2, 64, 64)).astype(np.uint8)
    loss = pair_loss(matcher, Batch(frames, points, np.ones((1, 2, 1), bool)), 21, 0.5)
    assert loss.item() == 0


def test_a_turned_clip_is_the_same_heart_lying_on_its_side() -> None:
    clip = beating_sheet(size=64)
    upright, turned = (hold_out(clip, "a4c", 64, 16, angle) for angle in (0.0, 90.0))
    motion = [np.abs(case.truth - case.truth[:, [case.query_frame]]).max((0, 1)) for case in (upright, turned)]
    assert motion[0] == pytest.approx([0.0, 5.0], abs=0.2)
    assert motion[1] == pytest.approx([5.0, 0.0], abs=0.2)
    np.testing.assert_allclose(np.rot90(upright.frames[0], -1)[2:-2, 2:-2], turned.frames[0][2:-2, 2:-2], atol=1)


def test_points_are_set_where_the_clip_says_else_in_its_diastasis() -> None:
    clip = beating_sheet()
    assert hold_out(clip, "a4c", 64, 16).query_frame == clip.query_frame
    unsaid = hold_out(replace(clip, query_frame=None), "a4c", 64, 16)
    assert 0.65 <= unsaid.phase[unsaid.query_frame] <= 0.9
    unknown = replace(clip, query_frame=None, phase=None, ed_frames=())
    assert hold_out(unknown, "a4c", 64, 16).query_frame == len(clip.frames) // 2


def test_the_heart_rate_follows_from_how_fast_the_phase_runs() -> None:
    clip = beating_sheet()
    assert clip.phase is not None
    assert rate_of(clip.phase, clip.frame_rate_hz) == pytest.approx(60 * clip.frame_rate_hz / PERIOD, rel=1e-3)
    assert np.isnan(rate_of(np.full(5, np.nan, np.float32), 50.0))


def test_clips_of_a_view_are_found_by_what_they_say(clips: Path) -> None:
    assert [p.name for p in clip_paths([str(clips / "val")], ["rv"], 0)] == ["rv-000000.npz"]
    assert len(clip_paths([str(clips / "val")], [], 0)) == 2


def test_a_missing_view_is_refused_with_the_command_that_makes_it(clips: Path) -> None:
    with pytest.raises(InputError, match=r"no clip of view psax; make some with simulate-echo .*--view psax"):
        clip_paths([str(clips / "val")], ["psax"], 0)


def test_a_clip_without_a_visible_point_is_refused() -> None:
    clip = beating_sheet()
    with pytest.raises(InputError, match="no point is visible in frame 9"):
        hold_out(replace(clip, visible=np.zeros_like(clip.visible)), "a4c", 64, 16)


def test_clips_of_unknown_phase_cannot_be_swept(clips: Path, tmp_path: Path) -> None:
    bare = replace(beating_sheet(), phase=None, ed_frames=())
    (tmp_path / "bare").mkdir()
    save_clip(tmp_path / "bare" / "a4c-000000.npz", bare)
    with pytest.raises(InputError, match="no clip knows its phase"):
        run_study("phase", config_of(clips, tmp_path, held_out=(str(tmp_path / "bare"),)))


def test_self_supervision_without_clips_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"selfsup\.clips: no unlabelled clip"):
        run_study("selfsup", config_of(clips, tmp_path, selfsup=SelfSupervision()))


def test_fine_tuning_leaves_a_checkpoint_and_says_what_it_learned_from(clips: Path, tmp_path: Path) -> None:
    page = run_study("selfsup", config_of(clips, tmp_path, seeds=(1,)))
    assert "its frames were learned from, its tracks were not" in page.read_text(encoding="utf-8")
    tuned = load_checkpoint(tmp_path / "selfsup" / "with-cycle-seed1.pt")
    start = load_checkpoint(find_checkpoint("specknet-s"))
    assert tuned.model == start.model
    assert trained_state(start).keys() <= tuned.state.keys()
    assert tuned.state["network"].keys() == trained_state(start)["network"].keys()


def test_a_phase_between_two_beats_is_near_both() -> None:
    phase = (np.arange(24) % 12 / 12).astype(np.float32)
    frame = frame_near(phase, 0.99)
    assert frame is not None
    assert phase[frame] in (0.0, pytest.approx(11 / 12))
    assert frame_near(phase[:6], 0.75) is None


def test_the_minimum_is_found_across_the_end_of_the_beat() -> None:
    grid = np.arange(0, 1, 0.05)
    rng = np.random.default_rng(0)
    curves = 2 - np.cos(2 * np.pi * (grid - 0.97)) + rng.normal(0, 0.02, (12, len(grid)))
    best, low, high = minimum_with_spread(curves, grid)
    assert min(best, 1 - best) <= 0.1
    assert low <= best <= high
    assert high - low <= 0.25


def test_slow_and_fast_hearts_are_grouped_with_their_own_diastasis() -> None:
    case = hold_out(beating_sheet(), "a4c", 64, 16)
    cases = [replace(case, rate_bpm=rate) for rate in (55.0, 60.0, 70.0, 95.0)]
    groups = group_by_rate(cases, (65.0, 80.0))
    assert [g.name for g in groups] == ["all", "below 65/min", "65 to 80/min", "80/min and more"]
    assert [len(g.clips) for g in groups] == [4, 2, 1, 1]
    widths = [g.window.end - g.window.start for g in groups[1:]]
    assert widths[0] > widths[1] > widths[2]


def test_the_spread_is_over_seeds_and_one_seed_has_none() -> None:
    assert plus_minus([1.0, 3.0], 1) == "2.0 ± 1.4"
    assert plus_minus([1.0], 1) == "1.0"
    line = Line("a", "b", (Accuracy((0.5, 0.6, 0.7, 0.8, 0.9), 2.0, 1.0, 1.0),) * 2)
    assert line.mean("within_1") == pytest.approx(50.0)
    assert line.mean("average") == pytest.approx(70.0)
    assert line.sd("mte") == pytest.approx(0.0)


def test_the_page_joins_what_there_is_and_says_what_is_missing(clips: Path, tmp_path: Path) -> None:
    run_study("scales", config_of(clips, tmp_path / "out", seeds=(1,)))
    page = tmp_path / "docs" / "results.md"
    missing = write_page(page, tmp_path / "out", {"scales": "They add.", "phase": "Diastasis is best."})
    text = page.read_text(encoding="utf-8")
    assert missing == ["phase"]
    assert "Diastasis is best.\n\nNot run yet: `study-tracker phase`" in text
    assert "Size: 1 seed, 2 steps of 2 pairs at 64 px" in text
    assert "(study-scales-scales.png)" in text
    assert (page.parent / "study-scales-scales.png").is_file()


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `study-tracker` as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["study-tracker", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_command_runs_a_study_from_a_file_with_overrides(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config_of(clips, tmp_path / "unused").model_dump(mode="json")))
    out = tmp_path / "here"
    assert command(monkeypatch, "scales", "--config", str(path), "--set", "seeds=[1]", "--out", str(out)) == 0
    assert "Number of scales" in capsys.readouterr().out
    assert (out / "scales" / "results.md").is_file()
    assert command(monkeypatch, "page", "--out", str(out), "--to", str(tmp_path / "page.md")) == 0
    assert "not run yet: bias, phase, combine, gamma, selfsup" in capsys.readouterr().out


def test_an_unknown_study_is_refused_with_the_names_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "bais") == 2
    assert capsys.readouterr().err.startswith("error: bais: unknown study; known are bias, phase")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_file_can_be_read(path: Path) -> None:
    assert load_settings(StudyConfig, path).seeds == (1, 2, 3)


def test_a_misspelt_study_setting_is_refused_with_the_near_name(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("phase: {step_percnt: 5}\n")
    with pytest.raises(ConfigError, match="did you mean 'step_percent'"):
        load_settings(StudyConfig, path)
