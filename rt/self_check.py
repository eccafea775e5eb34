"""An engine shows at its start that it finds what the network found: in pixels, on two pictures of speckle.

The pictures are made of whole numbers only, so they are the same bytes on every machine. What the network found in
them stands in the model's card. An engine that finds the points elsewhere is refused with the figure.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine import Engine
from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import Manifest, SelfCheck
from specktrack.rt.parity import READ_PX, read

log = logging.getLogger(__name__)

MOVED_PX = (3, -2)  # of the second picture
GRID = 8  # points a side
_MASK = np.uint64(0xFFFFFFFF)


def pictures(size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two pictures (H, W) of speckle; the second has moved by MOVED_PX and is a quarter new."""
    first, other = _noise(size, (0, 0), 1), _noise(size, (0, 0), 2)
    return _blurred(first), _blurred((3 * _noise(size, MOVED_PX, 1) + other) // 4)


def speckle(size: tuple[int, int], moved: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """One picture (H, W), its content moved by whole pixels x, y."""
    return _blurred(_noise(size, moved, seed))


def found_by(engine: Engine) -> FloatArray:
    """Where an engine finds the points (N, 2) of the first picture in the second; pixels of its image."""
    first, second = pictures(engine.input_size)
    points = _points(engine.input_size)
    template = engine.templates(engine.encode(first), points)
    return read(engine, engine.encode(second), template, points)


def self_check_of(engine: Engine) -> SelfCheck:
    """For the card, by the engine that all others are measured against."""
    return SelfCheck(found=tuple((round(float(x), 5), round(float(y), 5)) for x, y in found_by(engine)))


def deviation_px(engine: Engine, manifest: Manifest) -> float | None:
    """How far the farthest point lies from where the network found it; None for a card that does not say."""
    if manifest.self_check is None:
        return None
    return float(np.hypot(*(found_by(engine) - np.array(manifest.self_check.found)).T).max())


def check(engine: Engine, manifest: Manifest) -> None:
    """Raise EngineError, with the figure, for an engine that does not find what the network found."""
    allowed = READ_PX[engine.precision]
    found = deviation_px(engine, manifest)
    if found is None:
        log.warning("%s: its card holds no self-check; export it again to have engines checked", manifest.file)
    elif not found <= allowed:  # NaN too
        raise EngineError(
            f"engine {engine.name}: self-check failed, points lie up to {found:.3g} px from where the network found "
            f"them ({engine.precision}, allowed {allowed} px); choose another engine"
        )


def _points(size: tuple[int, int]) -> FloatArray:
    """A grid (N, 2) well inside, off the pixels' centres."""
    axes = [np.linspace(0.2, 0.8, GRID) * side + 0.3 for side in size]
    y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack((x.ravel(), y.ravel()), 1).astype(np.float32)


def _noise(size: tuple[int, int], moved: tuple[int, int], seed: int) -> NDArray[np.int64]:
    """Whole numbers 0..255 (H, W) hashed from place and seed; `moved` x, y shifts the content."""
    y, x = (np.arange(n, dtype=np.int64) for n in size)
    at = ((y[:, None] - moved[1] + 4096) * 16384 + (x[None] - moved[0] + 4096)).astype(np.uint64)
    mixed = (at * np.uint64(0x9E3779B1) + np.uint64(seed * 0x85EBCA6B)) & _MASK
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        mixed = ((mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)) & _MASK
    return ((mixed ^ (mixed >> np.uint64(15))) & np.uint64(255)).astype(np.int64)


def _blurred(noise: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Blurred twice by a square of 5 and stretched: grains of a few pixels."""
    blurred = 16 * noise
    for _ in range(2):
        blurred = _box(_box(blurred, 0), 1)
    return np.clip(128 + 3 * (blurred - 16 * 128) // 16, 0, 255).astype(np.uint8)


def _box(values: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Mean over five, rounded down; borders repeat."""
    width = [(2, 2) if k == axis else (0, 0) for k in range(2)]
    padded = np.pad(values, width, mode="edge")
    size = values.shape[axis]
    return np.sum([np.take(padded, range(k, k + size), axis) for k in range(5)], axis=0) // 5
