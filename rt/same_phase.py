"""Notices, once a beat, the frame that looks most like the one the points were set on.

Speckle that has decorrelated during the beat is there again when the heart is at the same phase: that is the moment
to ask the identity template where its point is, and to take out what has drifted. No phase estimate is needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

SMALL_PX = 32
LEAST_EXCURSION = 0.01  # of the correlation between frames; less is noise, not a beat
FALL = 0.15  # of the excursion: how far similarity must have fallen for its peak to be over


class SamePhase:
    """Watches the similarity of one stream to its reference frame."""

    def __init__(self) -> None:
        self._reference: FloatArray | None = None
        self._lowest = self._highest = 1.0
        self._age = 0  # frames since the highest

    def start(self, image: NDArray[np.uint8]) -> None:
        """This (H, W) frame is the reference from now on."""
        self._reference = _small(image)
        self._lowest = self._highest = 1.0
        self._age = 0

    def update(self, image: NDArray[np.uint8]) -> int | None:
        """Take in the next frame; how many frames back the most similar one lies, when a peak has just passed."""
        if self._reference is None:
            return None
        similarity = float((_small(image) * self._reference).sum())
        if similarity < self._lowest:
            self._lowest = self._highest = similarity
            self._age = 0
            return None
        self._age += 1
        if similarity > self._highest:
            self._highest, self._age = similarity, 0
        excursion = self._highest - self._lowest
        if excursion < LEAST_EXCURSION or self._highest - similarity < FALL * excursion:
            return None
        age, self._age = self._age, 0
        self._lowest = self._highest = similarity
        return age


def _small(image: NDArray[np.uint8]) -> FloatArray:
    """(32, 32), mean 0, unit length; all zero for a flat image."""
    small = cv2.resize(image, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return np.asarray(small / norm if norm > 0 else small, np.float32)
