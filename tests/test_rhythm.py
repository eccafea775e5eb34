"""When beats begin and how each goes."""

import itertools

import numpy as np
import pytest
import torch

from specktrack.training.rhythm import (
    ATRIAL_KICK_S,
    ISOVOLUMIC_RELAXATION_S,
    Rhythm,
    TimeCourse,
    contraction,
    diastasis_window,
    systole_s,
)

RATES_BPM = (45, 60, 75, 90, 110, 130, 150)
FRAME_S = 1 / 200


def course(rate_bpm: float, n_samples: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Times and states of contraction over one beat."""
    period = 60.0 / rate_bpm
    times = np.linspace(0.0, period, n_samples)
    return times, np.array([contraction(float(t), period, TimeCourse()) for t in times])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def irregular(kind: str, seed: int) -> Rhythm:
    if kind == "fibrillating":
        return Rhythm.fibrillating(80.0, 12.0, 0.22, generator(seed))
    return Rhythm.varying(70.0, 12.0, 0.04, generator(seed), ectopic_share=0.3 if kind == "ectopic" else 0.0)


def lengths(rhythm: Rhythm) -> np.ndarray:
    return np.diff(rhythm.ed_s)


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
def test_a_beat_starts_and_ends_relaxed_and_is_fully_contracted_at_end_systole(rate_bpm: float) -> None:
    period = 60.0 / rate_bpm
    for share in (0.45, 0.68, 0.8):
        person = TimeCourse(early_share=share)
        assert contraction(0.0, period, person) == pytest.approx(0.0, abs=1e-9)
        assert contraction(systole_s(period), period, person) == pytest.approx(1.0, abs=1e-9)
        assert contraction(period, period, person) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
def test_the_state_never_jumps_nor_leaves_zero_to_one(rate_bpm: float) -> None:
    times, state = course(rate_bpm)
    assert state.min() >= -1e-9
    assert state.max() <= 1 + 1e-9
    assert np.abs(np.diff(state)).max() / (times[1] - times[0]) < 15.0  # per second; a jump would be thousands


@pytest.mark.parametrize("kind", ["varying", "ectopic", "fibrillating"])
@pytest.mark.parametrize("seed", range(5))
def test_beats_of_different_length_join_without_a_jump_and_each_starts_relaxed(kind: str, seed: int) -> None:
    rhythm = irregular(kind, seed)
    states = np.array([rhythm.state(t) for t in np.arange(0.0, 12.0, FRAME_S)])
    assert np.abs(np.diff(states)).max() < 15.0 * FRAME_S
    assert max(abs(rhythm.state(t)) for t in rhythm.ed_s) < 1e-9
    assert states.max() > 0.9


def test_sinus_beats_cover_the_asked_duration_and_vary_a_little() -> None:
    rhythm = Rhythm.varying(70.0, 60.0, 0.04, generator(3))
    assert rhythm.ed_s[-1] >= 60.0
    assert 0.02 < np.std(lengths(rhythm)) / np.mean(lengths(rhythm)) < 0.05


def test_a_premature_beat_comes_early_is_weak_and_is_followed_by_a_full_pause() -> None:
    rhythm = Rhythm.varying(70.0, 200.0, 0.0, generator(1), ectopic_share=0.03)
    usual = 60.0 / 70.0
    premature = [k for k, strength in enumerate(rhythm.strengths) if strength < 1.0]
    assert 0.01 < len(premature) / len(rhythm.strengths) < 0.08
    for k in premature:
        assert lengths(rhythm)[k - 1] < 0.8 * usual
        assert lengths(rhythm)[k - 1] + lengths(rhythm)[k] == pytest.approx(2 * usual)
        assert rhythm.state(rhythm.end_systole_s(k)) == pytest.approx(rhythm.strengths[k])


def test_fibrillating_beats_are_irregular_and_weak_after_a_short_interval() -> None:
    rhythm = Rhythm.fibrillating(80.0, 120.0, 0.2, generator(0))
    spread = np.std(lengths(rhythm)) / np.mean(lengths(rhythm))
    assert 0.14 < spread < 0.25
    before, strength = lengths(rhythm)[:-1], np.array(rhythm.strengths)[1:]
    assert strength[before < np.quantile(before, 0.2)].mean() < strength[before > np.quantile(before, 0.8)].mean() - 0.1


def test_fibrillating_atria_do_not_kick() -> None:
    def late_return(rhythm: Rhythm) -> float:
        end = rhythm.ed_s[3]
        return rhythm.state(end - ATRIAL_KICK_S) - rhythm.state(end)

    still = Rhythm.fibrillating(60.0, 6.0, 0.0, generator(0))
    assert late_return(Rhythm.regular(60.0, 6.0)) > 0.2
    assert late_return(still) < 0.02
    openings = [still.inflow_opening(t) for t in np.arange(still.ed_s[3] - ATRIAL_KICK_S, still.ed_s[3], 0.002)]
    assert np.diff(openings).max() <= 0.0


def test_at_60_beats_per_minute_the_heart_rests_in_diastasis() -> None:
    times, state = course(60.0)
    start, end = diastasis_window(1.0)
    speed = np.abs(np.diff(state)) / (times[1] - times[0])
    resting = ((times > start) & (times < end))[:-1]
    assert end - start > 0.25
    assert speed[resting].max() < 0.15
    assert speed[(times < systole_s(1.0))[:-1]].max() > 4.0


def test_at_110_beats_per_minute_there_is_no_diastasis() -> None:
    period = 60.0 / 110.0
    start, end = diastasis_window(period)
    assert end <= start
    times, state = course(110.0)
    relaxing = (times > systole_s(period) + ISOVOLUMIC_RELAXATION_S + 0.03) & (times < period - 0.03)
    assert np.abs(np.diff(state[relaxing])).min() / (times[1] - times[0]) > 0.15


def test_the_quiet_moment_is_mid_diastasis_or_end_diastole_in_a_fast_heart() -> None:
    slow, fast = Rhythm.regular(60.0, 4.0), Rhythm.regular(115.0, 4.0)
    assert slow.quiet_s(1) - slow.ed_s[1] == pytest.approx(0.747, abs=0.01)  # table of the heart-rate model
    assert fast.quiet_s(1) == fast.ed_s[1]


@pytest.mark.parametrize(("rate_bpm", "systole_ms"), [(50, 391.0), (60, 369.0), (70, 347.0), (100, 281.0)])
def test_systole_follows_the_electromechanical_time_of_the_heart_rate(rate_bpm: float, systole_ms: float) -> None:
    """QS2 541 - 2.2 HR ms, less 40 ms from Q to R."""
    assert 1000 * systole_s(60.0 / rate_bpm) == pytest.approx(systole_ms, abs=0.5)
    times, state = course(rate_bpm)
    assert 1000 * times[np.argmax(state > 1 - 1e-6)] == pytest.approx(systole_ms, abs=2)


def test_diastasis_ends_when_the_atrial_kick_begins() -> None:
    _, end = diastasis_window(1.0)
    assert end == pytest.approx(1.0 - ATRIAL_KICK_S)


@pytest.mark.parametrize("kind", ["varying", "ectopic", "fibrillating"])
def test_valves_are_shut_at_end_diastole_and_never_open_together(kind: str) -> None:
    rhythm = irregular(kind, 2)
    times = np.arange(0.0, 11.0, 0.002)
    inflow = np.array([rhythm.inflow_opening(t) for t in times])
    outflow = np.array([rhythm.outflow_opening(t) for t in times])
    assert max(rhythm.inflow_opening(t) + rhythm.outflow_opening(t) for t in rhythm.ed_s) < 1e-9
    assert np.minimum(inflow, outflow).max() < 1e-9
    assert inflow.max() > 0.9
    assert outflow.max() > 0.9


def test_post_systolic_shortening_peaks_after_the_aortic_valve_shut_and_is_over_at_end_diastole() -> None:
    rhythm = Rhythm.regular(70.0, 4.0)
    shut = rhythm.end_systole_s(1)
    times = np.arange(rhythm.ed_s[1], rhythm.ed_s[2], 0.001)
    late = np.array([rhythm.post_systole(t) for t in times])
    assert rhythm.post_systole(shut) == pytest.approx(0.0, abs=1e-9)
    assert 0.05 < times[late.argmax()] - shut < 0.13
    assert late[-1] < 1e-3


def test_the_phase_runs_from_zero_to_one_in_every_beat() -> None:
    rhythm = irregular("ectopic", 4)
    for start, end in itertools.pairwise(rhythm.ed_s[:-1]):
        assert rhythm.phase(start) == pytest.approx(0.0, abs=1e-9)
        assert rhythm.phase(0.5 * (start + end)) == pytest.approx(0.5)
        assert 0.99 < rhythm.phase(end - 1e-4) < 1.0


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
@pytest.mark.parametrize("lag_s", [0.02, 0.08, 0.15])
def test_a_wall_activated_late_contracts_late_but_is_filled_when_the_mitral_valve_shuts(
    rate_bpm: float, lag_s: float
) -> None:
    rhythm = Rhythm.regular(rate_bpm, 6.0)
    closure_s, next_s = rhythm.end_systole_s(1), rhythm.ed_s[2]
    assert rhythm.state(closure_s + lag_s, lag_s) == pytest.approx(1.0, abs=1e-9)
    assert rhythm.state(rhythm.ed_s[1] + lag_s + 0.01, lag_s) == pytest.approx(0.0, abs=1e-9)
    if closure_s + lag_s + ISOVOLUMIC_RELAXATION_S + 0.05 < next_s:  # else it still relaxes when the next beat begins
        assert rhythm.state(next_s, lag_s) == pytest.approx(0.0, abs=1e-9)
        assert rhythm.post_systole(next_s, lag_s) == pytest.approx(0.0, abs=1e-6)


def test_the_atria_fill_a_late_wall_together_with_the_others() -> None:
    rhythm = Rhythm.regular(60.0, 6.0)
    times = rhythm.ed_s[2] - np.linspace(0.0, ATRIAL_KICK_S, 12)
    in_step, late = (np.array([rhythm.state(t, lag) for t in times]) for lag in (0.0, 0.1))
    assert late == pytest.approx(in_step, abs=0.02)  # the slow filling of diastasis lags a little
    assert in_step.max() > 0.2
