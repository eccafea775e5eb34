"""Confidence is calibrated against true error, rises with the evidence and is nothing where there is none."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.training.calibration import CHANCE, fit_curve, monotone


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_fitted_sequence_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    fitted = monotone(values, [1.0] * len(values))
    assert all(b >= a - 1e-12 for a, b in pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-9)


def test_a_rising_sequence_stays_as_it_is() -> None:
    assert monotone([0.1, 0.4, 0.9], [1, 5, 2]) == [0.1, 0.4, 0.9]


def test_the_curve_gives_the_share_of_right_positions() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.3, 1.0, 40_000).astype(np.float32)
    is_right = rng.random(40_000) < share**2
    curve = np.array(fit_curve(share, is_right))
    at = np.array([0.45, 0.65, 0.9])
    np.testing.assert_allclose(np.interp(at, *curve.T), at**2, atol=0.04)


def test_evidence_no_better_than_chance_gives_no_confidence() -> None:
    share = np.random.default_rng(0).uniform(0.1, 1.0, 1000).astype(np.float32)
    curve = np.array(fit_curve(share, np.ones(1000, np.bool_)))
    assert np.interp([0.0, CHANCE], *curve.T).max() < 0.01


def test_too_few_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="5 positions are too few"):
        fit_curve(np.ones(5, np.float32), np.ones(5, np.bool_))
