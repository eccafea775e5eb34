"""Events and rate of a played recording against the truth. Times in s on the recording's clock.

A published beat is right when it lies between two neighbouring true end-diastoles; otherwise it is a double, a half or
no beat at all. Errors of events are those of right beats only, so both figures must be read together.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from specktrack.rt.settings import Section
from specktrack.training.play import Trace
from specktrack.training.rhythm import Rhythm

Times = NDArray[np.float64]
LATENCIES_FRAMES = (0, 1, 2, 3, 4, 6, 8, 10, 15, 20)
WRONG_RATIO = 1.5  # of published to true rate, or the other way: a double or a half
CYCLES_AVERAGED = 3  # the published heart rate is the median of so many
CONFIRM_S = 0.15  # after the end of the second beat, in which it may still be confirmed


class PhaseScore(Section):
    """One recording as it was played; errors are signed, published less true, late is positive."""

    ed_frames: tuple[float, ...] = ()  # in frames of the stream
    es_frames: tuple[float, ...] = ()
    cycle_ms: tuple[float, ...] = ()  # of the published rate against the true cycles it stands for
    beat_cycle_ms: tuple[float, ...] = ()  # of every single beat
    phase_percent: tuple[float, ...] = ()  # mean absolute error over each true beat, of a beat
    delay_s: tuple[float, ...] = ()  # from the true end of a beat to its publication
    n_true: int = 0  # whole beats after the first lock
    n_found: int = 0  # of these
    n_wrong: int = 0  # published beats that are none
    n_wrong_rate: int = 0  # true beats in which a locked rate was a double or a half
    n_unlocked: int = 0  # true beats in which it was said not to be locked
    lock_s: float | None = None  # None: never
    is_locked_in_time: bool = False  # by the end of the second whole beat
    is_locked_at_all: bool = False
    belief_ed_frames: dict[str, tuple[float, ...]] = Field(default_factory=dict)  # by latency in frames


@dataclass(frozen=True)
class Truth:
    """Events of all beats of a rhythm, also before and after the recording."""

    ed_s: Times
    es_s: Times  # of each beat that has an end

    @staticmethod
    def of(rhythm: Rhythm) -> "Truth":
        """The events of a rhythm."""
        n_beats = len(rhythm.ed_s) - 1
        return Truth(np.array(rhythm.ed_s), np.array([rhythm.end_systole_s(k) for k in range(n_beats)]))

    def nearest_ed(self, time_s: float) -> int:
        """Index of the nearest end-diastole."""
        return int(np.abs(self.ed_s - time_s).argmin())


def score_phase(trace: Trace, truth: Truth, frame_interval_s: float) -> PhaseScore:
    """Every figure of one recording."""
    locked = np.flatnonzero(trace.is_locked)
    if not len(locked):
        return PhaseScore()
    lock_s = float(trace.time_s[locked[0]])
    end_s = float(trace.time_s[-1])
    published = [_matched(trace, k, truth) for k in range(len(trace.beats))]
    right = [(k, i) for k, (i, j) in enumerate(published) if j == i + 1]
    expected = _whole_beats(truth.ed_s, lock_s, end_s - CONFIRM_S)
    found = {i for _, i in right}
    rates = [_rate_in(trace, truth, i) for i in expected]
    return PhaseScore(
        ed_frames=tuple(_ed_errors(trace, truth, right) / frame_interval_s),
        es_frames=tuple((trace.beats[k].es_s - float(truth.es_s[i])) / frame_interval_s for k, i in right),
        cycle_ms=tuple(_rate_errors_ms(trace, truth, right)),
        beat_cycle_ms=tuple(
            1e3 * (60.0 / trace.beats[k].heart_rate_bpm - float(truth.ed_s[i + 1] - truth.ed_s[i])) for k, i in right
        ),
        phase_percent=tuple(_phase_errors_percent(trace, truth, expected)),
        delay_s=tuple(float(trace.announced_s[k] - truth.ed_s[i + 1]) for k, i in right),
        n_true=len(expected),
        n_found=sum(i in found for i in expected),
        n_wrong=len(published) - len(right),
        n_wrong_rate=sum(ratio > WRONG_RATIO or ratio < 1.0 / WRONG_RATIO for ratio in rates if ratio is not None),
        n_unlocked=sum(ratio is None for ratio in rates),
        lock_s=lock_s,
        is_locked_in_time=lock_s <= _end_of_second_beat(truth.ed_s, float(trace.time_s[0])) + CONFIRM_S,
        is_locked_at_all=True,
        belief_ed_frames={
            str(latency): tuple(_beliefs(trace, truth, lock_s, latency * frame_interval_s) / frame_interval_s)
            for latency in LATENCIES_FRAMES
        },
    )


def _matched(trace: Trace, k: int, truth: Truth) -> tuple[int, int]:
    """The true end-diastoles nearest to the two of a published beat."""
    beat = trace.beats[k]
    first, last = truth.nearest_ed(beat.ed_s), truth.nearest_ed(beat.next_ed_s)
    return first, last


def _whole_beats(ed_s: Times, start_s: float, end_s: float) -> list[int]:
    return [i for i in range(len(ed_s) - 1) if ed_s[i] >= start_s and ed_s[i + 1] <= end_s]


def _end_of_second_beat(ed_s: Times, start_s: float) -> float:
    after = ed_s[ed_s >= start_s]
    return float(after[2]) if len(after) > 2 else math.inf


def _ed_errors(trace: Trace, truth: Truth, right: list[tuple[int, int]]) -> Times:
    """Each end-diastole once: the beginnings of right beats, and the ends that begin no right beat."""
    begun = {i for _, i in right}
    errors = [trace.beats[k].ed_s - truth.ed_s[i] for k, i in right]
    errors += [trace.beats[k].next_ed_s - truth.ed_s[i + 1] for k, i in right if i + 1 not in begun]
    return np.array(errors)


def _rate_errors_ms(trace: Trace, truth: Truth, right: list[tuple[int, int]]) -> list[float]:
    """Published cycle length when a beat was published, against the median of the true ones it stands for."""
    errors = []
    for k, i in right:
        at = int(np.searchsorted(trace.time_s, trace.announced_s[k]))
        cycles = np.diff(truth.ed_s[max(i + 1 - CYCLES_AVERAGED, 0) : i + 2])
        if trace.is_locked[at]:
            errors.append(float(1e3 * (60.0 / trace.rate_bpm[at] - np.median(cycles))))
    return errors


def _rate_in(trace: Trace, truth: Truth, beat: int) -> float | None:
    """Published over true rate in a true beat; None when it was not locked for most of it."""
    inside = (trace.time_s >= truth.ed_s[beat]) & (trace.time_s < truth.ed_s[beat + 1])
    sure = inside & trace.is_locked
    if np.count_nonzero(sure) <= 0.5 * np.count_nonzero(inside):
        return None
    around = np.diff(truth.ed_s[max(beat - 2, 0) : beat + 2])
    ratios = trace.rate_bpm[sure] / 60.0 * float(np.median(around))
    return float(np.median(ratios))


def _phase_errors_percent(trace: Trace, truth: Truth, beats: list[int]) -> list[float]:
    errors = []
    for i in beats:
        start, end = truth.ed_s[i], truth.ed_s[i + 1]
        inside = (trace.time_s >= start) & (trace.time_s < end) & np.isfinite(trace.fraction)
        if inside.any():
            true = (trace.time_s[inside] - start) / (end - start)
            apart = (trace.fraction[inside] - true + 0.5) % 1.0 - 0.5
            errors.append(float(100.0 * np.abs(apart).mean()))
    return errors


def _beliefs(trace: Trace, truth: Truth, lock_s: float, latency_s: float) -> Times:
    """Errors of where each true end-diastole was believed to lie, s, so long after it.

    What a listener knows then: the phase published with the newest frame says when the last beat began and when the
    next one is due; the nearer of the two is meant.
    """
    errors = []
    for ed_s in truth.ed_s[(truth.ed_s > lock_s) & (truth.ed_s + latency_s <= trace.time_s[-1])]:
        newest = int(np.searchsorted(trace.time_s, ed_s + latency_s, side="right")) - 1
        if newest < 0 or not trace.is_locked[newest]:
            continue
        cycle_s, fraction = 60.0 / trace.rate_bpm[newest], trace.fraction[newest]
        last = trace.time_s[newest] - fraction * cycle_s
        apart = np.array([last, last + cycle_s]) - ed_s
        errors.append(float(apart[np.abs(apart).argmin()]))
    return np.array(errors)
