"""Strain rate: slopes at uneven times, peaks by phase of the beat, and what the frame rate must not change."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.rt.strain_rate import local_slopes, local_slopes_numpy, peak_rates, strain_rate_per_s, time_to_peak_ms


def beat(t: np.ndarray) -> np.ndarray:
    """Contraction of 20 % in 0.4 s, filling in two waves with a rest between them."""
    down = -20.0 * np.sin(0.5 * np.pi * np.clip(t / 0.4, 0, 1)) ** 2
    early = 14.0 * np.sin(0.5 * np.pi * np.clip((t - 0.45) / 0.15, 0, 1)) ** 2
    late = 6.0 * np.sin(0.5 * np.pi * np.clip((t - 0.85) / 0.1, 0, 1)) ** 2
    return np.asarray(down + early + late)


def test_the_strain_rate_of_a_curve_uses_its_own_times() -> None:
    t = np.array([0.0, 0.01, 0.03, 0.06, 0.07])
    np.testing.assert_allclose(strain_rate_per_s(t, -110.0 * t), -1.1, atol=1e-12)


@given(st.lists(st.floats(0.002, 0.05), min_size=3, max_size=40), st.integers(0, 9))
def test_the_kernel_equals_its_numpy_twin(steps: list[float], seed: int) -> None:
    time = np.cumsum(steps)
    values = np.random.default_rng(seed).normal(size=len(time))
    values[seed % len(time)] = np.nan
    np.testing.assert_allclose(
        local_slopes(time, values, 0.08), local_slopes_numpy(time, values, 0.08), rtol=1e-6, atol=1e-8
    )


def test_systole_early_filling_and_the_atrial_kick_have_their_peaks() -> None:
    t = np.arange(0, 0.96, 1 / 200)
    systolic, early, atrial = peak_rates(strain_rate_per_s(t, beat(t)), es=80, rest=145)
    assert systolic == pytest.approx(-0.2 * 0.5 * math.pi / 0.4, rel=0.03)
    assert early == pytest.approx(0.14 * 0.5 * math.pi / 0.15, rel=0.06)
    assert atrial == pytest.approx(0.06 * 0.5 * math.pi / 0.1, rel=0.15)  # an 80 ms slope blunts so brief a wave


def test_a_fast_heart_without_diastasis_fills_in_one_wave() -> None:
    t = np.arange(0, 0.96, 1 / 100)
    assert math.isnan(peak_rates(strain_rate_per_s(t, beat(t)), es=40, rest=None)[2])


@given(st.floats(50, 150))
def test_the_frame_rate_hardly_changes_the_peaks(rate_hz: float) -> None:
    t = np.arange(0, 0.96, 1 / rate_hz)
    es, rest = int(0.4 * rate_hz), int(0.72 * rate_hz)
    systolic, early, _ = peak_rates(strain_rate_per_s(t, beat(t)), es, rest)
    assert systolic == pytest.approx(-0.785, rel=0.08)
    assert early == pytest.approx(1.466, rel=0.15)


def test_time_to_peak_counts_from_the_beginning_of_the_beat() -> None:
    t = np.arange(5.0, 5.96, 0.01)
    assert time_to_peak_ms(t, beat(t - 5.0)) == pytest.approx(400.0, abs=20.0)
    assert math.isnan(time_to_peak_ms(t, np.full(len(t), np.nan)))
