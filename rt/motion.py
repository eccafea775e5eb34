"""Optical flow between neighbouring frames: where the motion prior of the next match is centred.

OpenCV's DIS flow is the cheap, well-known part of the tracker: it follows small motion very well and drifts, which the
anchored match corrects.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known

_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class FrameFlow:
    """Displacement of points from the previous image to this one."""

    def __init__(self, preset: str = "medium") -> None:
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])
        self._previous: NDArray[np.uint8] | None = None
        self._flow: FloatArray | None = None

    def update(self, image: NDArray[np.uint8]) -> FloatArray | None:
        """Dense flow (H, W, 2), pixels, from the last image to this one; None for the first.

        The array is reused by the next call.
        """
        flow = None
        if self._previous is not None:
            self._flow = self._dis.calc(self._previous, image, self._flow)
            flow = self._flow
        self._previous = image
        return flow

    def reset(self) -> None:
        """Forget the last image: the next one starts anew."""
        self._previous = None
        self._flow = None


def flow_at(flow: FloatArray, points: FloatArray) -> FloatArray:
    """Displacement (N, 2) of points (N, 2), read bilinearly; NaN for a lost point."""
    known = is_known(points)
    where = np.where(known[:, None], points, 0.0).astype(np.float32)
    value = cv2.remap(flow, where[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.where(known[:, None], value, np.nan).astype(np.float32)
