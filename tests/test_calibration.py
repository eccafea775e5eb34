"""Confidence is calibrated against true error: it rises with what the fusion says and begins at nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.training.calibration import BINS, fit_curve, monotone


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_fitted_sequence_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    fitted = monotone(values, [1.0] * len(values))
    assert all(b >= a - 1e-12 for a, b in pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-9)


def test_a_rising_sequence_stays_as_it_is() -> None:
    assert monotone([0.1, 0.4, 0.9], [1, 5, 2]) == [0.1, 0.4, 0.9]


def test_the_curve_gives_the_share_of_right_positions() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.3, 1.0, 40_000).astype(np.float32)
    is_right = rng.random(40_000) < raw**2
    curve = np.array(fit_curve(raw, is_right))
    at = np.array([0.45, 0.65, 0.9])
    np.testing.assert_allclose(np.interp(at, *curve.T), at**2, atol=0.04)


@given(seed=st.integers(0, 1000), n_values=st.integers(1, 6))
def test_knots_rise_strictly_from_nothing_and_probabilities_never_fall(seed: int, n_values: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.choice(rng.random(n_values), 500).astype(np.float32)
    curve = fit_curve(raw, rng.random(500) < raw)
    assert curve[0] == (0.0, 0.0)
    assert all(b[0] > a[0] and b[1] >= a[1] for a, b in pairwise(curve))
    assert 0.0 <= curve[-1][1] <= 1.0


def test_one_confidence_for_all_becomes_the_share_that_is_right() -> None:
    """Fixed gains say one half of every point; which of them are right is not known beforehand."""
    is_right = np.arange(1000) < 700
    assert fit_curve(np.full(1000, 0.5, np.float32), is_right) == ((0.0, 0.0), (0.5, 0.7))


def test_a_raw_confidence_of_nothing_stays_nothing() -> None:
    raw = np.repeat(np.array([0.0, 0.8], np.float32), 500)
    curve = np.array(fit_curve(raw, np.ones(1000, np.bool_)))
    assert np.interp([0.0, 0.8], *curve.T).tolist() == pytest.approx([0.0, 1.0])


def test_too_few_positions_are_refused() -> None:
    with pytest.raises(ValueError, match=f"5 positions are too few to calibrate on; {10 * BINS} are needed"):
        fit_curve(np.ones(5, np.float32), np.ones(5, np.bool_))
