"""How many frames a beat of an unlabelled clip lasts, from how alike its frames are."""

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 32  # speckle noise averages out, motion stays
FASTEST_BPM, SLOWEST_BPM = 180.0, 40.0
FEWEST_PAIRS = 4  # frames that must lie a beat apart
RISE = 0.15  # likeness regained after half a beat: less is not a beat
RIVAL = 0.9  # the first lag this close to the best is the beat; the best may lie two beats on


def beat_length(frames: NDArray[np.uint8], frame_rate_hz: float) -> int | None:
    """Frames (T, H, W) to the number of frames after which they come back; None when no beat shows.

    A beat must lie in the clip whole, with a few frames to spare.
    """
    likeness = likeness_by_lag(frames)
    first = max(int(frame_rate_hz * 60.0 / FASTEST_BPM), 2)
    last = min(int(frame_rate_hz * 60.0 / SLOWEST_BPM), len(frames) - FEWEST_PAIRS)
    peaks = [
        lag
        for lag in range(first, last)
        if likeness[lag - 1] <= likeness[lag] >= likeness[lag + 1] and likeness[lag] > likeness[1:lag].min() + RISE
    ]
    if not peaks:
        return None
    best = max(likeness[lag] for lag in peaks)
    return next(lag for lag in peaks if likeness[lag] >= RIVAL * best)


def likeness_by_lag(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean correlation (T,) of frames 0, 1, 2, ... frames apart, what all frames share taken out."""
    small = np.stack([cv2.resize(f, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for f in frames])
    flat = small.reshape(len(frames), -1).astype(np.float64)
    flat -= flat.mean(0)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9
    gram = flat @ flat.T
    return np.array([np.diagonal(gram, lag).mean() for lag in range(len(frames))])
