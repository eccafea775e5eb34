"""What any tracker has to beat: OpenCV's flows from frame to frame, and no motion at all."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.dense_flow import DenseFlow
from specktrack.rt.geometry import FloatArray
from specktrack.rt.lucas_kanade import opencv_step
from specktrack.rt.region import whole

Images = Sequence[NDArray[np.uint8]]  # (h, w) each, in the order they are tracked


def dis_flow(images: Images, points: FloatArray) -> FloatArray:
    """Tracks (N, T, 2) of points (N, 2) by DIS optical flow, medium preset, chained."""
    dis, tracks = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), [points]
    for before, after in pairwise(images):
        flow = DenseFlow(dis.calc(before, after, None), whole((before.shape[0], before.shape[1])))
        tracks.append(tracks[-1] + flow.at(tracks[-1]))
    return np.stack(tracks, 1)


def lucas_kanade(images: Images, points: FloatArray) -> FloatArray:
    """Tracks (N, T, 2) by pyramidal Lucas-Kanade, 21 x 21 window, three levels, chained."""
    tracks = [points]
    for before, after in pairwise(images):
        step = opencv_step(before, after, tracks[-1])
        tracks.append(tracks[-1] + np.nan_to_num(step))
    return np.stack(tracks, 1)


def no_motion(images: Images, points: FloatArray) -> FloatArray:
    """Points that stay where they were set."""
    return np.repeat(points[:, None], len(images), 1)


CLASSICAL: dict[str, Callable[[Images, FloatArray], FloatArray]] = {
    "dis": dis_flow,
    "lucas-kanade": lucas_kanade,
    "no-motion": no_motion,
}
