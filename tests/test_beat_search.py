"""Events of made-up beating signals: found whatever their sign and scale, and not found where nothing beats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt.beat_model import FREE, misfit, misfit_numpy, shares
from specktrack.rt.beat_search import Evidence, end_systole, first_beats, next_beat, systole_shift
from specktrack.rt.config import PhaseConfig
from specktrack.training.rhythm import Rhythm

CONFIG = PhaseConfig()
FPS = 55.0


def state(rhythm: Rhythm, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(0.0, seconds, 1 / FPS)
    return times, np.array([rhythm.state(float(t)) for t in times])


def evidence(
    rhythm: Rhythm, seconds: float, gains: tuple[float, ...] = (1.0,), noise: float = 0.02, falls: bool = False
) -> Evidence:
    """Signals in proportion to the shortening, each with its own gain, offset, slow trend and noise."""
    times, shortening = state(rhythm, seconds)
    rng = np.random.default_rng(4)
    slow = 0.3 * np.sin(2 * np.pi * 0.1 * times)
    columns = [gain * (shortening + slow + rng.normal(0, noise, len(times))) + 7.0 for gain in gains]
    return Evidence.of(times, np.stack(columns, 1), falls, CONFIG)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([None, 0.5, 0.9]))
def test_the_kernel_equals_its_numpy_twin(seed: int, falls: bool, early: float | None) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.0, 2.4, 90))
    signals = rng.normal(size=(90, 3))
    ed = np.array([-0.1, 0.7 + rng.uniform(-0.1, 0.1), 1.6, 2.5])
    events = (np.full(3, 4e-4), ed, ed[:-1] + 0.33, np.array([0.075, 0.15, 0.1]))
    mixing = FREE if early is None else shares(early)
    fast = misfit(times, signals, *events, mixing, falls)
    np.testing.assert_allclose(fast, misfit_numpy(times, signals, *events, mixing, falls), rtol=1e-9)


@pytest.mark.parametrize("rate", [45, 60, 75, 90])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_phase_of_a_heart_is_found_whatever_the_sign_of_its_signals(rate: int, sign: float) -> None:
    period = 60.0 / rate
    rhythm = Rhythm.regular(rate, 5.0, -0.37 * period)
    found = first_beats(evidence(rhythm, 2.6 * period, (sign, 0.3 * sign)), period)
    true = np.array(rhythm.ed_s)
    assert len(found.ed_s) >= 2
    assert max(np.abs(true - ed).min() for ed in found.ed_s) < 1.0 / FPS
    assert found.gain > 1.0
    assert found.margin > 5.0


def test_a_length_tells_systole_from_diastole_even_in_a_fast_heart() -> None:
    rhythm = Rhythm.regular(100, 5.0, -0.2)
    true = np.array(rhythm.ed_s)
    length = first_beats(evidence(rhythm, 2.0, (-1.0,), falls=True), 0.6)
    assert max(np.abs(true - ed).min() for ed in length.ed_s) < 1.0 / FPS


def test_slow_motion_and_noise_are_no_beats() -> None:
    times, rng = np.arange(0.0, 4.0, 1 / FPS), np.random.default_rng(3)
    breathing = np.sin(2 * np.pi * 0.3 * times)[:, None] * [1.0, -0.4] + rng.normal(0, 0.02, (len(times), 2))
    for irregular in (False, True):
        assert first_beats(Evidence.of(times, breathing, False, CONFIG), 0.85, irregular).gain < 0.3
        noise = Evidence.of(times, rng.normal(size=(len(times), 2)), False, CONFIG)
        assert first_beats(noise, 0.85, irregular).gain < 0.3


def test_irregular_beats_are_found_from_a_wrong_period() -> None:
    rhythm = Rhythm((-0.3, 0.55, 1.62, 2.3, 3.4), has_kick=False)
    found = first_beats(evidence(rhythm, 3.2, (-1.0,), falls=True), 0.85, is_irregular=True)
    assert max(np.abs(np.array(rhythm.ed_s) - ed).min() for ed in found.ed_s) < 2.0 / FPS


@pytest.mark.parametrize("late", [-0.15, 0.0, 0.25])
def test_the_next_end_diastole_is_certain_soon_after_it_has_come(late: float) -> None:
    rhythm = Rhythm((0.0, 0.9, 1.8 + late, 2.7 + late, 3.6 + late))
    true = rhythm.ed_s[2]
    before = next_beat(evidence(rhythm, true - 0.05), (0.0, 0.9), 1.3, 1.8, 0.2, 0.0)
    after = next_beat(evidence(rhythm, true + 0.12), (0.0, 0.9), 1.3, 1.8, 0.2, 0.0)
    assert before is None or before.margin < 3.0
    assert after is not None
    assert after.margin > 3.0
    assert abs(after.ed_s - true) < 1.0 / FPS


@pytest.mark.parametrize("shift_s", [-0.03, 0.0, 0.03])
def test_a_longer_systole_than_usual_is_noticed(shift_s: float) -> None:
    rhythm = Rhythm.regular(70, 4.0)
    rhythm = Rhythm(rhythm.ed_s, course=rhythm.course.__class__(systole_shift_s=shift_s))
    measured = systole_shift(evidence(rhythm, 2.5), rhythm.ed_s[:3], 0.0)
    assert measured == pytest.approx(shift_s, abs=0.015)


def test_end_systole_follows_the_heart_rate_and_stays_within_the_beat() -> None:
    assert end_systole(0.0, 1.0, 0.0, CONFIG) == pytest.approx(0.369, abs=0.001)
    assert end_systole(0.0, 0.35, 0.2, CONFIG) == pytest.approx(0.6 * 0.35)
