"""Small synthetic streams for tests: a textured wall that moves by a known amount, no torch needed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.frame import Frame
from specktrack.rt.geometry import FloatArray, Geometry

SIDE = 256


def speckle(seed: int = 0, side: int = 2 * SIDE) -> NDArray[np.uint8]:
    """A still picture of speckle, large enough to move a window over it."""
    noise = np.random.default_rng(seed).standard_normal((2, side, side)).astype(np.float32)
    blurred = [cv2.GaussianBlur(part, (0, 0), 2.0) for part in noise]
    envelope = np.hypot(*blurred)
    return np.clip(envelope / envelope.mean() * 90, 0, 255).astype(np.uint8)


def shifted(picture: NDArray[np.uint8], dx: float, dy: float) -> NDArray[np.uint8]:
    """The middle of the picture with its content moved by (dx, dy) pixels."""
    margin = (picture.shape[0] - SIDE) / 2
    matrix = np.array([[1, 0, dx - margin], [0, 1, dy - margin]], np.float64)
    return np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)


def frame(
    pixels: NDArray[np.uint8], seq: int, fps: float = 50.0, mm_per_px: tuple[float, float] | None = None
) -> Frame:
    """A frame of stream 'test'."""
    height, width = pixels.shape[:2]
    return Frame("test", seq, round(seq * 1e9 / fps), "monotonic", pixels, Geometry(height, width, mm_per_px))


def grid(n: int = 4, low: float = 70.0, high: float = 186.0) -> FloatArray:
    """n x n points well inside the image."""
    axis = np.linspace(low, high, n)
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)


def arch() -> FloatArray:
    """A contour from one base over the apex to the other."""
    angle = np.linspace(np.pi, 0, 15)
    return np.stack((128 + 55 * np.cos(angle), 200 - 130 * np.sin(angle)), 1).astype(np.float32)
