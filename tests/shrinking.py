"""Speckle that shrinks towards a point and comes back, beat after beat: every segment of a contour shortens alike."""

import cv2
import numpy as np
from numpy.typing import NDArray
from streams import SIDE, arch, speckle

from specktrack.rt.contour import resample_contour
from specktrack.rt.geometry import FloatArray

RATE_HZ, PERIOD_S, ES_S, REST_S = 40.0, 0.85, 0.34, 0.7
SHRINK = 0.12
MIDDLE = np.array([128.0, 150.0])


def scale(t: float) -> float:
    """1 at end-diastole, 1 - SHRINK at end-systole, at rest from two thirds of the beat on."""
    t = t % PERIOD_S
    if t < ES_S:
        return float(1.0 - SHRINK * np.sin(0.5 * np.pi * t / ES_S) ** 2)
    return float(1.0 - SHRINK * np.cos(0.5 * np.pi * min((t - ES_S) / 0.2, 1.0)) ** 2)


def shrinking(beats: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Frames (T, 256, 256) and the contour (61, T, 2) in them."""
    picture, margin = speckle(), SIDE / 2
    line = resample_contour(arch(), 61)
    frames, walls = [], []
    for t in np.arange(round(beats * PERIOD_S * RATE_HZ)) / RATE_HZ:
        s = scale(t)
        matrix = np.array([[s, 0, 0], [0, s, 0]], float)
        matrix[:, 2] = MIDDLE - s * (MIDDLE + margin)
        frames.append(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
        walls.append(MIDDLE + s * (line - MIDDLE))
    return np.stack(frames).astype(np.uint8), np.stack(walls, 1).astype(np.float32)
