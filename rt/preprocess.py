"""From the source frame to the image an engine sees: grey, eight bit, resized. The same function serves training data.

Points go the same way and back through `ImageScale` (geometry.py).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import ImageScale

LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # RGB weights, ITU-R BT.601


def to_grey(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16, to (H, W) uint8; 16 bit keeps its upper byte."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        grey = cv2.transform(pixels, LUMA[None])
        return np.asarray(grey, np.uint8).reshape(pixels.shape[:2])
    return np.asarray(pixels, np.uint8)


def preprocess(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], ImageScale]:
    """Source pixels to the engine's image (height, width = size) and the map for points.

    Shrinking averages over areas, so speckle is not aliased; enlarging interpolates linearly.
    """
    grey = to_grey(pixels)
    scale = ImageScale((grey.shape[0], grey.shape[1]), size)
    if grey.shape == size:
        return grey, scale
    shrinks = grey.shape[0] >= size[0] and grey.shape[1] >= size[1]
    resized = cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), scale
