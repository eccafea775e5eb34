"""Follows the beats of a heart in what moves, without an ECG: first beats, then one end-diastole after the other.

A rhythm is taken up when beats of some period explain the signals far better than a heart that stands still, and is
given up when they no longer do, or when other events (all of them shifted) explain them better.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np

from specktrack.rt import cycle
from specktrack.rt.beat_search import Evidence, first_beats, next_beat, systole_shift
from specktrack.rt.config import PhaseConfig
from specktrack.rt.pulse import Pulse

MIN_FRAMES = 12
KNOWN_SHARE = 0.8  # of the frames looked at, that need a length for it to count
ACCEPT = 0.5  # autocorrelation at the period; less is not a regular beat
REFRESH_FRAMES = 4  # while no beat is known: look for one only so often
IRREGULAR_FRAMES = 16  # and for irregular ones, which costs more, only so often
SOONEST_S = 1.1  # of signals, before any rhythm is taken up: in less, a ripple passes for two beats of a fast heart
IRREGULAR_AFTER_S = 2.5
USUAL_PERIOD_S = 0.85
MIN_GAIN = 0.45  # of the first beats, see `FirstBeats`; breathing and noise alone stay below 0.2
MIN_GAIN_IRREGULAR = 0.55
CLEAR_MARGIN = 10.0  # so much leaves no doubt of the phase, however faint the beat is
SAME_PERIOD = 0.1
MIN_MARGIN = 5.0  # of the first beats over the same ones at another phase: a fast heart looks alike both ways
UNFINISHED_S = 0.1  # so late an end-diastole is not certain yet
MIN_SHORTENING = 0.015  # of the contour's length: less is jitter, not a beat
REFRACTORY = 0.45  # of a period: no second end-diastole sooner
CONFIRM_S = 0.07  # of systole that must have been seen
CONFIRM_MARGIN = 3.0  # log likelihood over an end-diastole still to come
STEADY, UNSTEADY = 0.05, 1.2  # least spread of a cycle, and multiple of the spread seen
WRONG_MARGIN = 4.0  # log likelihood by which shifted events must be better to give up the present ones
OVERDUE = 1.35  # cycles without an end-diastole
SHIFTS = np.r_[-0.4:-0.14:0.05, 0.15:0.51:0.05]  # of a period


@dataclass(frozen=True)
class Followed:
    """End-diastoles that have become certain with a frame."""

    ed_s: tuple[float, ...]  # ascending; several when a rhythm is taken up
    is_new_rhythm: bool


class BeatFollower:
    """Finds end-diastoles in the signals of a Pulse; `reset` forgets the rhythm."""

    def __init__(self, config: PhaseConfig) -> None:
        self._config = config
        self._shortest_s = 60.0 / config.max_rate_bpm
        self._longest_s = 60.0 / config.min_rate_bpm
        self.reset()

    def reset(self) -> None:
        """No rhythm is known."""
        self._ed_s: deque[float] = deque(maxlen=4)
        self._cycles: deque[float] = deque(maxlen=5)
        self._shifts: deque[float] = deque(maxlen=5)
        self._waited = 0
        self._clear_s: deque[float] = deque(maxlen=8)  # periods seen clearly while waiting

    @property
    def has_rhythm(self) -> bool:
        """False until beats were found, and after they turned out to be wrong."""
        return bool(self._ed_s)

    @property
    def shift_s(self) -> float:
        """How much longer than its rate predicts this heart's systole lasts; 0 while not measured."""
        return median(self._shifts) if self._shifts else 0.0

    def update(self, pulse: Pulse) -> Followed | None:
        """After a new frame in the pulse: what has become certain, or None."""
        if len(pulse.times) < MIN_FRAMES:
            return None
        return self._next(pulse) if self._ed_s else self._begin(pulse)

    def take(self, ed_s: float) -> None:
        """An end-diastole known from elsewhere (an R wave)."""
        if self._ed_s:
            self._cycles.append(ed_s - self._ed_s[-1])
        self._ed_s.append(ed_s)

    def measure_systole(self, pulse: Pulse) -> float:
        """Take in the last whole beats; returns `shift_s`."""
        if len(self._ed_s) >= 3:
            evidence = self._evidence(pulse, self._ed_s[-3])
            if evidence is not None:
                self._shifts.append(systole_shift(evidence, list(self._ed_s)[-3:], self.shift_s))
        return self.shift_s

    def _begin(self, pulse: Pulse) -> Followed | None:
        """Take up a rhythm: a regular one, or after a while any."""
        self._waited += 1
        evidence = self._evidence(pulse, -np.inf) if self._waited % REFRESH_FRAMES == 0 else None
        if evidence is None:
            return None
        times = pulse.times
        if times[-1] - times[0] < SOONEST_S:
            return None
        period = self._period(pulse)
        if period is not None and period.score >= ACCEPT:
            if self._is_half_of_a_fainter(period.seconds):
                return None
            found = first_beats(evidence, period.seconds)
            if found.margin >= CLEAR_MARGIN:
                self._clear_s.append(period.seconds)
            if found.gain >= MIN_GAIN and found.margin >= MIN_MARGIN:
                return self._start(found.ed_s, float(times[-1]))
        if self._waited % IRREGULAR_FRAMES == 0 and times[-1] - times[0] > IRREGULAR_AFTER_S:
            found = first_beats(evidence, period.seconds if period else USUAL_PERIOD_S, is_irregular=True)
            if found.gain >= MIN_GAIN_IRREGULAR and found.margin >= MIN_MARGIN:
                return self._start(found.ed_s, float(times[-1]))
        return None

    def _is_half_of_a_fainter(self, period_s: float) -> bool:
        """True when the picture beat twice as fast before, clearly so but too faintly to be taken up."""
        return any(abs(0.5 * period_s / clear_s - 1.0) < SAME_PERIOD for clear_s in self._clear_s)

    def _start(self, ed_s: list[float], now_s: float) -> Followed | None:
        certain = [ed for ed in ed_s if ed < now_s - UNFINISHED_S]
        cycles = np.diff(certain)
        if len(certain) < 2 or not ((cycles > self._shortest_s) & (cycles < self._longest_s)).all():
            return None
        if now_s - certain[-1] > OVERDUE * float(np.median(cycles)):
            return None  # it was beating, but has stopped
        for ed in certain:
            self.take(ed)
        return Followed(tuple(certain), is_new_rhythm=True)

    def _next(self, pulse: Pulse) -> Followed | None:
        """The end-diastole of the beat under way, once certain."""
        now_s, last = float(pulse.times[-1]), list(self._ed_s)[-2:]
        period_s = median(list(self._cycles)[-3:]) if self._cycles else USUAL_PERIOD_S
        earliest_s = last[-1] + max(REFRACTORY * period_s, self._shortest_s)
        if now_s < earliest_s + CONFIRM_S or len(last) < 2:
            return None
        spread = max(STEADY, UNSTEADY * float(np.std(self._cycles)) / period_s)  # of a period
        evidence = self._evidence(pulse, last[0])
        if evidence is None:
            return None
        found = next_beat(evidence, last, earliest_s, last[-1] + period_s, spread * period_s, self.shift_s)
        if found is None or found.ed_s > now_s - CONFIRM_S or found.margin < CONFIRM_MARGIN * spread / STEADY:
            return None
        if self._is_wrong(evidence, [*last, found.ed_s], period_s):
            self.reset()
            return None
        self.take(found.ed_s)
        return Followed((found.ed_s,), is_new_rhythm=False)

    def _is_wrong(self, evidence: Evidence, ed_s: list[float], period_s: float) -> bool:
        """True when the same beats at another phase explain the signals better: the rhythm was taken up wrongly."""
        train = np.array([ed_s[0] - period_s, *ed_s, ed_s[-1] + period_s])
        present, *others = evidence.against_usual(train + period_s * np.r_[0.0, SHIFTS][:, None], self.shift_s)
        return bool(min(others) < present - WRONG_MARGIN)

    def _period(self, pulse: Pulse) -> cycle.Period | None:
        """Of the contour's length if it beats, else of the picture."""
        known = np.flatnonzero(np.isfinite(pulse.lengths))
        if len(known):
            recent = slice(int(known[0]), None)
            times, lengths = pulse.times[recent], _unbroken(pulse.times[recent], pulse.lengths[recent])
            if lengths is not None:
                beating = cycle.without_trend(times, lengths)[:, None]
                found = cycle.find_period(times, beating, self._shortest_s, self._longest_s)
                if found is not None and found.score >= ACCEPT:
                    return found
        if pulse.is_still:
            return None
        return cycle.find_period(pulse.times, pulse.components, self._shortest_s, self._longest_s)

    def _evidence(self, pulse: Pulse, start_s: float) -> Evidence | None:
        """The contour's length, where one shortens, and the movements of the picture; None where nothing moves."""
        recent = pulse.times >= start_s
        times = pulse.times[recent]
        lengths = _unbroken(times, pulse.lengths[recent])
        signals = [] if lengths is None else [lengths[:, None]]
        if not pulse.is_still:
            signals.append(pulse.components[recent])
        if len(times) < MIN_FRAMES or not signals:
            return None
        return Evidence.of(times, np.concatenate(signals, axis=1), lengths is not None, self._config)


def _unbroken(times: cycle.Signal, lengths: cycle.Signal) -> cycle.Signal | None:
    """Lengths (T,) of the contour, holes bridged; None while there is none, or it does not shorten."""
    known = np.isfinite(lengths)
    if len(known) < MIN_FRAMES or known.mean() < KNOWN_SHARE or not known[-6:].any():
        return None
    if cycle.amplitude_of(lengths[known]) < MIN_SHORTENING * float(lengths[known].mean()):
        return None
    return np.interp(times, times[known], lengths[known])
