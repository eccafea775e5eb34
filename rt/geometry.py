"""The one coordinate convention, and the way from pixels to millimetres.

Points are (x, y), float32, in pixels of the SOURCE frame (the frame as the scanner sent it); pixel centres lie at
integers, so (0, 0) is the centre of the top-left pixel and the image spans [-0.5, W - 0.5] x [-0.5, H - 0.5].
Millimetres exist only after `Geometry.to_mm`. The frame index is never packed together with x and y.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def is_known(points: FloatArray) -> NDArray[np.bool_]:
    """True (N,) for each of the (N, 2) points that is not lost (NaN)."""
    return np.asarray(np.isfinite(points).all(axis=1), np.bool_)


@dataclass(frozen=True)
class Geometry:
    """Size of the source frame and of its pixels."""

    height_px: int
    width_px: int
    mm_per_px: tuple[float, float] | None = None  # (x, y); None: not known, no millimetres

    def to_mm(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) in source pixels become (..., 2) in mm, or in units of a pixel width where mm are unknown.

        Without mm the pixels are taken as square: strain is a ratio and still holds.
        """
        scale = np.asarray(self.mm_per_px or (1.0, 1.0), np.float32)
        return points * scale

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """True for each of the (N, 2) points that lies on the image; NaN is outside."""
        x, y = points[:, 0], points[:, 1]
        return (x >= -0.5) & (x <= self.width_px - 0.5) & (y >= -0.5) & (y <= self.height_px - 0.5)


@dataclass(frozen=True)
class ImageScale:
    """How source pixels map to pixels of the resized image the engine sees, and back.

    Resizing keeps the outer edges of the image, so centres map by (x + 0.5) * s - 0.5 with one factor per axis
    (cv2.resize and torch's align_corners=False do the same). Exact for odd, even and non-square sizes.
    """

    source: tuple[int, int]  # height, width
    target: tuple[int, int]

    @property
    def factors(self) -> FloatArray:
        """Target pixels per source pixel, (x, y)."""
        return np.asarray([self.target[1] / self.source[1], self.target[0] / self.source[0]], np.float32)

    def forward(self, points: FloatArray) -> FloatArray:
        """Source pixels (..., 2) to engine pixels (..., 2)."""
        f = self.factors.astype(np.float64)
        return ((points + 0.5) * f - 0.5).astype(np.float32)

    def back(self, points: FloatArray) -> FloatArray:
        """Engine pixels (..., 2) to source pixels (..., 2)."""
        f = self.factors.astype(np.float64)
        return ((points + 0.5) / f - 0.5).astype(np.float32)
