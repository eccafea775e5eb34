"""The part of the picture that is worth looking at: the surroundings of the points.

A left ventricle fills about half of a sector image, and encoder and optical flow take time by the pixel. What is read
around a point lies within 20 units of it, and the coarsest feature there looks 25 units further; flow wants a little
context too. The part follows the points only when they come near its border, so most frames share one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known

MARGIN_UNITS = 32.0  # that every point keeps from the border of its part; units: pixels of 256 across
SLACK_UNITS = 4.0  # beside it when a part is chosen, for the motion to come
STEP = 8  # engine pixels: the coarsest stride, so cells of a part are those of the whole
LEAST_PX = 32  # a smaller part is none: dense flow needs room for its patches
WORTH_IT = 0.85  # a part larger than this share of the picture is the whole picture


@dataclass(frozen=True)
class Region:
    """Rows top to bottom and columns left to right of an engine image, ends not included; multiples of STEP."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def corner(self) -> FloatArray:
        """(2,) x, y of the first pixel."""
        return np.array((self.left, self.top), np.float32)

    def covers(self, other: "Region") -> bool:
        """Whether the other lies in this one."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.bottom >= other.bottom
            and self.right >= other.right
        )


def whole(size: tuple[int, int]) -> Region:
    """All of an image of (height, width)."""
    return Region(0, 0, *size)


def surroundings(points: FloatArray, size: tuple[int, int], margin_px: float) -> Region:
    """The smallest part of an image (height, width) with all known points (N, 2) at least margin_px from its borders.

    Where that border is the image's own, points may be as near as they are. All of it where no point is known, or all
    have left it.
    """
    known = points[is_known(points)]
    if not len(known):
        return whole(size)
    low = np.floor((known.min(axis=0) - margin_px) / STEP).astype(int) * STEP
    high = np.ceil((known.max(axis=0) + margin_px) / STEP).astype(int) * STEP
    height, width = size
    left, top = (max(int(v), 0) for v in low)
    right, bottom = min(int(high[0]), width), min(int(high[1]), height)
    if min(right - left, bottom - top) < LEAST_PX:
        return whole(size)
    return Region(top, left, bottom, right)


class Surroundings:
    """The part of the picture around moving points, the same for as long as they keep their distance."""

    def __init__(self, size: tuple[int, int]) -> None:
        """size (height, width) of the engine's image."""
        self._size = size
        self._scale = size[1] / 256.0
        self._part: Region | None = None

    def reset(self) -> None:
        """Forget the part: the next points may be anywhere."""
        self._part = None

    def around(self, points: FloatArray) -> Region:
        """The part for points (N, 2), engine pixels; a lost (NaN) point wants nothing."""
        needed = surroundings(points, self._size, MARGIN_UNITS * self._scale)
        if self._part is None or not self._part.covers(needed):
            self._part = self._worth(surroundings(points, self._size, (MARGIN_UNITS + SLACK_UNITS) * self._scale))
        return self._part

    def _worth(self, part: Region) -> Region:
        area = (part.bottom - part.top) * (part.right - part.left)
        return part if area <= WORTH_IT * self._size[0] * self._size[1] else whole(self._size)


def cut_out(image: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The part of an image (H, W), as an array of its own: OpenCV's dense flow takes no views."""
    return np.ascontiguousarray(image[region.slices])
