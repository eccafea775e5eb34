"""The rolling window: the last frames with what was computed from them, so the past can be matched again for free."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.dense_flow import DenseFlow
from specktrack.rt.geometry import FloatArray
from specktrack.rt.region import Region


@dataclass
class WindowEntry:
    """One frame of the window."""

    seq: int
    time_s: float
    image: NDArray[np.uint8]  # (h, w) as the engine saw it
    features: Any  # of the engine
    part: Region | None = None  # of the image that the features are of; None: all of it
    points: FloatArray | None = None  # (N, 2) engine pixels where the points were found; None before there were any
    flow: DenseFlow | None = None  # from the frame before, around them


class RollingWindow:
    """The last `capacity` frames, newest last; a ring that never moves what it holds."""

    def __init__(self, capacity: int) -> None:
        self._ring: list[WindowEntry | None] = [None] * capacity
        self._written = 0

    def __len__(self) -> int:
        return min(self._written, len(self._ring))

    def push(self, entry: WindowEntry) -> None:
        """Add the newest frame; the oldest leaves when the window is full."""
        self._ring[self._written % len(self._ring)] = entry
        self._written += 1

    def back(self, steps: int) -> WindowEntry:
        """The frame `steps` before the newest (0: the newest); raises IndexError outside the window."""
        if not 0 <= steps < len(self):
            raise IndexError(f"{steps} frames back, but the window holds {len(self)}")
        entry = self._ring[(self._written - 1 - steps) % len(self._ring)]
        assert entry is not None
        return entry

    def steps_to(self, seq: int) -> int | None:
        """How many frames back `seq` lies; None when it is not, or no longer, in the window."""
        for steps in range(len(self)):
            found = self.back(steps).seq
            if found == seq:
                return steps
            if found < seq:
                return None
        return None

    def between(self, first: int, last: int) -> list[WindowEntry] | None:
        """The frames from seq `first` to `last`, oldest first; None when either is not in the window any more."""
        start, end = self.steps_to(first), self.steps_to(last)
        return None if start is None or end is None else [self.back(k) for k in range(start, end - 1, -1)]

    def forget_points(self) -> None:
        """The points changed: positions of earlier frames no longer belong to them."""
        for steps in range(len(self)):
            entry = self.back(steps)
            entry.points = entry.flow = None

    def clear(self) -> None:
        """Empty the window."""
        self._ring = [None] * len(self._ring)
        self._written = 0
