"""A contour: even points, equal segments, a smooth curve that jitter does not lengthen."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt.contour import ContourSmoother, resample_contour, segment_bounds
from specktrack.rt.errors import InputError


def half_ellipse(n: int, short: float = 25.0, long: float = 90.0) -> np.ndarray:
    angle = np.linspace(0.0, np.pi, n)
    return np.stack([short * np.cos(angle), long * np.sin(angle)], axis=1).astype(np.float32)


def length(points: np.ndarray) -> float:
    return float(np.hypot(*np.diff(points.astype(np.float64), axis=0).T).sum())


SURE = np.ones(61, np.float32)


def test_resampled_points_are_evenly_spaced_and_keep_the_ends() -> None:
    drawn = half_ellipse(23)
    even = resample_contour(drawn, 61)
    steps = np.hypot(*np.diff(even, axis=0).T)
    assert even.dtype == np.float32
    assert even.shape == (61, 2)
    assert steps.max() / steps.min() < 1.02
    np.testing.assert_allclose(even[[0, -1]], drawn[[0, -1]], atol=1e-4)


def test_seven_clicks_give_a_smooth_wall_of_nearly_its_true_length() -> None:
    assert length(resample_contour(half_ellipse(7), 61)) == pytest.approx(195.38, rel=0.01)


def test_a_straight_line_stays_straight_and_double_clicks_count_once() -> None:
    line = resample_contour(np.array([[0, 0], [0, 0], [3, 4], [3, 4], [6, 8]], np.float32), 11)
    np.testing.assert_allclose(line, np.linspace([0, 0], [6, 8], 11), atol=1e-5)


@pytest.mark.parametrize("drawn", [[], [[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], [[0.0, 0.0], [np.nan, 1.0]], [[1.0]]])
def test_a_contour_that_is_none_is_refused_with_a_remedy(drawn: list[list[float]]) -> None:
    with pytest.raises(InputError, match="draw it again"):
        resample_contour(np.array(drawn, np.float32), 61)


def test_six_segments_have_equal_length_and_share_their_boundaries() -> None:
    even = resample_contour(half_ellipse(41), 61)
    bounds = segment_bounds(even, 6)
    assert bounds.tolist() == [0, 10, 20, 30, 40, 50, 60]
    parts = [length(even[a : b + 1]) for a, b in pairwise(bounds)]
    assert max(parts) / min(parts) < 1.01
    assert sum(parts) == pytest.approx(length(even))


def test_every_segment_keeps_an_interval_even_when_points_crowd_at_one_end() -> None:
    crowded = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [100, 0]], np.float32)
    assert np.all(np.diff(segment_bounds(crowded, 4)) >= 1)
    assert np.all(np.diff(segment_bounds(crowded[::-1], 4)) >= 1)


def test_too_few_points_for_the_segments_is_an_error() -> None:
    with pytest.raises(InputError, match="at least 7 points"):
        segment_bounds(half_ellipse(5), 6)
    with pytest.raises(InputError, match="at least 7 points"):
        ContourSmoother(5, 13, 6)


@pytest.mark.parametrize(("knots", "segments", "expected"), [(13, 6, 13), (13, 5, 16), (13, 18, 19), (4, 1, 4)])
def test_smoothed_points_fall_on_segment_boundaries(knots: int, segments: int, expected: int) -> None:
    smoother = ContourSmoother(61, knots, segments)
    assert smoother.smooth(half_ellipse(61), SURE).shape == (expected, 2)
    assert smoother.bounds[-1] == expected - 1
    assert len(smoother.bounds) == segments + 1


def test_smoothing_keeps_the_length_and_the_ends_of_a_clean_wall() -> None:
    curve = ContourSmoother(61, 13, 6).smooth(half_ellipse(61), SURE)
    assert length(curve) == pytest.approx(length(half_ellipse(13)), rel=2e-4)
    np.testing.assert_allclose(curve[[0, -1]], half_ellipse(61)[[0, -1]], atol=0.05)


def test_jitter_does_not_lengthen_the_smoothed_wall() -> None:
    rng = np.random.default_rng(1)
    smoother, wall = ContourSmoother(61, 13, 6), half_ellipse(61)
    noisy = [
        length(smoother.smooth(wall + rng.normal(0, 1.0, wall.shape).astype(np.float32), SURE)) for _ in range(200)
    ]
    assert np.mean(noisy) == pytest.approx(length(wall), rel=0.004)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-500, 500), st.floats(0.5, 2.0))
def test_smoothing_moves_turns_and_grows_with_the_points(angle: float, shift: float, scale: float) -> None:
    smoother, wall = ContourSmoother(61, 13, 6), half_ellipse(61)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = smoother.smooth(wall, SURE) @ turn.T + shift
    np.testing.assert_allclose(smoother.smooth((wall @ turn.T + shift).astype(np.float32), SURE), expected, atol=2e-3)


def test_one_lost_point_changes_nothing_and_rejects_nothing() -> None:
    smoother, wall = ContourSmoother(61, 13, 6), half_ellipse(61)
    gone = wall.copy()
    gone[25] = np.nan
    assert length(smoother.smooth(gone, SURE)) == pytest.approx(length(smoother.smooth(wall, SURE)), abs=0.01)
    assert not smoother.lost_segments(gone, SURE, 0.3).any()


def test_an_unsure_outlier_weighs_little() -> None:
    smoother, wall = ContourSmoother(61, 13, 6), half_ellipse(61)
    wild, confidence = wall.copy(), SURE.copy()
    wild[25] += 20.0
    confidence[25] = 0.01
    assert length(smoother.smooth(wild, confidence)) == pytest.approx(length(smoother.smooth(wall, SURE)), abs=0.1)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(slice(22, 27), [2]), (slice(0, 2), [0]), (slice(59, 61), [5]), (slice(20, 21), []), (slice(18, 31), [1, 2])],
)
def test_a_hole_rejects_the_segments_it_lies_in(missing: slice, expected: list[int]) -> None:
    gone = half_ellipse(61)
    gone[missing] = np.nan
    lost = ContourSmoother(61, 13, 6).lost_segments(gone, SURE, 0.3)
    assert np.flatnonzero(lost).tolist() == expected


def test_many_frames_are_smoothed_as_each_by_itself() -> None:
    rng, smoother = np.random.default_rng(0), ContourSmoother(61, 13, 6)
    frames = half_ellipse(61) + rng.normal(0, 1.0, (5, 61, 2)).astype(np.float32)
    confidence = rng.uniform(0.2, 1.0, (5, 61)).astype(np.float32)
    frames[1, 10:20] = np.nan
    frames[3, :55] = np.nan  # too few are left
    together = smoother.smooth(frames, confidence)
    each = np.stack([smoother.smooth(f, c) for f, c in zip(frames, confidence, strict=True)])
    np.testing.assert_allclose(together, each, atol=1e-9)
    assert np.isnan(together[3]).all()
    assert np.isfinite(together[[0, 1, 2, 4]]).all()


def test_a_segment_of_unsure_points_is_rejected() -> None:
    confidence = SURE.copy()
    confidence[41:50] = 0.1
    lost = ContourSmoother(61, 13, 6).lost_segments(half_ellipse(61), confidence, 0.3)
    assert np.flatnonzero(lost).tolist() == [4]


def test_a_wall_of_lost_points_has_no_curve() -> None:
    smoother, gone = ContourSmoother(61, 13, 6), half_ellipse(61)
    gone[6:] = np.nan
    assert np.isnan(smoother.smooth(gone, SURE)).all()
    assert np.flatnonzero(smoother.lost_segments(gone, SURE, 0.3)).tolist() == [0, 1, 2, 3, 4, 5]
