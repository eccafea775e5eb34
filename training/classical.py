"""What any tracker has to beat: OpenCV's flows from frame to frame, and no motion at all."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray
from specktrack.rt.motion import FrameFlow, flow_at

Images = Sequence[NDArray[np.uint8]]  # (h, w) each, in the order they are tracked


def dis_flow(images: Images, points: FloatArray) -> FloatArray:
    """Tracks (N, T, 2) of points (N, 2) by DIS optical flow, medium preset, chained."""
    flow, tracks = FrameFlow("medium"), [points]
    flow.update(images[0])
    for image in images[1:]:
        dense = flow.update(image)
        assert dense is not None
        tracks.append(tracks[-1] + flow_at(dense, tracks[-1]))
    return np.stack(tracks, 1)


def lucas_kanade(images: Images, points: FloatArray) -> FloatArray:
    """Tracks (N, T, 2) by pyramidal Lucas-Kanade, 21 x 21 window, three levels, chained."""
    tracks = [points]
    for before, after in pairwise(images):
        found, _, _ = cv2.calcOpticalFlowPyrLK(
            before, after, np.ascontiguousarray(tracks[-1][:, None]), None, winSize=(21, 21), maxLevel=3
        )
        tracks.append(np.asarray(found, np.float32)[:, 0])
    return np.stack(tracks, 1)


def no_motion(images: Images, points: FloatArray) -> FloatArray:
    """Points that stay where they were set."""
    return np.repeat(points[:, None], len(images), 1)


CLASSICAL: dict[str, Callable[[Images, FloatArray], FloatArray]] = {
    "dis": dis_flow,
    "lucas-kanade": lucas_kanade,
    "no-motion": no_motion,
}
