"""Lucas-Kanade: where the patch around a point fits best in another image (Lucas 1981; with pyramids, Bouguet 2001).

OpenCV's stops at steps of a hundredth of a pixel. Where an edge says little about one direction it stops far from the
best fit, and where it stops hangs on the last bit of where it began: over 200 frames 0.0001 px grew to 0.3. This one
goes on until it is there, in less time. Tests hold it to OpenCV's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.lucas_kanade_kernel import MARGIN, Level, follow_large, follow_small

Pyramid = tuple[Level, ...]  # finest first, each (h, w) with a margin


@dataclass(frozen=True)
class Found:
    """Where patches fit."""

    points: FloatArray  # (N, 2) pixels; where the search ended
    residual: FloatArray  # (N,) mean difference between patch and picture, gray levels
    is_found: NDArray[np.bool_]  # (N,) False where there is too little texture or the search left the image


def pyramid(image: NDArray[np.uint8], n_levels: int) -> Pyramid:
    """The image (H, W), halved n_levels - 1 times, each level with a margin of MARGIN px around it."""
    levels, level = [], image.astype(np.float32)
    for k in range(n_levels):
        if k:
            level = cv2.pyrDown(level)
        levels.append(cv2.copyMakeBorder(level, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT_101))
    return tuple(levels)


def flow(before: Pyramid, after: Pyramid, points: FloatArray) -> Found:
    """Find patches of 21 x 21 px around known points (N, 2) of one pyramid in another, beginning in the same place."""
    return _run(follow_small, before, after, points, points)


def align(before: Level, after: Level, points: FloatArray, expected: FloatArray) -> Found:
    """Find patches of 31 x 31 px around known points (N, 2), beginning at expected (N, 2), at full resolution alone."""
    return _run(follow_large, (before,), (after,), points, expected)


def opencv_step(before: NDArray[np.uint8], after: NDArray[np.uint8], points: FloatArray) -> FloatArray:
    """Displacement (N, 2) of points (N, 2) by OpenCV, as tables of trackers mean it: 21 x 21 px, three levels down.

    NaN for a lost point or where it finds none.
    """
    known = is_known(points)
    result = np.full(points.shape, np.nan, np.float32)
    if known.any():
        start = np.ascontiguousarray(points[known][:, None], np.float32)
        found, status, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, winSize=(21, 21), maxLevel=3)
        step = np.asarray(found, np.float32)[:, 0] - start[:, 0]
        result[known] = np.where(np.asarray(status).reshape(-1, 1) > 0, step, np.nan)
    return result


def _run(
    kernel: Callable[..., None],
    before: Pyramid,
    after: Pyramid,
    points: FloatArray,
    expected: FloatArray,
) -> Found:
    start = np.ascontiguousarray(points, np.float32)
    found = np.array(expected, np.float32, order="C")
    residual, is_found = np.zeros(len(start), np.float32), np.ones(len(start), np.bool_)
    kernel(before, after, start, found, residual, is_found)
    return Found(found, residual, is_found)
