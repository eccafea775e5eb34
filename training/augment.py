"""Impartial motion: one random affine map for frames and tracks together, and what scanners do to images.

The geometric part follows arXiv 2507.10127: rotation from -120 to +120 degrees, shear, flips, so that no direction of
motion is a useful guess (from one direction of the source, all are met, none more than about twice as often as another;
full turns would make them equal). The appearance part changes pixels only.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from specktrack.rt.geometry import FloatArray
from specktrack.rt.settings import Section

FloatMatrix = NDArray[np.float64]


class AffineRanges(Section):
    """Ranges of the random map; zoom is relative to fitting the whole clip into the crop.

    Motion stays as partial as the clips are with rotation_deg 0, shear 0 and flip false.
    """

    rotation_deg: float = Field(default=120.0, ge=0, le=180)
    shear: float = Field(default=0.2, ge=0, le=1)
    zoom: tuple[float, float] = (0.85, 1.9)
    aspect: float = Field(default=0.25, ge=0, le=1)
    flip: bool = True
    shift: float = Field(default=0.25, ge=0, le=0.5)  # of the focus from the middle of the crop, share of its side

    @field_validator("zoom")
    @classmethod
    def _rises_above_zero(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if not 0 < zoom[0] <= zoom[1]:
            raise ValueError("must be a smallest and a largest factor above zero, for example [0.85, 1.9]")
        return zoom


def random_affine(
    rng: np.random.Generator, source: tuple[int, int], size: int, focus: FloatArray, ranges: AffineRanges
) -> FloatMatrix:
    """A 2 x 3 matrix from source pixels to a `size` x `size` crop.

    source  height, width of the clip
    focus   (2,) x, y that lands within `shift` of the middle of the crop
    """
    angle = math.radians(rng.uniform(-ranges.rotation_deg, ranges.rotation_deg))
    fit = size / max(source)
    zoom = fit * math.exp(rng.uniform(math.log(ranges.zoom[0]), math.log(ranges.zoom[1])))
    stretch = math.exp(rng.uniform(-ranges.aspect, ranges.aspect))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-ranges.shear, ranges.shear)], [0.0, 1.0]])
    scale = np.diag([zoom * stretch, zoom / stretch])
    if ranges.flip and rng.random() < 0.5:
        scale[0, 0] *= -1
    linear = turn @ shear @ scale
    target = (size - 1) / 2 + rng.uniform(-ranges.shift, ranges.shift, 2) * size
    offset = target - linear @ focus.astype(np.float64)
    return np.concatenate((linear, offset[:, None]), 1)


def warp_frames(frames: NDArray[np.uint8], matrix: FloatMatrix, size: int) -> NDArray[np.uint8]:
    """Frames (T, H, W) through the map to (T, size, size); black outside, blurred first where they shrink."""
    shrink = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    out = np.empty((len(frames), size, size), np.uint8)
    for k, frame in enumerate(frames):
        source = cv2.GaussianBlur(frame, (0, 0), 0.45 / shrink) if shrink < 0.8 else frame
        out[k] = cv2.warpAffine(source, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return out


def warp_points(points: FloatArray, matrix: FloatMatrix) -> FloatArray:
    """Points (..., 2) through the map."""
    moved = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved.astype(np.float32)


def random_appearance(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray map, gain, grain, noise, blur, shadow and compression for (T, H, W); gain flickers a little."""
    gamma = math.exp(rng.uniform(-0.5, 0.5))
    contrast, lift = rng.uniform(0.6, 1.25), rng.uniform(-30, 25)
    noise = np.float32(rng.uniform(0, 12) if rng.random() < 0.5 else 0.0)
    blur = rng.uniform(0.4, 1.2) if rng.random() < 0.3 else 0.0
    quality = int(rng.uniform(35, 95)) if rng.random() < 0.4 else 0
    shadow = _shadow(rng, frames.shape[1]) if rng.random() < 0.3 else None
    grain, grain_px = (rng.uniform(0, 0.3), rng.uniform(0.7, 2.2)) if rng.random() < 0.3 else (0.0, 1.0)
    levels = np.arange(256, dtype=np.float32) / 255
    out = np.empty_like(frames)
    for k, frame in enumerate(frames):
        gain = contrast * (1 + rng.normal(0, 0.02))
        table = np.clip(255 * levels**gamma * gain + lift * levels, 0, 255).astype(np.uint8)
        image = cv2.LUT(frame, table).astype(np.float32)
        if shadow is not None:
            image *= shadow
        if grain:
            image *= np.exp(grain * _grain(rng, frame.shape, grain_px))
        if noise:
            image += noise * rng.standard_normal(image.shape, np.float32) * (image > 0)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        out[k] = np.clip(image, 0, 255).astype(np.uint8)
        if quality:
            _, code = cv2.imencode(".jpg", out[k], [cv2.IMWRITE_JPEG_QUALITY, quality])
            out[k] = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
    return out


def _grain(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> NDArray[np.float32]:
    """Speckle-sized noise of unit variance, new in every frame: decorrelation beyond what the clip has."""
    field = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), size_px)
    return np.asarray(field / field.std(), np.float32)


def _shadow(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A soft dark stripe across the image, standing still: a rib or lost contact."""
    angle, where, width = rng.uniform(0, math.pi), rng.uniform(-0.6, 0.6), rng.uniform(0.05, 0.25)
    v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    distance = (u * math.cos(angle) + v * math.sin(angle) - where) / width
    return (1 - rng.uniform(0.3, 0.9) * np.exp(-(distance**2))).astype(np.float32)
