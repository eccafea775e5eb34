"""Cardiac phase of every frame, from an ECG, from R waves or from the image alone; by time stamps, never frame counts.

Without an electrical source the beats are followed in what moves (beat_follower.py): the contour's length where one is
tracked, and the strongest joint movements of the picture (pulse.py). An end-diastole is certain some 0.1 s late (an R
wave of a streamed ECG 0.2 s); until then the phase of a regular heart runs on as expected. The times of a finished
beat are those of its true events.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import beat_model, cycle
from specktrack.rt.beat_follower import BeatFollower
from specktrack.rt.beat_search import end_systole
from specktrack.rt.config import PhaseConfig
from specktrack.rt.ecg import RWaveDetector
from specktrack.rt.frame import EcgChunk
from specktrack.rt.pulse import Pulse
from specktrack.rt.update import BeatEvents, PhaseEstimate, PhaseSource

KNOWN_AFTER_S = {"image": 0.12, "trigger": 0.1, "ecg": 0.22}  # an end-diastole
COAST = 1.25  # periods, beside that, without an end-diastole: no longer locked
GIVE_UP = 2.0  # periods without one: no phase
MAX_GAP_S = 1.5
CALM = 0.35  # of the beat's mean motion energy
NEARLY_ONE = 0.999
REGULAR = 0.1  # relative spread of cycles up to which the next beat is begun when it is due
AS_DUE = 1.1  # periods, beside that: a beat begun as due has not come, it is late, and the phase stands still
SAME_BEAT_S = 0.3  # an R wave so near an end-diastole of the image is that end-diastole
MISSED = (1.7, 2.3)  # usual cycles between R waves of a regular heart: one in between was missed


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
        self._follower = BeatFollower(config)
        self._r_waves = RWaveDetector()
        self.reset()

    def reset(self) -> None:
        """Start again: after a gap, a new geometry, a clock that jumped."""
        self._pulse.reset()
        self._r_waves.reset()
        self._source: PhaseSource = "image"
        self._beat = -1  # counts on through everything: no number is given twice in an epoch
        self._forget_rhythm()

    def _forget_rhythm(self) -> None:
        self._follower.reset()
        self._ed_s: float | None = None
        self._cycles: deque[float] = deque(maxlen=3)  # s
        self._shown = (-1, 0.0)  # beat and fraction last given

    def update(
        self,
        time_s: float,
        image: NDArray[np.uint8],
        contour_length: float | None,
        motion_px_s: float | None,
        r_waves_s: Sequence[float] = (),
        ecg: EcgChunk | None = None,
    ) -> PhaseUpdate:
        """Take in one frame.

        image           (H, W) uint8 grey of the engine's size, always the same
        contour_length  of the tracked contour, any unit; None without a contour
        motion_px_s     mean speed of the tracked points; None: the image's own change is used
        r_waves_s       R peaks since the last frame, on the clock of time_s; they overrule ECG and image
        ecg             samples since the last frame, same clock; their R waves overrule the image
        """
        if not -0.001 < time_s - self._pulse.newest_s < MAX_GAP_S:
            self.reset()
        is_kept = self._pulse.update(time_s, image, contour_length, motion_px_s)
        own_r_s = self._r_waves.update(ecg) if ecg is not None else []
        completed = None
        if r_waves_s:
            completed = self._follow_triggers(r_waves_s, "trigger")
        elif own_r_s and not (self._source == "trigger" and self._is_triggered(time_s)):
            completed = self._follow_triggers(own_r_s, "ecg")
        elif is_kept and not self._is_triggered(time_s):
            completed = self._follow_image()
        return PhaseUpdate(self._estimate(time_s), completed)

    def _follow_image(self) -> BeatEvents | None:
        """The beat that an end-diastole seen in the image finishes, or None."""
        if self._source != "image":
            self._source = "image"
            self._forget_rhythm()
        found = self._follower.update(self._pulse)
        if found is None:
            return None
        if found.is_new_rhythm:
            self._ed_s = None
            self._cycles.clear()
        completed = None
        for ed_s in found.ed_s:
            completed = self._begin_beat(ed_s)
        return completed

    def _follow_triggers(self, r_waves_s: Sequence[float], source: PhaseSource) -> BeatEvents | None:
        """Each R wave is an end-diastole; the last beat finished, or None."""
        is_new = self._source != source
        self._source = source
        completed = None
        for ed_s in sorted(r_s + 0.001 * self._config.r_to_ed_ms for r_s in r_waves_s):
            if is_new and self._ed_s is not None and abs(ed_s - self._ed_s) < SAME_BEAT_S:
                self._ed_s = ed_s  # it was known from the image, less well
            elif self._ed_s is None or ed_s > self._ed_s + self._shortest_s:
                self._follower.take(ed_s)
                completed = self._begin_beat(ed_s) or completed
            is_new = False
        return completed

    def _is_triggered(self, time_s: float) -> bool:
        """True while R waves come; when they stop for two of the longest cycles, the image takes over."""
        return self._source != "image" and self._ed_s is not None and time_s - self._ed_s < 2.0 * self._longest_s

    def _begin_beat(self, ed_s: float) -> BeatEvents | None:
        """A new beat starts; returns the events of the one before, or None when it was no whole beat."""
        before, self._ed_s = self._ed_s, ed_s
        self._beat += 1
        if before is None or not self._shortest_s <= ed_s - before <= self._longest_s:
            return None
        if self._has_missed_one(ed_s - before):
            return None
        self._cycles.append(ed_s - before)
        return self._events(before, ed_s)

    def _has_missed_one(self, cycle_s: float) -> bool:
        """True when two beats of a regular heart, one R wave of which was not found, would count as one."""
        if self._source == "image" or not self._is_regular():
            return False
        usual_s = median(self._cycles)
        return MISSED[0] * usual_s < cycle_s < MISSED[1] * usual_s

    def _is_regular(self) -> bool:
        return len(self._cycles) >= 2 and float(np.std(self._cycles)) <= REGULAR * median(self._cycles)

    def _events(self, ed_s: float, next_ed_s: float) -> BeatEvents:
        """ES as measured in the last beats, a priori by the heart rate; diastasis by the least motion."""
        es_s = end_systole(ed_s, next_ed_s, self._follower.measure_systole(self._pulse), self._config)
        return BeatEvents(
            beat=self._beat - 1,
            ed_s=ed_s,
            es_s=es_s,
            next_ed_s=next_ed_s,
            diastasis_s=self._diastasis(ed_s, es_s, next_ed_s),
            heart_rate_bpm=60.0 / (next_ed_s - ed_s),
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
        if self._ed_s is None or not self._cycles:
            return None
        cycle_s = median(self._cycles)
        elapsed = (time_s - self._ed_s) / cycle_s
        if elapsed > GIVE_UP:
            self._forget_rhythm()
            return None
        known_after = KNOWN_AFTER_S[self._source] / cycle_s
        beat, fraction = self._beat_and_fraction(elapsed, AS_DUE + known_after)
        systole_s = end_systole(0.0, cycle_s, self._follower.shift_s, self._config)
        window = cycle.diastasis_window(cycle_s, systole_s, self._config)
        return PhaseEstimate(
            fraction=fraction,
            label=cycle.label_of(fraction, systole_s / cycle_s, window),
            beat=beat,
            heart_rate_bpm=60.0 / cycle_s,
            source=self._source,
            is_locked=elapsed <= COAST + known_after and (self._source != "image" or self._follower.has_rhythm),
        )

    def _beat_and_fraction(self, elapsed: float, as_due: float) -> tuple[int, float]:
        """A regular heart's next beat begins when it is due; an irregular one's when it has been seen."""
        beat, fraction = self._beat, min(elapsed, NEARLY_ONE)
        if elapsed >= 1.0 and self._is_regular():
            beat, fraction = beat + 1, min(elapsed, as_due) - 1.0
        shown_beat, shown = self._shown
        if beat < shown_beat:  # begun too soon
            beat, fraction = shown_beat, shown
        elif beat == shown_beat:
            fraction = max(fraction, shown)
        self._shown = (beat, fraction)
        return beat, fraction


def warm_up() -> None:
    """Compile or load the kernels (0.3 s each) before the first frame."""
    cycle.autocorrelation(np.zeros((1, 4)), 2)
    beat_model.warm_up()
    end_systole(0.0, 1.0, 0.0, PhaseConfig())
