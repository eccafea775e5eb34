"""Lucas-Kanade: where the patch around a point fits best in another image (Lucas 1981; Baker 2004).

Three things that OpenCV's has not, each of which makes tracks better (docs/accuracy.md):

- a difference in brightness that is the same all over the patch does not count: haze and gain are no motion;
- the middle of a patch counts more than its rim;
- it goes on until it is there. OpenCV's stops at steps of a hundredth of a pixel. Where an edge says little about one
  direction that is far from the best fit, and where it stops hangs on the last bit of where it began: over 200 frames
  0.0001 px grew to 0.3.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.lucas_kanade_kernel import MARGIN, Padded, follow

LANES = 8  # a row of weights is padded to a multiple, so that vector loops leave no rest
KEPT_IMAGES = 8  # of the frames since the one four back, and of the anchor
FALL = 1.5  # weight at the middle of a patch's side: exp(-FALL)


@dataclass(frozen=True)
class Found:
    """Where patches fit."""

    points: FloatArray  # (N, 2) pixels; where the search ended
    residual: FloatArray  # (N,) mean difference between patch and picture, gray levels
    is_found: NDArray[np.bool_]  # (N,) False where there is too little texture or the search left the image


def _weights(half: int) -> Padded:
    """What each pixel of a patch counts (2 half + 1, a row with its rest); they sum to one."""
    side, offsets = 2 * half + 1, np.arange(-half, half + 1) / half
    profile = np.exp(-FALL * offsets**2)
    weights = np.outer(profile, profile) / profile.sum() ** 2
    return np.pad(weights, ((0, 0), (0, -side % LANES))).astype(np.float32)


SMALL, LARGE = _weights(13), _weights(19)  # patches from the frame before, and from frames further back


def padded(image: NDArray[np.uint8]) -> Padded:
    """The image (H, W) with a margin of MARGIN px around it, mirrored."""
    return cv2.copyMakeBorder(image.astype(np.float32), MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT_101)


class PaddedImages:
    """The last images asked for, padded: each is asked for again in the frames to come.

    Two threads may ask at the same time; at worst an image is padded twice.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[np.uint8], Padded]] = []  # newest first

    def of(self, image: NDArray[np.uint8]) -> Padded:
        """`padded` of an image (H, W) that nobody writes to."""
        found = next((pair for pair in self._kept if pair[0] is image), None) or (image, padded(image))
        self._kept = [found, *(pair for pair in self._kept if pair[0] is not image)][:KEPT_IMAGES]
        return found[1]


def fit(before: Padded, after: Padded, points: FloatArray, expected: FloatArray, weights: Padded) -> Found:
    """Find the patches around known points (N, 2) of one image in another, beginning at known places (N, 2) there.

    weights  SMALL or LARGE, of the pixels of a patch. It finds what is within a few pixels of where it begins.
    """
    start, found = np.ascontiguousarray(points, np.float32), np.array(expected, np.float32, order="C")
    residual, is_found = np.zeros(len(start), np.float32), np.ones(len(start), np.bool_)
    follow(before, after, start, weights, found, residual, is_found)
    return Found(found, residual, is_found)


def opencv_step(before: NDArray[np.uint8], after: NDArray[np.uint8], points: FloatArray) -> FloatArray:
    """Displacement (N, 2) of points (N, 2) by OpenCV's, pyramids and all: what tables of trackers call Lucas-Kanade.

    Patches of 21 x 21 px, three levels down. NaN for a lost point or where it finds none.
    """
    known = is_known(points)
    result = np.full(points.shape, np.nan, np.float32)
    if known.any():
        start = np.ascontiguousarray(points[known][:, None], np.float32)
        found, status, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, winSize=(21, 21), maxLevel=3)
        step = np.asarray(found, np.float32)[:, 0] - start[:, 0]
        result[known] = np.where(np.asarray(status).reshape(-1, 1) > 0, step, np.nan)
    return result
