"""Where beats begin and systoles end in the signals of recent frames: the events that explain them best.

Pure search over `beat_model.misfit`: the first beats once a period is known, the end-diastole of the beat under way,
and how far this heart's systole differs from what its rate predicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from specktrack.rt import cycle
from specktrack.rt.beat_model import FREE, Signal, Timing, misfit, shares
from specktrack.rt.config import PhaseConfig
from specktrack.rt.cycle import usual_systole_s

USUAL = (shares(0.55), shares(0.75), shares(0.92))  # the last one for fibrillation
FLOOR = 0.02  # of a signal's range: finer than this the model is not
LENGTH_SHARE = 0.75  # of the gain of a length alone: movements of the picture are to agree
CORRELATED = 6.0  # frames whose misfits are alike: so many count as one observation
SHIFT_SD_S = 0.03  # of systole between people of the same heart rate (Chest 1981;80:613: 14 ms in rest; disease adds)
SHIFTS_S = np.arange(-0.09, 0.0901, 0.01)
LONGEST_SYSTOLE = 0.6  # of a cycle
SHORTEST_SYSTOLE_S, SHORTEST_CYCLE_S = 0.1, 0.2
STEP_S = 0.02  # of the first look for an event; the second one is four times finer
SLOW_DEGREE = 4  # of the polynomial that a heart at rest, breathing and an unsteady hand are allowed
COLD_STEPS = 40  # of a period
COLD_SPAN = 4.2  # periods looked at for the first beats, at most
OTHER_PHASE = 0.2  # of a period: beats so far apart are not the same
AHEAD_S = 0.1  # an end-diastole that is near may show already: the kick before it
JUST_NOW_S = 0.03  # an end-diastole later than so long ago has not been seen


@dataclass(frozen=True)
class Evidence:
    """Signals of recent frames, scaled so that each has a range of 1."""

    time_s: Signal  # (T,)
    signals: Signal  # (T, K)
    first_falls: bool  # the first one is a length, which falls in systole
    timing: Timing
    config: PhaseConfig
    weights: Signal  # (K,) how much each signal counts, 0..1

    @staticmethod
    def of(time_s: Signal, signals: Signal, first_falls: bool, config: PhaseConfig) -> "Evidence":
        """Signals (T, K) of any scale; still ones stay 0."""
        centred = signals - signals.mean(0)
        spread = np.ptp(centred, axis=0)
        scaled = centred / np.where(spread > 0.0, spread, 1.0)
        timing = Timing(0.001 * config.relaxation_ms, 0.001 * config.early_filling_ms, 0.001 * config.atrial_ms)
        weights = np.ones(signals.shape[1])
        return Evidence(
            np.ascontiguousarray(time_s), np.ascontiguousarray(scaled), first_falls, timing, config, weights
        )

    def since(self, start_s: float) -> "Evidence":
        """Of the frames from a time on."""
        recent = self.time_s >= start_s
        return Evidence.of(self.time_s[recent], self.signals[recent], self.first_falls, self.config)

    def against(self, trains: Signal, shifts_s: float | Signal = 0.0) -> Signal:
        """How badly (M,) each train of beats, end-diastoles (M, B + 1), explains the signals; less is better.

        shifts_s  (M,) or for all: by how much systole is longer than the rate predicts
        """
        return self._each_against(trains, shifts_s, FREE) @ self.weights

    def against_usual(self, trains: Signal, shifts_s: float | Signal = 0.0) -> Signal:
        """The same for filling as hearts usually fill: it tells the phase, where `against` tells the time."""
        costs: Signal = np.min([self._each_against(trains, shifts_s, m) @ self.weights for m in USUAL], axis=0)
        return costs

    def gain(self, train: Signal) -> float:
        """Log likelihood a frame over a heart that stands still: of all signals, or, if larger, of the length."""
        beats = self._each_against(train[None], 0.0, FREE)[0]
        each = (self._each_against_no_beat() - beats) * CORRELATED / len(self.time_s)
        return max(float(each.mean()), LENGTH_SHARE * float(each[0]) if self.first_falls else 0.0)

    def weighted(self, ed_s: Sequence[float], shift_s: float) -> "Evidence":
        """The same evidence, in which signals count by how much of them these beats explain."""
        beats = self._each_against(np.array([ed_s]), shift_s, FREE)[0]
        gains = np.maximum(self._each_against_no_beat() - beats, 0.0)
        return replace(self, weights=(gains / max(float(gains.max()), 1e-9)) ** 2)

    def _each_against(self, trains: Signal, shifts_s: float | Signal, mixing: Signal) -> Signal:
        """(M, K), of each signal."""
        shifts = np.full(len(trains), shifts_s, np.float64)
        floor = np.full(self.signals.shape[1], FLOOR**2)
        heart = (self.config.q_to_r_ms, self.timing.as_array(), mixing, self.first_falls)
        return _misfits(self.time_s, self.signals, floor, trains, shifts, *heart) / CORRELATED

    def _each_against_no_beat(self) -> Signal:
        """For a heart that stands still: a slow curve alone."""
        basis = cycle.slow_curves(self.time_s, SLOW_DEGREE)
        rest = self.signals - basis @ (basis.T @ self.signals)
        each: Signal = 0.5 * len(rest) * np.log((rest**2).mean(0) + FLOOR**2) / CORRELATED
        return each


def end_systole(ed_s: float, next_ed_s: float, shift_s: float, config: PhaseConfig) -> float:
    """Expected end-systole of a beat whose systole is longer by shift_s than its rate predicts."""
    return float(_end_systoles(np.array([ed_s, next_ed_s]), shift_s, config.q_to_r_ms)[0])


@njit(cache=True)
def _end_systoles(ed_s: Signal, shift_s: float, q_to_r_ms: float) -> Signal:
    """(B,) of beats that begin at ed_s (B + 1,)."""
    es_s = np.empty(len(ed_s) - 1)
    for k in range(len(es_s)):
        cycle_s = max(ed_s[k + 1] - ed_s[k], SHORTEST_CYCLE_S)
        usual_s = usual_systole_s(60.0 / cycle_s, q_to_r_ms)
        es_s[k] = ed_s[k] + min(max(usual_s + shift_s, SHORTEST_SYSTOLE_S), LONGEST_SYSTOLE * cycle_s)
    return es_s


@njit(cache=True)
def _misfits(
    time_s: Signal,
    signals: Signal,
    floor: Signal,
    trains: Signal,
    shifts_s: Signal,
    q_to_r_ms: float,
    timing: Signal,
    mixing: Signal,
    first_falls: bool,
) -> Signal:
    """beat_model.misfit (M, K) of many trains (M, B + 1), each with its own shift of systole (M,)."""
    result = np.empty((len(trains), signals.shape[1]))
    for m in range(len(trains)):
        es_s = _end_systoles(trains[m], shifts_s[m], q_to_r_ms)
        result[m] = misfit(time_s, signals, floor, trains[m], es_s, timing, mixing, first_falls)
    return result


@dataclass(frozen=True)
class FirstBeats:
    """Beats found in signals of which only the period was known."""

    ed_s: list[float]  # ascending, all within the signals
    gain: float  # see `Evidence.gain`
    margin: float  # log likelihood over beats of another phase


def first_beats(evidence: Evidence, period_s: float, is_irregular: bool = False) -> FirstBeats:
    """End-diastoles of the last beats of a heart of about this period, all phases tried.

    Irregular beats may lie far from an even train: several trains are tried, and each beat is moved farther.
    """
    now_s = float(evidence.time_s[-1])
    recent = evidence.since(now_s - COLD_SPAN * period_s)
    offsets = np.arange(COLD_STEPS) * period_s / COLD_STEPS
    trains = [_train(float(recent.time_s[0]), now_s, now_s - offset, period_s) for offset in offsets]
    trains.sort(key=lambda train: recent.against_usual(train[None])[0])
    widths, kept = ((0.3, 0.1, 0.04), trains[:12:4]) if is_irregular else ((0.12, 0.04), trains[:1])
    settled = []
    for train in kept:
        for width in widths:
            for k in range(1, len(train) - 1):
                train = _moved(recent, train, k, width * period_s)
        settled.append(train)
    best = min(settled, key=lambda train: recent.against_usual(train[None])[0])
    apart = [((train[0] - best[0]) / period_s + 0.5) % 1.0 - 0.5 for train in trains]
    others = [train for train, off in zip(trains, apart, strict=True) if abs(off) > OTHER_PHASE]
    margin = float(min(recent.against_usual(train[None])[0] for train in others) - recent.against_usual(best[None])[0])
    inside = [float(ed) for ed in best if recent.time_s[0] <= ed <= now_s]
    return FirstBeats(inside, recent.gain(best), margin)


def _train(start_s: float, end_s: float, ed_s: float, period_s: float) -> Signal:
    """Equal beats through ed_s, from one before start_s to one after end_s."""
    before, after = int(np.ceil((ed_s - start_s) / period_s)), int(np.ceil((end_s - ed_s) / period_s + 1e-9))
    return np.asarray(ed_s + np.arange(-before, after + 1) * period_s)


def _moved(evidence: Evidence, train: Signal, k: int, reach_s: float) -> Signal:
    """The same beats with the k-th end-diastole where it explains most."""
    moves = np.linspace(-reach_s, reach_s, 9)
    tried = np.repeat(train[None], len(moves), 0)
    tried[:, k] += moves
    return tried[int(evidence.against(tried).argmin())]


@dataclass(frozen=True)
class NextBeat:
    """The most likely end-diastole of the beat under way."""

    ed_s: float
    margin: float  # log likelihood of the signals over an end-diastole that is still to come


def next_beat(
    evidence: Evidence, ed_s: Sequence[float], earliest_s: float, expected_s: float, spread_s: float, shift_s: float
) -> NextBeat | None:
    """Look for the end-diastole after the last two or more of ed_s.

    earliest_s  no end-diastole comes sooner
    expected_s, spread_s  when it is due, and the standard deviation of that
    None when it cannot have come yet.
    """
    now_s = float(evidence.time_s[-1])
    if earliest_s >= now_s:
        return None
    usual_s = expected_s - ed_s[-1]
    to_come_s = max(expected_s, now_s)
    recent = evidence.since(ed_s[0]).weighted([*ed_s, to_come_s, to_come_s + usual_s], shift_s)

    def against(at_s: Signal) -> Signal:
        known = np.repeat(np.array([ed_s]), len(at_s), 0)
        return recent.against(np.column_stack((known, at_s, at_s + usual_s)), shift_s)

    def unlikely(at_s: Signal) -> Signal:
        return 0.5 * ((at_s - expected_s) / spread_s) ** 2

    times = np.arange(earliest_s, now_s + AHEAD_S, STEP_S)
    costs = against(times)
    to_come = times > now_s - JUST_NOW_S
    if to_come.all() or not to_come.any():
        return None
    best = int((costs + unlikely(times))[~to_come].argmin())
    fine = times[best] + STEP_S * np.array([-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75])
    fine_costs = against(fine)
    least = int((fine_costs + unlikely(fine)).argmin())
    at_s = _vertex(fine, fine_costs + unlikely(fine), least)
    return NextBeat(at_s, float(costs[to_come].min() - fine_costs[least]))  # seen, not merely expected


def _vertex(times: Signal, costs: Signal, least: int) -> float:
    """The minimum between even samples."""
    if not 0 < least < len(times) - 1:
        return float(times[least])
    offset, _ = cycle.parabola(costs[least - 1 : least + 2])
    return float(times[least] + offset * (times[1] - times[0]))


def systole_shift(evidence: Evidence, ed_s: Sequence[float], usual_s: float) -> float:
    """How much longer systole lasts than its rate predicts, s, from signals of whole beats; near usual_s a priori."""
    recent = evidence.since(ed_s[0])
    within = recent.time_s <= ed_s[-1]
    recent = Evidence.of(recent.time_s[within], recent.signals[within], recent.first_falls, recent.config)
    recent = recent.weighted(ed_s, usual_s)
    costs = recent.against(np.repeat(np.array([ed_s]), len(SHIFTS_S), 0), SHIFTS_S)
    costs += 0.5 * ((SHIFTS_S - usual_s) / SHIFT_SD_S) ** 2
    return _vertex(SHIFTS_S, costs, int(costs.argmin()))
