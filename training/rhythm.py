"""When beats begin and how each goes (contraction, filling, valves): regular, varying, premature, fibrillating.

Every course starts and ends a beat at 0, so that beats of any length join without a jump. Times follow the
heart-rate model of the clinical reference: QS2 = 541 - 2.2 HR ms (Chest 1981;80:613), isovolumic relaxation, early
filling, diastasis, atrial kick; diastasis takes all change of the cycle length.
"""

import bisect
import math
from dataclasses import dataclass, field

import torch

ISOVOLUMIC_RELAXATION_S = 0.075
EARLY_FILLING_S = 0.16
ATRIAL_KICK_S = 0.11
Q_TO_R_S = 0.04
ELECTROMECHANICAL_DELAY_S = 0.015
DIASTASIS_LEAK = 0.06  # share of the excursion that returns slowly during diastasis
SHORTEST_BEAT_S = 0.36
SHORTEST_FILLING_S = 0.05
POST_SYSTOLIC_S = 0.09  # from aortic closure to the peak of post-systolic shortening
PREMATURE = (0.6, 0.78)  # length of the beat that an ectopic one cuts short, of the usual length


@dataclass(frozen=True)
class TimeCourse:
    """How a person's beats differ from the model's."""

    early_share: float = 0.68  # of the excursion returned by early filling; fibrillation returns all of it early
    systole_shift_s: float = 0.0  # longer or shorter systole than the heart rate predicts
    skew: float = 1.0  # below 1 ejection is fastest early


@dataclass(frozen=True)
class Beat:
    """One beat and a moment in it."""

    index: int
    period_s: float
    t_s: float  # since end-diastole
    strength: float


@dataclass(frozen=True)
class Rhythm:
    """Times of end-diastole, s, ascending; the first lies at or before the first frame."""

    ed_s: tuple[float, ...]
    strengths: tuple[float, ...] = ()  # contraction of each beat, up to 1; empty: all full
    has_kick: bool = True  # atria contract
    course: TimeCourse = field(default_factory=TimeCourse)

    @staticmethod
    def regular(rate_bpm: float, duration_s: float, start_s: float = 0.0) -> "Rhythm":
        """Equal beats, enough of them to cover the duration and one more."""
        period = 60.0 / rate_bpm
        count = math.ceil((duration_s - start_s) / period) + 2
        return Rhythm(tuple(start_s + k * period for k in range(count)))

    @staticmethod
    def varying(
        rate_bpm: float,
        duration_s: float,
        sd: float,
        generator: torch.Generator,
        start_s: float = 0.0,
        ectopic_share: float = 0.0,
    ) -> "Rhythm":
        """Sinus beats of relative standard deviation `sd`; a share of them premature, weak, with a full pause after."""
        mean = 60.0 / rate_bpm
        lengths, strengths = [_length(mean, sd, generator)], [1.0]
        while start_s + sum(lengths) < duration_s + mean:
            if _uniform(generator) < ectopic_share:
                early = _uniform(generator, *PREMATURE)
                lengths[-1] = max(early * mean, SHORTEST_BEAT_S)
                lengths.append(2.0 * mean - lengths[-1])
                strengths.append(_uniform(generator, 0.45, 0.75))
            lengths.append(_length(mean, sd, generator))
            strengths.append(1.0)
        return Rhythm(_times(start_s, lengths), tuple(strengths))

    @staticmethod
    def fibrillating(
        rate_bpm: float, duration_s: float, sd: float, generator: torch.Generator, start_s: float = 0.0
    ) -> "Rhythm":
        """Atrial fibrillation: irregular, no atrial kick; a beat after a short interval is weak."""
        mean = 60.0 / rate_bpm
        lengths, strengths = [_length(mean, sd, generator)], [1.0]
        while start_s + sum(lengths) < duration_s + mean:
            strengths.append(min(max(0.35 + 0.6 * lengths[-1] / mean, 0.5), 1.0))
            lengths.append(_length(mean, sd, generator))
        return Rhythm(_times(start_s, lengths), tuple(strengths), has_kick=False)

    def beat_at(self, time_s: float) -> tuple[int, float, float]:
        """Index of the beat, its start and its length, s."""
        index = min(max(bisect.bisect_right(self.ed_s, time_s) - 1, 0), len(self.ed_s) - 2)
        return index, self.ed_s[index], self.ed_s[index + 1] - self.ed_s[index]

    def phase(self, time_s: float) -> float:
        """Fraction of the beat from end-diastole to end-diastole, in [0, 1)."""
        beat = self._beat(time_s)
        return min(max(beat.t_s / beat.period_s, 0.0), 1.0 - 1e-9)

    def state(self, time_s: float, lag_s: float = 0.0) -> float:
        """Contraction: 0 at end-diastole, the strength of the beat at end-systole.

        lag_s  of a wall that is activated late: it contracts and relaxes so much later, but the atria fill all walls
               at once, and none is filled when the mitral valve has shut
        """
        beat = self._beat(time_s - lag_s)
        return beat.strength * contraction(beat.t_s, beat.period_s, self.course, self.has_kick, lag_s)

    def post_systole(self, time_s: float, lag_s: float = 0.0) -> float:
        """Post-systolic shortening of injured muscle: 0 until aortic closure, 1 at its peak, 0 before end-diastole.

        lag_s  as in `state`
        """
        beat = self._beat(time_s - lag_s)
        closure = _systole(beat.period_s, self.course)
        half = min(POST_SYSTOLIC_S, 0.5 * max(beat.period_s - lag_s - closure, SHORTEST_FILLING_S))
        return beat.strength * (_rise(beat.t_s, closure, half) - _rise(beat.t_s, closure + half, half))

    def inflow_opening(self, time_s: float) -> float:
        """Mitral and tricuspid valve: 0 shut, 1 wide open; twice in a beat with an atrial kick."""
        beat = self._beat(time_s)
        start = _systole(beat.period_s, self.course) + ISOVOLUMIC_RELAXATION_S
        wide = _rise(beat.t_s, start, 0.06) - 0.6 * _rise(beat.t_s, start + 0.08, 0.1)
        if self.has_kick:
            wide += 0.45 * _rise(beat.t_s, beat.period_s - ATRIAL_KICK_S, 0.06)
        return max(wide, 0.0) * (1.0 - _rise(beat.t_s, beat.period_s - 0.05, 0.05))

    def outflow_opening(self, time_s: float) -> float:
        """Aortic valve: 0 shut, 1 open; it shuts at end-systole."""
        beat = self._beat(time_s)
        closure = _systole(beat.period_s, self.course)
        return beat.strength * (_rise(beat.t_s, 0.04, 0.03) - _rise(beat.t_s, closure - 0.03, 0.03))

    def end_systole_s(self, beat: int) -> float:
        """Time of aortic valve closure in a beat."""
        return self.ed_s[beat] + _systole(self.ed_s[beat + 1] - self.ed_s[beat], self.course)

    def quiet_s(self, beat: int) -> float:
        """The middle of diastasis of a beat, or its start (end-diastole) where there is no diastasis."""
        period = self.ed_s[beat + 1] - self.ed_s[beat]
        start, end = diastasis_window(period, self.course, self.has_kick)
        return self.ed_s[beat] + (0.5 * (start + end) * period if end > start else 0.0)

    def _beat(self, time_s: float) -> Beat:
        index, start, period = self.beat_at(time_s)
        strength = self.strengths[index] if self.strengths else 1.0
        return Beat(index, period, time_s - start, strength)


