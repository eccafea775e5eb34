"""Position accuracy as the field reports it, on vectors worked out by hand and on those of the official code."""

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.training.metrics import Accuracy, accuracy, errors_px, figures, mean_accuracy, measure

SIZE = (256, 256)


def tracks_with_errors(errors: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Truth and tracks (N, 1 + T, 2) whose errors after the query frame are those given."""
    error = np.array([[0.0, *row] for row in errors])
    truth = np.full((*error.shape, 2), 100.0, np.float32)
    tracks = truth.copy()
    tracks[..., 0] += error
    return tracks, truth


def measured(errors: list[list[float]]) -> Accuracy:
    tracks, truth = tracks_with_errors(errors)
    return accuracy(tracks, truth, np.ones(truth.shape[:2], bool), 0, SIZE)


def test_three_pixels_everywhere_are_within_four_but_not_within_two() -> None:
    figures = measured([[3.0, 3.0], [3.0, 3.0]])
    assert figures.within == (0.0, 0.0, 1.0, 1.0, 1.0)
    assert figures.average == pytest.approx(0.6)


def test_half_right_and_half_three_pixels_off_average_to_four_fifths() -> None:
    assert measured([[0.0, 3.0], [3.0, 0.0]]).average == pytest.approx(0.8)


def test_exactly_one_pixel_is_not_within_one_pixel() -> None:
    figures = measured([[1.0, 1.0, 1.0]])
    assert figures.within[0] == 0.0
    assert figures.average == pytest.approx(0.8)


def test_trajectory_error_is_the_mean_of_the_points_medians_and_a_lost_point_dies_for_good() -> None:
    figures = measured([[0, 1, 2, 3, 4], [0, 0, 0, 0, 50]])
    assert figures.median_trajectory_error_px == pytest.approx(1.0)
    assert figures.survival_16 == pytest.approx(0.9)
    assert figures.survival_50 == pytest.approx(1.0)  # alive while the error is at most the threshold


def test_a_point_that_comes_back_stays_dead() -> None:
    assert measured([[0, 20, 0, 0]]).survival_16 == pytest.approx(0.25)


def test_from_a_query_in_the_middle_points_survive_in_both_directions() -> None:
    truth = np.zeros((1, 5, 2), np.float32)
    tracks = truth.copy()
    tracks[0, 0, 0] = 40.0  # lost only in the frame furthest back
    figures = accuracy(tracks, truth, np.ones((1, 5), bool), 3, SIZE)
    assert figures.survival_16 == pytest.approx(0.75)


def test_the_query_frame_never_counts() -> None:
    tracks, truth = tracks_with_errors([[0.5, 0.5]])
    tracks[:, 0] += 99.0
    figures = accuracy(tracks, truth, np.ones((1, 3), bool), 0, SIZE)
    assert figures.average == 1.0
    assert figures.survival_16 == 1.0


def test_hidden_positions_do_not_count() -> None:
    tracks, truth = tracks_with_errors([[0.5, 90.0]])
    figures = accuracy(tracks, truth, np.array([[True, True, False]]), 0, SIZE)
    assert figures.average == 1.0
    assert figures.survival_16 == 1.0


def test_a_lost_point_is_infinitely_wrong() -> None:
    tracks, truth = tracks_with_errors([[0.0, 0.0]])
    tracks[0, 2] = np.nan
    figures = accuracy(tracks, truth, np.ones((1, 3), bool), 0, SIZE)
    assert figures.within == (0.5,) * 5
    assert figures.survival_50 == pytest.approx(0.5)


def test_errors_are_measured_on_a_square_of_256_pixels() -> None:
    truth = np.zeros((1, 1, 2), np.float32)
    wide = errors_px(truth + np.array([10.0, 0.0], np.float32), truth, (256, 1024))
    tall = errors_px(truth + np.array([0.0, 10.0], np.float32), truth, (512, 1024))
    assert float(wide[0, 0]) == pytest.approx(2.5)
    assert float(tall[0, 0]) == pytest.approx(5.0)


def test_clips_count_the_same_whatever_their_length() -> None:
    short, long = measured([[3.0]]), measured([[0.0] * 50] * 9)
    mean = mean_accuracy([short, long])
    assert mean.average == pytest.approx(0.8)
    assert mean.median_trajectory_error_px == pytest.approx(1.5)


def test_millimetres_follow_the_size_of_a_pixel_in_each_direction() -> None:
    tracks, truth = tracks_with_errors([[1.0, 2.0, 9.0], [3.0, 3.0, 3.0]])
    found = accuracy(tracks, truth, np.ones((2, 4), bool), 0, SIZE, mm_per_px=(0.5, 7.0))
    assert found.median_trajectory_error_mm == pytest.approx(1.25)
    assert found.p95_mm == pytest.approx(4.5)


def test_without_the_size_of_a_pixel_there_are_no_millimetres() -> None:
    found = measured([[1.0]])
    assert np.isnan(found.median_trajectory_error_mm)
    assert np.isnan(found.p95_mm)


def test_a_part_of_the_frames_is_judged_alone_but_a_point_lost_before_it_is_dead_in_it() -> None:
    tracks, truth = tracks_with_errors([[0.0, 20.0, 0.0, 0.0]])
    late = np.array([[False, False, False, True, True]])
    found = figures(measure(tracks, truth, np.ones((1, 5), bool), 0, SIZE), late)
    assert found is not None
    assert found.average == 1.0
    assert found.survival_16 == 0.0


def test_a_part_without_visible_points_has_no_figures() -> None:
    tracks, truth = tracks_with_errors([[0.0, 0.0]])
    errors = measure(tracks, truth, np.array([[True, True, False]]), 0, SIZE)
    assert figures(errors, np.array([[True, False, True]])) is None


def test_a_clip_seen_only_in_its_query_frame_is_refused() -> None:
    tracks, truth = tracks_with_errors([[0.0, 0.0]])
    with pytest.raises(ValueError, match="frame 0, the query"):
        accuracy(tracks, truth, np.array([[True, False, False]]), 0, SIZE)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_the_order_of_the_points_changes_nothing(seed: int, query: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 256, (5, 7, 2)).astype(np.float32)
    tracks = (truth + rng.normal(0, 12, truth.shape)).astype(np.float32)
    visible = rng.random((5, 7)) < 0.8
    visible[0] = True
    order = rng.permutation(5)
    one = accuracy(tracks, truth, visible, query, SIZE, (0.3, 0.4))
    other = accuracy(tracks[order], truth[order], visible[order], query, SIZE, (0.3, 0.4))
    assert other.within == pytest.approx(one.within)
    assert astuple(other)[1:] == pytest.approx(astuple(one)[1:], rel=1e-6)


def golden(folder: Path, name: str) -> tuple[Any, dict[str, Any]]:
    if not (folder / f"{name}.npz").is_file():
        pytest.skip(f"no golden metrics at {folder}; set SPECKTRACK_SHARED")
    with np.load(folder / f"{name}.npz", allow_pickle=False) as fields:
        arrays = {key: fields[key] for key in fields.files}
    results = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["results"]
    return arrays, results


@pytest.mark.parametrize("name", ["m9001", "m9002"])
def test_figures_are_those_of_the_official_evaluation_code(shared_folder: Path, name: str) -> None:
    arrays, results = golden(shared_folder / "goldens" / "metrics", name)
    official = results["echotracker_compute_metrics"]
    truth, tracks, visible = (arrays[key] for key in ("gt_norm", "pred_norm", "visible"))
    figures = mean_accuracy(
        [accuracy(p * 256, t * 256, v, 0, SIZE) for p, t, v in zip(tracks, truth, visible, strict=True)]
    )
    for share, threshold in zip(figures.within, (1, 2, 4, 8, 16), strict=True):
        assert share == pytest.approx(official[f"pts_within_{threshold}"], abs=1e-6)
    assert figures.average == pytest.approx(official["average_pts_within_thresh"], abs=1e-6)
    assert figures.median_trajectory_error_px == pytest.approx(official["median_traj_error"], rel=1e-5)
    assert 100 * figures.survival_50 == pytest.approx(official["survival"], abs=1e-4)


@pytest.mark.parametrize("name", ["m9001", "m9002"])
def test_queries_in_the_middle_are_judged_as_tapvid_judges_strided_ones(shared_folder: Path, name: str) -> None:
    arrays, results = golden(shared_folder / "goldens" / "metrics", name)
    official = results["cotracker_tapvid_strided_x255"]
    for clip, (truth, tracks, visible) in enumerate(
        zip(arrays["gt_norm"] * 255, arrays["pred_norm"] * 255, arrays["visible"], strict=True)
    ):
        within, judged = np.zeros(5), 0
        for n in range(len(truth)):  # point n is queried in frame n of the clip
            query = n % truth.shape[1]
            count = int(visible[n].sum()) - int(visible[n, query])
            part = accuracy(tracks[[n]], truth[[n]], visible[[n]], query, SIZE)
            within += count * np.array(part.within)
            judged += count
        for share, threshold in zip(within / judged, (1, 2, 4, 8, 16), strict=True):
            assert share == pytest.approx(official[f"pts_within_{threshold}"][clip], abs=1e-6)


def test_wide_clips_are_judged_as_pips2_judges_them(shared_folder: Path) -> None:
    arrays, results = golden(shared_folder / "goldens" / "metrics", "m9002")
    official = results["pips2_test_on_fullseq_HW384x640"]
    corner = np.array([639, 383], np.float32)
    tracks, truth, visible = arrays["pred_norm"][0] * corner, arrays["gt_norm"][0] * corner, arrays["visible"][0]
    found = accuracy(tracks, truth, visible, 0, (384, 640))
    for share, threshold in zip(found.within, (1, 2, 4, 8, 16), strict=True):
        assert 100 * share == pytest.approx(official[f"d_{threshold}"], abs=1e-4)
    n_frames = truth.shape[1]  # pips2 counts the query frame too, in which every point is alive
    assert 100 * (1 + (n_frames - 1) * found.survival_16) / n_frames == pytest.approx(official["survival"], abs=1e-4)
