"""Clips to measure on come one at a time, queried in the frame the settings ask for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.errors import ConfigError, InputError
from specktrack.rt.settings import load_settings
from specktrack.training.cases import EvalConfig, Reference, find_sources, iterate_cases, load_cases
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.phases import fractions_from_ed


def settings(folder: Path, **changes: object) -> EvalConfig:
    return EvalConfig(data=(str(folder),), **changes)  # type: ignore[arg-type]


def saved(folder: Path, clip: TrainingClip) -> Path:
    folder.mkdir(exist_ok=True)
    save_clip(folder / f"{clip.name}.npz", clip)
    return folder


@pytest.mark.parametrize(("query", "frame"), [("first", 0), ("middle", 5), (0.4, 2), (0, 5)])
def test_the_query_frame_is_the_one_asked_for(tmp_path: Path, query: str | float, frame: int) -> None:
    saved(tmp_path, moving_dots())  # end-diastoles in frames 0 and 5
    assert load_cases(settings(tmp_path, query=query))[0].query_frame == frame


def test_diastasis_is_where_the_clip_says_it_is(tmp_path: Path) -> None:
    saved(tmp_path, replace(moving_dots(), query_frame=7))
    assert load_cases(settings(tmp_path, query="diastasis"))[0].query_frame == 7


def test_diastasis_of_a_clip_that_does_not_say_is_that_of_the_heart_rate(tmp_path: Path) -> None:
    clip = moving_dots(n_frames=50)
    still = np.repeat(clip.tracks[:, :1], 50, axis=1)
    saved(tmp_path, replace(clip, tracks=still, phase=fractions_from_ed((0, 50), 50), es_frames=()))
    assert load_cases(settings(tmp_path, query="diastasis"))[0].query_frame == pytest.approx(37, abs=1)


def test_without_phase_a_query_by_phase_is_refused_with_a_way_out(tmp_path: Path) -> None:
    saved(tmp_path, replace(moving_dots(), ed_frames=()))
    with pytest.raises(InputError, match=r"dots-0: query diastasis needs the phase .* set query to first or middle"):
        load_cases(settings(tmp_path, query="diastasis"))


@pytest.mark.parametrize("query", ["sometimes", "1.5"])
def test_a_query_that_is_no_frame_is_one_line(query: str) -> None:
    with pytest.raises(ConfigError, match="must be first, middle, diastasis or a fraction") as caught:
        load_settings(EvalConfig, None, [f"query={query}"])
    assert str(caught.value).count("\n") == 0


def test_points_hidden_in_the_query_frame_are_left_out_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    clip = moving_dots(n_points=4)
    clip.visible[1, 0] = False
    saved(tmp_path, replace(clip, wall_depth=np.array([0.1, 0.2, 0.3, np.nan], np.float32)))
    case = load_cases(settings(tmp_path))[0]
    np.testing.assert_array_equal(case.truth, clip.tracks[[0, 2, 3]])
    assert case.wall_depth is not None
    np.testing.assert_allclose(case.wall_depth[:2], [0.1, 0.3])


def test_a_clip_without_a_point_to_judge_is_left_out(tmp_path: Path) -> None:
    unseen, seen = moving_dots(seed=1), moving_dots(seed=2)
    unseen.visible[:, 1:] = False
    saved(saved(tmp_path, unseen), seen)
    assert [case.name for case in load_cases(settings(tmp_path))] == ["dots-2"]


def test_clips_are_loaded_only_when_their_turn_comes(tmp_path: Path) -> None:
    saved(tmp_path, moving_dots(seed=1))
    (tmp_path / "zz-damaged.npz").write_bytes(b"not a clip")
    cases = iterate_cases(settings(tmp_path))
    assert next(cases).name == "dots-1"
    with pytest.raises(InputError, match="zz-damaged"):
        next(cases)


def test_so_many_clips_of_each_folder_as_wanted(tmp_path: Path) -> None:
    """Spread over the folder, where clips of one view stand together."""
    for seed in range(6):
        saved(tmp_path, moving_dots(seed=seed))
    for wanted, names in {2: ["dots-0", "dots-3"], 3: ["dots-0", "dots-2", "dots-4"]}.items():
        assert [source.name for source in find_sources(settings(tmp_path, clips=wanted))] == names
    for wanted in (0, 6, 9):
        assert len(find_sources(settings(tmp_path, clips=wanted))) == 6


def test_nothing_named_is_nothing_to_evaluate() -> None:
    with pytest.raises(InputError, match="nothing to evaluate"):
        find_sources(EvalConfig())


def reference(folder: Path, **fields: object) -> Reference:
    clip = moving_dots()
    np.savez(folder / "clip.npz", frames=clip.frames, frame_rate_hz=50.0, mm_per_px=[0.5, 0.5])
    np.savez(folder / "tracks.npz", **{"tracks": clip.tracks, "visible": clip.visible, **fields})
    return Reference(clip=str(folder / "clip.npz"), tracks=str(folder / "tracks.npz"), ed_frames=(0, 9), view="a4c")


def test_a_reference_is_queried_where_it_says_and_keeps_its_view_and_phase(tmp_path: Path) -> None:
    case = load_cases(EvalConfig(references=(reference(tmp_path, query_frame=3),), query="middle"))[0]
    assert (case.query_frame, case.view, case.mm_per_px) == (3, "a4c", (0.5, 0.5))
    assert "unknown" not in case.labels


@pytest.mark.parametrize("fields", [{"query_frame": 10}, {"visible": np.ones((5, 9), bool)}])
def test_a_reference_that_does_not_fit_its_clip_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"tracks\.npz: expected visible \[5, 10\] and query_frame 0 to 9"):
        load_cases(EvalConfig(references=(reference(tmp_path, **fields),)))


def test_an_end_diastole_outside_the_clip_is_refused(tmp_path: Path) -> None:
    wrong = reference(tmp_path).model_copy(update={"ed_frames": (0, 44)})
    with pytest.raises(InputError, match=r"ed_frames of .*clip\.npz must be from 0 to 9, found \[0, 44\]"):
        load_cases(EvalConfig(references=(wrong,)))