def systole_s(period_s: float) -> float:
    """End-diastole (R) to aortic valve closure, by the heart rate."""
    return (541.0 - 2.2 * min(60.0 / period_s, 150.0)) / 1000.0 - Q_TO_R_S


def diastasis_window(period_s: float, course: TimeCourse | None = None, has_kick: bool = True) -> tuple[float, float]:
    """Start and end of diastasis as fractions of the beat; end <= start when there is none."""
    start = _systole(period_s, course or TimeCourse()) + ISOVOLUMIC_RELAXATION_S + EARLY_FILLING_S
    return start / period_s, (period_s - (ATRIAL_KICK_S if has_kick else 0.02)) / period_s


def contraction(t_s: float, period_s: float, course: TimeCourse, has_kick: bool = True, lag_s: float = 0.0) -> float:
    """State of contraction at `t_s` after end-diastole: 0 at end-diastole, 1 at end-systole.

    Short beats squeeze diastole: when diastasis is gone the early and the atrial wave overlap and simply add.

    lag_s  of a late wall: t_s is its own time, which begins so long after end-diastole; the next one, and the atrial
           kick before it, come so much sooner on that clock
    """
    systole = _systole(period_s, course)
    early_start = systole + ISOVOLUMIC_RELAXATION_S
    filled = period_s - lag_s
    early = min(EARLY_FILLING_S, max(filled - early_start, SHORTEST_FILLING_S))
    kick = min(ATRIAL_KICK_S, 0.5 * max(period_s - early_start, SHORTEST_FILLING_S))
    early_share = course.early_share if has_kick else 1.0 - DIASTASIS_LEAK
    state = _rise(t_s, ELECTROMECHANICAL_DELAY_S, systole - ELECTROMECHANICAL_DELAY_S, course.skew)
    state -= early_share * _rise(t_s, early_start, early)
    slow = max(filled - early_start, SHORTEST_FILLING_S)
    state -= DIASTASIS_LEAK * min(max((t_s - early_start) / slow, 0.0), 1.0)
    state -= (1.0 - early_share - DIASTASIS_LEAK) * _rise(t_s, filled - kick, kick)
    return state


def _systole(period_s: float, course: TimeCourse) -> float:
    return min(systole_s(period_s) + course.systole_shift_s, 0.55 * period_s)


def _rise(t: float, start: float, duration: float, skew: float = 1.0) -> float:
    """Raised cosine from 0 to 1."""
    u = min(max((t - start) / duration, 0.0), 1.0)
    return 0.5 - 0.5 * math.cos(math.pi * u**skew)


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _length(mean_s: float, sd: float, generator: torch.Generator) -> float:
    factor = 1.0 + sd * float(torch.randn((), generator=generator).clamp(-2.5, 2.5))
    return max(mean_s * factor, min(SHORTEST_BEAT_S, mean_s))


def _times(start_s: float, lengths: list[float]) -> tuple[float, ...]:
    times = [start_s]
    for length in lengths:
        times.append(times[-1] + length)
    return tuple(times)
