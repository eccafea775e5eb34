"""Position accuracy as the field reports it, on vectors worked out by hand and on those of the official code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specktrack.training.metrics import Accuracy, accuracy, errors_px, mean_accuracy

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


def golden(folder: Path, name: str) -> tuple[Any, dict[str, float]]:
    if not (folder / f"{name}.npz").is_file():
        pytest.skip(f"no golden metrics at {folder}; set SPECKTRACK_SHARED")
    with np.load(folder / f"{name}.npz", allow_pickle=False) as fields:
        arrays = {key: fields[key] for key in fields.files}
    results = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["results"]
    return arrays, results["echotracker_compute_metrics"]


@pytest.mark.parametrize("name", ["m9001", "m9002"])
def test_figures_are_those_of_the_official_evaluation_code(shared_folder: Path, name: str) -> None:
    arrays, official = golden(shared_folder / "goldens" / "metrics", name)
    truth, tracks, visible = (arrays[key] for key in ("gt_norm", "pred_norm", "visible"))
    figures = mean_accuracy(
        [accuracy(p * 256, t * 256, v, 0, SIZE) for p, t, v in zip(tracks, truth, visible, strict=True)]
    )
    for share, threshold in zip(figures.within, (1, 2, 4, 8, 16), strict=True):
        assert share == pytest.approx(official[f"pts_within_{threshold}"], abs=1e-6)
    assert figures.average == pytest.approx(official["average_pts_within_thresh"], abs=1e-6)
    assert figures.median_trajectory_error_px == pytest.approx(official["median_traj_error"], rel=1e-5)
    assert 100 * figures.survival_50 == pytest.approx(official["survival"], abs=1e-4)
