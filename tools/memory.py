"""Which recent frame shows what a held picture showed.

Drawing a contour takes a person longer than the daemon remembers frames. The heart comes back to the same shape every
beat, so the points go onto the recent frame that looks most like the one they were drawn on.
"""

import threading
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError

_FRAMES_KEPT = 100  # fewer than the daemon's window
_SIDE_PX = 64
_MIN_SIMILARITY = 0.85


class FrameMemory:
    """Small copies of the last frames, and of the one a person is drawing on. Safe from several threads."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, NDArray[np.float32] | None]] = deque(maxlen=_FRAMES_KEPT)
        self._held: tuple[int, NDArray[np.float32] | None] | None = None
        self._lock = threading.Lock()

    def add(self, seq: int, pixels: NDArray[np.uint8] | None) -> None:
        """Remember a frame (H, W) uint8, or that it had no picture."""
        small = None if pixels is None else _thumbnail(pixels)
        with self._lock:
            if self._frames and seq < self._frames[-1][0]:
                self._frames.clear()  # the feed was started again
            self._frames.append((seq, small))

    def hold(self, seq: int) -> None:
        """Keep what frame `seq` looks like: someone draws on it."""
        with self._lock:
            self._held = next((frame for frame in self._frames if frame[0] == seq), None)

    def showing(self, seq: int) -> int:
        """The frame `seq` itself while the daemon has it, else the recent frame that looks most like it.

        Raises InputError when nothing recent does: another view, another gain.
        """
        with self._lock:
            if any(frame[0] == seq for frame in self._frames):
                return seq
            held, frames = self._held, list(self._frames)
        if held is None or held[0] != seq or held[1] is None:
            raise InputError(f"frame {seq} is gone; draw the contour again, with the pictures shown (rt-feed --tee)")
        best, likeness = max(
            ((number, float((small * held[1]).mean())) for number, small in frames if small is not None),
            key=lambda pair: pair[1],
            default=(seq, 0.0),
        )
        if likeness < _MIN_SIMILARITY:
            raise InputError("the picture has changed too much since the contour was begun; draw it again")
        return best


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Zero mean, unit variance, so that the mean of a product is the normalised cross-correlation."""
    small = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return (small - small.mean()) / max(float(small.std()), 1e-3)
