"""eval-tracker as a user runs it: on folders of clips, stopped and started again, in one process and in two."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import open_engine
from specktrack.rt.errors import EngineError, InputError
from specktrack.training import jobs
from specktrack.training.cases import Case, EvalConfig, find_sources, load_cases
from specktrack.training.clip_format import save_clip
from specktrack.training.difficulty import difficulty
from specktrack.training.evaluate import measure, write_report
from specktrack.training.follow import track_case, track_classical
from specktrack.training.metrics import accuracy
from specktrack.training.peak_memory import peak_memory

N_CLIPS = 3


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small clips with phase, layers and a contour that goes with the dots."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(N_CLIPS):
        clip = moving_dots(n_frames=9, n_points=8, seed=seed)
        phase = (np.arange(9) / 9).astype(np.float32)
        depth = np.array([0.1, 0.2, 0.4, 0.5, 0.8, 0.9, np.nan, np.nan], np.float32)
        full = replace(clip, phase=phase, contour=clip.tracks, wall_depth=depth, ed_frames=(0,), es_frames=(4,))
        save_clip(folder / f"{clip.name}.npz", full)
    return folder


def settings(folder: Path, out: Path, **changes: object) -> EvalConfig:
    values = {
        "models": ("dis", "no-motion"),
        "data": (str(folder),),
        "out": str(out),
        "query": "middle",
        "memory": False,
    }
    return EvalConfig(**{**values, **changes})  # type: ignore[arg-type]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("eval-tracker")), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_one_command_writes_the_tables_the_numbers_and_the_figures(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = tmp_path / "eval.yaml"
    config.write_text(f"data: [{clips}]\nmodels: [block, dis, lucas-kanade]\nquery: diastasis\nout: {out}\n")
    done = run(config)
    assert done.returncode == 0, done.stderr
    report = (out / "accuracy.md").read_text(encoding="utf-8")
    for heading in ("Phase of the beat", "View", "Layer of the wall", "Distance from the query", "Confidence", "Cost"):
        assert f"## {heading}" in report
    rows = {row["tracker"]: row for row in json.loads((out / "accuracy.json").read_text())["trackers"]}
    assert list(rows) == ["block", "dis", "lucas-kanade"]
    assert rows["dis"]["average"] > 0.5
    assert rows["dis"]["reliability"] is None
    for name in ("accuracy_by_phase", "error_by_distance", "bland_altman", "reliability"):
        assert cv2.imread(str(out / f"{name}.png")).shape[1] == 1000
        assert f"({name}.png)" in report


def test_figures_are_those_of_the_tracks_themselves(clips: Path, tmp_path: Path) -> None:
    config = settings(clips, tmp_path)
    (summary, _), _ = measure(config)
    parts = [
        accuracy(track_classical("dis", case), case.truth, case.visible, case.query_frame, case.size)
        for case in load_cases(config)
    ]
    assert summary.overall.average == pytest.approx(np.mean([part.average for part in parts]))
    assert summary.n_clips == N_CLIPS


class PowerCutError(RuntimeError):
    """Stands for a power cut."""


def test_a_stopped_run_goes_on_with_what_is_missing(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(clips, tmp_path)
    tracked: list[str] = []
    score_clip = jobs.score_clip

    def until_the_power_cut(follower: jobs.Follower, case: Case) -> jobs.ClipScore:
        if len(tracked) == 4:  # two trackers on two clips
            raise PowerCutError
        tracked.append(case.name)
        return score_clip(follower, case)

    monkeypatch.setattr(jobs, "score_clip", until_the_power_cut)
    with pytest.raises(PowerCutError):
        measure(config)
    tracked.clear()
    stopped, _ = measure(config)
    assert tracked == ["dots-2", "dots-2"]
    monkeypatch.undo()
    whole, _ = measure(settings(clips, tmp_path / "whole"))
    assert [summary.overall for summary in stopped] == [summary.overall for summary in whole]


def test_what_was_measured_is_measured_again_when_a_clip_changes_or_when_asked(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    clip = moving_dots(n_frames=9)
    save_clip(folder / "a.npz", clip)
    config = settings(folder, tmp_path / "out", models=("no-motion",))
    before = measure(config)[0][0].overall
    path = next((tmp_path / "out" / "scores" / "no-motion").glob("a-*[0-9a-f].json"))
    planted = json.loads(path.read_text())
    planted["overall"]["median_trajectory_error_px"] = 77.0
    path.write_text(json.dumps(planted))
    assert measure(config)[0][0].overall.median_trajectory_error_px == 77.0
    assert measure(config, fresh=True)[0][0].overall == before
    save_clip(folder / "a.npz", replace(clip, tracks=clip.tracks + 1))
    assert measure(config)[0][0].overall == before  # no motion, no difference: but the file was read again
    assert len(list(path.parent.glob("a-*[0-9a-f].json"))) > 1


def test_settings_of_the_fusion_count_and_the_number_of_jobs_does_not(clips: Path, tmp_path: Path) -> None:
    first = settings(clips, tmp_path, clips=1, models=("no-motion",))
    measure(first)
    scores = tmp_path / "scores" / "no-motion"
    n = len(list(scores.iterdir()))
    measure(first.model_copy(update={"jobs": 2}))
    assert len(list(scores.iterdir())) == n
    measure(first.model_copy(update={"match": first.match.model_copy(update={"still_sigma_px": 7.0})}))
    assert len(list(scores.iterdir())) > n


def test_two_processes_find_the_same(clips: Path, tmp_path: Path) -> None:
    one, _ = measure(settings(clips, tmp_path / "one", models=("block", "dis")))
    two, _ = measure(settings(clips, tmp_path / "two", models=("block", "dis"), jobs=2))
    for a, b in zip(one, two, strict=True):
        assert a.overall == b.overall
        assert a.gls == b.gls
        assert a.reliability == b.reliability


def test_a_damaged_clip_ends_a_run_in_two_processes_with_its_name(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "damaged.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        measure(settings(folder, tmp_path / "out", jobs=2))


def test_clips_without_a_visible_query_point_are_left_out_and_counted(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    seen, unseen = moving_dots(seed=1), moving_dots(seed=2)
    unseen.visible[:, 5] = False
    save_clip(folder / "seen.npz", seen)
    save_clip(folder / "unseen.npz", unseen)
    config = settings(folder, tmp_path / "out")
    summaries, n_skipped = measure(config)
    assert (summaries[0].n_clips, n_skipped) == (1, 1)
    write_report(tmp_path / "out", config, summaries, n_skipped)
    assert "1 clip without a point" in (tmp_path / "out" / "accuracy.md").read_text(encoding="utf-8")


def test_with_no_point_anywhere_there_is_nothing_to_report(tmp_path: Path) -> None:
    clip = moving_dots()
    clip.visible[:, 5] = False
    save_clip(tmp_path / "unseen.npz", clip)
    with pytest.raises(InputError, match="none of the clips has a point"):
        measure(settings(tmp_path, tmp_path / "out"))


def test_an_unknown_tracker_is_refused_before_anything_is_tracked(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="model specknet-z: not shipped"):
        measure(settings(clips, tmp_path, models=("dis", "specknet-z")))
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_sentence_and_exit_code_two(tmp_path: Path) -> None:
    done = run("--set", f"data=[{tmp_path}]")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no .npz clips found")
    assert done.stderr.count("\n") == 1


def test_memory_of_a_tracker_is_the_growth_of_a_process_of_its_own(clips: Path, tmp_path: Path) -> None:
    config = settings(clips, tmp_path)
    found = peak_memory("block", find_sources(config)[0], config).host_mb
    if found is None:
        pytest.skip("this system does not tell the memory of a process")
    assert 0 < found < 1000


def test_difficulty_has_a_row_for_every_classical_tracker(clips: Path, tmp_path: Path) -> None:
    cases = load_cases(settings(clips, tmp_path))
    rows = {row.tracker: row.accuracy for row in difficulty(iter(cases))}
    assert list(rows) == ["lucas-kanade", "dis", "block", "no-motion"]
    assert rows["dis"].average > rows["no-motion"].average
    engine = open_engine(ModelConfig(name="block"))
    tracks = [track_case(engine, case, EvalConfig().match)[0] for case in cases]
    expected = [
        accuracy(t, c.truth, c.visible, c.query_frame, c.size).average for t, c in zip(tracks, cases, strict=True)
    ]
    assert rows["block"].average == pytest.approx(np.mean(expected))
