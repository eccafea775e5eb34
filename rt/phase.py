"""Cardiac phase of every frame, from R waves or from the image alone, by time stamps and never by frame counts.

Without triggers the beat is found in a length-like signal: the contour's length where one is tracked, otherwise the
strongest joint movement of the picture (pulse.py). Its autocorrelation gives the period, its extrema the events
(cycle.py). Events are confirmed a few frames late; the times of a finished beat are those of the true extrema.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import cycle
from specktrack.rt.config import PhaseConfig
from specktrack.rt.cycle import Period, Signal
from specktrack.rt.pulse import Pulse
from specktrack.rt.update import BeatEvents, PhaseEstimate, PhaseSource

ACCEPT = 0.5  # autocorrelation at the period; less is not a beat
REFRESH_FRAMES = 4  # the period changes slowly: look for it only so often
REFRACTORY = {"contour": 0.55, "image": 0.7}  # of a period: no second end-diastole sooner
COAST = 1.35  # periods without an end-diastole: no longer locked
GIVE_UP = 2.0  # periods without one: no phase
MAX_GAP_S = 1.5
MIN_SHORTENING = 0.015  # of the contour's length: less is jitter, not a beat
CALM = 0.35  # of the beat's mean motion energy
NEARLY_ONE = 0.999


@dataclass(frozen=True)
class PhaseUpdate:
    """What one frame told: where in the beat it lies, and the beat it finished, if any."""

    phase: PhaseEstimate | None
    completed: BeatEvents | None


class PhaseTracker:
    """Follows the heart cycle of one stream; an image that does not beat has no phase."""

    def __init__(self, config: PhaseConfig) -> None:
        self._config = config
        self._shortest_s = 60.0 / config.max_rate_bpm
        self._longest_s = 60.0 / config.min_rate_bpm
        self._pulse = Pulse()
        self.reset()

    def reset(self) -> None:
        """Start again: after a gap, a new geometry, a clock that jumped."""
        self._pulse.reset()
        self._period: Period | None = None
        self._kind: Literal["contour", "image"] = "image"
        self._sign = 0.0
        self._source: PhaseSource = "image"
        self._ed_s: float | None = None
        self._beat = -1
        self._fraction = 0.0
        self._cycles: deque[float] = deque(maxlen=3)  # s
        self._systoles: deque[float] = deque(maxlen=5)  # s, measured only
        self._countdown = 0

    def update(
        self,
        time_s: float,
        image: NDArray[np.uint8],
        contour_length: float | None,
        motion_px_s: float | None,
        r_waves_s: Sequence[float] = (),
    ) -> PhaseUpdate:
        """Take in one frame.

        image           (H, W) uint8 grey of the engine's size, always the same
        contour_length  of the tracked contour, any unit; None without a contour or with a lost segment
        motion_px_s     mean speed of the tracked points; None: the image's own change is used
        r_waves_s       R peaks since the last frame, on the clock of time_s; they overrule the image
        """
        if not -0.001 < time_s - self._pulse.newest_s < MAX_GAP_S:
            self.reset()
        is_kept = self._pulse.update(time_s, image, contour_length, motion_px_s)
        if is_kept:
            self._refresh_period()
        completed = None
        if r_waves_s:
            completed = self._follow_triggers(r_waves_s)
        elif is_kept and not self._is_triggered(time_s):
            completed = self._follow_signal()
        return PhaseUpdate(self._estimate(time_s), completed)

    def _refresh_period(self) -> None:
        """Every few frames: the period of the contour if it beats, else of the image; an old one is kept."""
        self._countdown -= 1
        if self._countdown > 0:
            return
        self._countdown = REFRESH_FRAMES
        contour = self._contour_signal()
        if contour is not None:
            beating = cycle.without_trend(*contour)[:, None]
            found = cycle.find_period(contour[0], beating, self._shortest_s, self._longest_s)
            if found and found.score >= ACCEPT:
                self._period, self._kind = found, "contour"
                return
        if self._pulse.is_still:
            return
        times, components = self._pulse.times, self._pulse.components
        found = cycle.find_period(times, components, self._shortest_s, self._longest_s)
        if found and found.score >= ACCEPT:
            self._period, self._kind = found, "image"
            balance = cycle.systolic_sign(times, components[:, 0], found.seconds)
            if self._sign == 0.0 or abs(balance) > 0.1:
                self._sign = 1.0 if balance >= 0.0 else -1.0

    def _contour_signal(self) -> tuple[Signal, Signal] | None:
        """Times and length of the contour, or None while it is not there or does not shorten."""
        times, lengths = self._pulse.times, self._pulse.lengths
        known = np.isfinite(lengths)
        if not known.any():
            return None
        first = int(known.argmax())
        times, lengths, known = times[first:], lengths[first:], known[first:]
        if len(times) < 12 or known.mean() < 0.8 or not known[-6:].any():
            return None
        if cycle.amplitude_of(lengths[known]) < MIN_SHORTENING * float(lengths[known].mean()):
            return None
        return times, np.interp(times, times[known], lengths[known])

    def _signal(self, event: Literal["ed", "es"]) -> tuple[Signal, Signal]:
        """The last three periods of the length-like signal: largest at end-diastole, smallest at end-systole.

        An image has one for each event: its first movement is the steadier around ES, but saturates around ED.
        """
        assert self._period is not None
        signal = self._contour_signal() if self._kind == "contour" else None
        if signal is None:
            movements = self._sign * self._pulse.components
            shape = cycle.distance_from_systole(movements) if event == "ed" else -movements[:, 0]
            signal = self._pulse.times, shape
        times, length = signal
        recent = times >= times[-1] - 3.2 * self._period.seconds
        return times[recent], cycle.smooth3(length[recent])

    def _follow_signal(self) -> BeatEvents | None:
        """Look for an end-diastole that has been left behind; the beat it finishes, or None."""
        if self._period is None:
            return None
        self._source = "image"
        times, length = self._signal("ed")
        period_s = self._period.seconds
        after = self._ed_s + REFRACTORY[self._kind] * period_s if self._ed_s is not None else times[0] + 0.5 * period_s
        found = cycle.end_diastoles(times, length, period_s, after)
        return self._begin_beat(found[-1]) if found else None

    def _follow_triggers(self, r_waves_s: Sequence[float]) -> BeatEvents | None:
        """Each R wave is an end-diastole; the last beat finished, or None."""
        self._source = "trigger"
        completed = None
        for r_s in sorted(r_waves_s):
            if self._ed_s is None or r_s > self._ed_s + self._shortest_s:
                completed = self._begin_beat(r_s) or completed
        return completed

    def _is_triggered(self, time_s: float) -> bool:
        """True while R waves come; when they stop for two of the longest cycles, the image takes over."""
        return self._source == "trigger" and self._ed_s is not None and time_s - self._ed_s < 2.0 * self._longest_s

    def _begin_beat(self, ed_s: float) -> BeatEvents | None:
        """A new beat starts; returns the events of the one before, or None when it was no whole beat."""
        before, self._ed_s = self._ed_s, ed_s
        self._beat += 1
        self._fraction = 0.0
        if before is None or not self._shortest_s <= ed_s - before <= self._longest_s:
            return None
        self._cycles.append(ed_s - before)
        return self._events(before, ed_s)

    def _events(self, ed_s: float, next_ed_s: float) -> BeatEvents:
        """ES measured where the signal shows it, else by the heart-rate model; diastasis by the least motion."""
        cycle_s = next_ed_s - ed_s
        es_s = ed_s + min(cycle.systole_s(60.0 / cycle_s, self._config), 0.6 * cycle_s)
        if self._period is not None:
            measured = cycle.end_systole(*self._signal("es"), ed_s, cycle_s)
            if measured is not None:
                es_s = measured
                self._systoles.append(es_s - ed_s)
        return BeatEvents(
            beat=self._beat - 1,
            ed_s=ed_s,
            es_s=es_s,
            next_ed_s=next_ed_s,
            diastasis_s=self._diastasis(ed_s, es_s, next_ed_s),
            heart_rate_bpm=60.0 / cycle_s,
        )

    def _diastasis(self, ed_s: float, es_s: float, next_ed_s: float) -> float | None:
        """The quietest moment of diastasis; for a fast heart that of all diastole; None when none is calm."""
        times, energy = self._pulse.times, self._pulse.motion_energy
        beat = (times >= ed_s) & (times <= next_ed_s) & np.isfinite(energy)
        if np.count_nonzero(beat) < 8:
            return None
        calm_below = CALM * float(energy[beat].mean())
        energy[1:-1] = (energy[:-2] + 2.0 * energy[1:-1] + energy[2:]) / 4.0
        cycle_s = next_ed_s - ed_s
        window = cycle.diastasis_window(cycle_s, es_s - ed_s, self._config)
        if window.is_open:
            return cycle.quietest(times, energy, ed_s + window.start * cycle_s, ed_s + window.end * cycle_s, calm_below)
        return cycle.quietest(times, energy, es_s, next_ed_s, calm_below)

    def _estimate(self, time_s: float) -> PhaseEstimate | None:
        """Where time_s lies in the beat under way; the fraction never runs backwards within it."""
        if self._ed_s is None or not (self._cycles or self._period):
            return None
        cycle_s = median(self._cycles) if self._cycles else self._period.seconds if self._period else 1.0
        elapsed = (time_s - self._ed_s) / cycle_s
        if elapsed > GIVE_UP:
            self._ed_s = None
            self._cycles.clear()
            return None
        self._fraction = min(max(elapsed, self._fraction), NEARLY_ONE)
        rate = 60.0 / cycle_s
        systole_s = median(self._systoles) if self._systoles else cycle.systole_s(rate, self._config)
        systole_s = min(systole_s, 0.65 * cycle_s)
        window = cycle.diastasis_window(cycle_s, systole_s, self._config)
        return PhaseEstimate(
            fraction=self._fraction,
            label=cycle.label_of(self._fraction, systole_s / cycle_s, window),
            beat=max(self._beat, 0),
            heart_rate_bpm=rate,
            source=self._source,
            is_locked=elapsed <= COAST,
        )


def warm_up() -> None:
    """Compile or load the kernel (0.3 s) before the first frame."""
    cycle.autocorrelation(np.zeros((1, 4)), 2)
