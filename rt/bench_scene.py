"""What every measured tracker is shown: speckle that beats like a heart, and points along a wall in it.

No phantom: only the time counts. But the picture must move as a heart does, or flow and search would have it too easy.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.frame import Frame
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.wire import Part, encode_frame

STREAM = "bench"
FRAMES_PER_BEAT = 48
FRAME_RATE_HZ = 55.0
SHRINKS_BY = 0.12  # at end-systole
GRAIN = 2.0 / 256  # blur of the speckle, share of the side
LARGEST_SIDE, LEAST_SIDE = 2048, 64


@dataclass(frozen=True)
class Scene:
    """One beat of square frames, played again and again, with points of its first frame."""

    frames: tuple[NDArray[np.uint8], ...]  # (S, S) each
    points: FloatArray  # (N, 2) pixels

    @property
    def side_px(self) -> int:
        """Height and width."""
        return self.frames[0].shape[0]

    def pixels(self, seq: int) -> NDArray[np.uint8]:
        """Frame `seq` (S, S) of the endless stream."""
        return self.frames[seq % len(self.frames)]

    def message(self, seq: int) -> list[Part]:
        """The same as a message, stamped at FRAME_RATE_HZ whenever it is sent."""
        geometry = Geometry(self.side_px, self.side_px, (0.3, 0.3))
        t_ns = round(seq * 1e9 / FRAME_RATE_HZ)
        return list(encode_frame(Frame(STREAM, seq, t_ns, "monotonic", self.pixels(seq), geometry)))


def beating_speckle(side_px: int, n_points: int, seed: int = 0) -> Scene:
    """A beat of speckle that draws together and apart, and n_points along an arch in it."""
    noise = np.random.default_rng(seed).standard_normal((2, side_px, side_px)).astype(np.float32)
    envelope = np.hypot(*(cv2.GaussianBlur(part, (0, 0), GRAIN * side_px) for part in noise))
    picture = np.clip(envelope / envelope.mean() * 90, 0, 255).astype(np.uint8)
    frames = tuple(_drawn_together(picture, _systole(k / FRAMES_PER_BEAT)) for k in range(FRAMES_PER_BEAT))
    angle = np.linspace(np.pi, 0, n_points)
    arch = np.stack((0.5 + 0.22 * np.cos(angle), 0.78 - 0.5 * np.sin(angle)), 1)
    return Scene(frames, (arch * side_px).astype(np.float32))


def _systole(fraction: float) -> float:
    """0 at end-diastole, 1 at end-systole, a third into the beat; smooth from beat to beat."""
    along = 0.5 * fraction / 0.35 if fraction < 0.35 else 0.5 + 0.5 * (fraction - 0.35) / 0.65
    return float(0.5 - 0.5 * np.cos(2 * np.pi * along))


def _drawn_together(picture: NDArray[np.uint8], systole: float) -> NDArray[np.uint8]:
    """The picture shrunk towards a place under its middle; what comes in at the borders is its mirror image."""
    side = picture.shape[0]
    zoom = 1.0 - SHRINKS_BY * systole
    x, y = 0.5 * side, 0.6 * side
    matrix = np.array([[zoom, 0.0, (1 - zoom) * x], [0.0, zoom, (1 - zoom) * y]])
    moved = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)
