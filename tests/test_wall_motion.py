"""A wall's motion, steadied: sure points keep theirs, unsure ones go by their neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from specktrack.rt.contour import ContourSmoother
from specktrack.rt.strain import segment_lengths
from specktrack.rt.wall_motion import drawn_together, drawn_together_numpy, steadied

N = 61
SMOOTHER = ContourSmoother(N, 13, 6)
SURE = np.full((2, N), 0.98)
Lines = NDArray[np.float64]


def wall() -> Lines:
    """A ventricle, base over apex to base, mm."""
    angle = np.linspace(0.0, np.pi, N)
    return np.stack([25.0 * np.cos(angle), 90.0 * np.sin(angle)], axis=1)


def segments(points: Lines, confidence: Lines) -> Lines:
    """Strain of six segments, percent."""
    ed, es = (segment_lengths(line, SMOOTHER.bounds) for line in SMOOTHER.smooth(points, confidence))
    return 100.0 * (es / ed - 1.0)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.7, 1.1),
    turn=st.floats(-0.5, 0.5),
    shift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    seed=st.integers(0, 99),
)
def test_a_wall_that_turns_shifts_and_shrinks_as_a_whole_stays_as_it_is_however_unsure_its_points(
    scale: float, turn: float, shift: tuple[float, float], seed: int
) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    moved = scale * wall() @ np.array([[cos, sin], [-sin, cos]]) + np.array(shift)
    confidence = np.random.default_rng(seed).uniform(0.3, 1.0, (2, N))
    points = np.stack([wall(), moved])
    np.testing.assert_allclose(steadied(points, confidence, SMOOTHER), points, atol=2e-5)


def test_an_end_that_was_lost_track_of_goes_by_its_neighbours() -> None:
    points = np.stack([wall(), 0.85 * wall()])
    points[1, -2:, 1] += 8.0  # along the wall
    confidence = SURE.copy()
    confidence[1, -2:] = 0.8
    steady = steadied(points, confidence, SMOOTHER)
    assert np.abs(steady[1] - 0.85 * wall()).max() < 2.0  # of 8 mm
    before, after = (segments(p, np.ones((2, N)))[-1] for p in (points, steady))
    assert before < -35.0
    assert -20.0 < after < -10.0  # the truth is -15


def test_a_sure_wall_that_does_not_shorten_is_not_smoothed_away() -> None:
    steps = np.diff(wall(), axis=0)
    share = np.full(len(steps), 0.8)
    share[20:30] = 1.0  # the third segment keeps its length
    moved = np.concatenate([wall()[:1], wall()[:1] + np.cumsum(share[:, None] * steps, axis=0)])
    points = np.stack([wall(), moved])
    plain, steady = (segments(p, SURE) for p in (points, steadied(points, SURE, SMOOTHER)))
    np.testing.assert_allclose(steady, plain, atol=1.0)
    assert steady[2] > -4.0
    assert steady[[0, 5]] == pytest.approx([-20.0, -20.0], abs=1.0)


def test_motion_across_the_wall_and_lost_points_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    points = np.stack([wall(), 0.9 * wall() + rng.normal(0.0, 0.5, (N, 2))])
    points[1, 7] = np.nan
    confidence = rng.uniform(0.6, 1.0, (2, N))
    steady = steadied(points, confidence, SMOOTHER)
    assert np.isnan(steady[1, 7]).all()
    assert np.isfinite(np.delete(steady[1], 7, axis=0)).all()
    along = np.gradient(SMOOTHER.at_points(points[0], confidence[0]), axis=0)
    along /= np.hypot(*along.T)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    off = np.nansum((steady[1] - points[1]) * across, axis=1)
    np.testing.assert_allclose(off, 0.0, atol=2e-5)


def test_a_wall_of_which_hardly_anything_is_known_is_left_alone() -> None:
    points = np.stack([wall(), 0.9 * wall()]).astype(np.float32)
    points[1, 3:] = np.nan
    np.testing.assert_array_equal(steadied(points, SURE, SMOOTHER), points)


def test_the_kernel_and_its_twin_agree() -> None:
    rng = np.random.default_rng(2)
    apart, weight = rng.normal(size=(5, N)), rng.uniform(0.0, 1.0, (5, N)) ** 8
    weight[2, 10:20] = 0.0
    np.testing.assert_allclose(drawn_together(apart, weight, 0.5), drawn_together_numpy(apart, weight, 0.5), atol=1e-9)
