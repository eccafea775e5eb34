"""Which frame the appearance templates come from: once a beat, the quietest frame of diastasis.

There the speckle changes least, so that templates taken there stay like the wall for most of the next beat. The
choice falls a few frames late, once diastasis has passed; the session keeps the features of those frames.
"""

from dataclasses import dataclass

import numpy as np

from specktrack.rt.config import AnchorConfig
from specktrack.rt.update import PhaseEstimate

CALM = 0.35  # of the beat's mean motion energy (squared speed): above it no frame is calm enough to be an anchor
MIN_FRAMES = 8  # of a beat, to know what its motion is
REMEMBER_FRAMES = 1024


@dataclass(frozen=True)
class _Moment:
    """One frame of the beat under way."""

    time_s: float
    seq: int
    energy: float  # px^2/s^2
    is_diastasis: bool


class AnchorPolicy:
    """Watches phase and motion of one stream and says when a recent frame should become the anchor."""

    def __init__(self, config: AnchorConfig) -> None:
        self._config = config
        self.reset()

    def reset(self) -> None:
        """Forget the beat under way: after a gap, a new geometry, new points."""
        self._beat: int | None = None
        self._moments: list[_Moment] = []
        self._last_mean: float | None = None  # motion energy of the last whole beat, px^2/s^2
        self._is_chosen = False

    def update(self, time_s: float, seq: int, phase: PhaseEstimate | None, motion_px_s: float | None) -> int | None:
        """The seq of the frame to anchor on from now on, or None to keep the old anchor.

        motion_px_s  mean speed of the tracked points since the frame before; None: not known, the frame is no
                     candidate
        At most one frame a beat. A fast heart has no diastasis: then it is the quietest frame of the whole beat,
        once that is over. Nothing without a locked phase, nor when no frame is calm.
        """
        if not self._config.enabled or phase is None or not phase.is_locked:
            self.reset()
            return None
        chosen = self._end_beat(phase.beat) if phase.beat != self._beat else None
        if motion_px_s is not None and len(self._moments) < REMEMBER_FRAMES:
            self._moments.append(_Moment(time_s, seq, motion_px_s**2, phase.label == "diastasis"))
        if chosen is None and phase.label == "atrial":
            chosen = self._choose([m for m in self._moments if m.is_diastasis])
        return chosen

    def _end_beat(self, beat: int) -> int | None:
        """Choose late if the beat that ends had no choice yet, and start a new one."""
        rested = [m for m in self._moments if m.is_diastasis]
        is_whole = self._beat is not None and beat == self._beat + 1
        chosen = self._choose(rested or self._moments) if is_whole else None
        if len(self._moments) >= MIN_FRAMES:
            self._last_mean = float(np.mean([m.energy for m in self._moments]))
        self._beat = beat
        self._moments = []
        self._is_chosen = False
        return chosen

    def _choose(self, candidates: list[_Moment]) -> int | None:
        """The candidate with the least motion in three frames, if that is calm for this heart."""
        if self._is_chosen or not candidates or len(self._moments) < MIN_FRAMES:
            return None
        # While the beat is under way its quick part lies in the past already: the larger mean is the beat's.
        mean = max(float(np.mean([m.energy for m in self._moments])), self._last_mean or 0.0)
        energy = np.array([m.energy for m in candidates])
        padded = np.pad(energy, 1, mode="edge")
        smooth = 0.25 * padded[:-2] + 0.5 * energy + 0.25 * padded[2:]
        best = int(smooth.argmin())
        if smooth[best] > CALM * mean:
            return None
        self._is_chosen = True
        return candidates[best].seq
