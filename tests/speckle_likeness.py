"""How alike the speckle of one frame and the next is along tracks: the decorrelation that a tracker meets."""

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

PATCH_PX = (17, 17)


def likeness_of_frames(
    frames: NDArray[np.uint8], tracks: FloatArray, visible: NDArray[np.bool_], lag: int = 1
) -> FloatArray:
    """Normalised cross-correlation (T - lag,) of patches around tracks (N, T, 2), median over the points seen."""
    found = []
    for k in range(len(frames) - lag):
        seen = visible[:, k] & visible[:, k + lag]
        pairs = zip(tracks[seen, k], tracks[seen, k + lag], strict=True)
        found.append(np.median([_correlation(frames[k], a, frames[k + lag], b) for a, b in pairs]))
    return np.asarray(found, np.float32)


def _correlation(first: NDArray[np.uint8], at: FloatArray, second: NDArray[np.uint8], to: FloatArray) -> float:
    a = cv2.getRectSubPix(first, PATCH_PX, (float(at[0]), float(at[1]))).astype(np.float64)
    b = cv2.getRectSubPix(second, PATCH_PX, (float(to[0]), float(to[1]))).astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-6))
