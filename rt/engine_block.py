"""Block matching by normalised cross-correlation: the honest baseline, always available, no network.

A block around each point of the anchor frame is looked for around the last position; the correlation is turned into
evidence and joined with the prior like any other engine's. It uses no optical flow, so what it shows is what classical
anchored speckle tracking gives.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.fusion import FusionNet
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.position import CHANCE

BLOCK_PX = 21
SHARPNESS = 25.0  # evidence per unit of correlation
REACH_PX = 12
BORDER_PX = BLOCK_PX + REACH_PX


class BlockEngine:
    """NCC block matching on 256 x 256 images."""

    name = "block"
    model = "block"
    precision = "fp32"
    input_size = (256, 256)
    fusion: FusionNet | None = None
    confidence_curve: tuple[tuple[float, float], ...] = ((0.0, 0.0), (CHANCE, 0.0), (1.0, 1.0))

    def encode(self, image: NDArray[np.uint8]) -> FloatArray:
        """The image itself, float32, with a border so that blocks and searches may leave it."""
        edges = (BORDER_PX,) * 4
        return cv2.copyMakeBorder(image.astype(np.float32), *edges, cv2.BORDER_REFLECT_101)

    def templates(self, features: FloatArray, points: FloatArray) -> FloatArray:
        """Blocks (N, B, B) centred on points (N, 2), sub-pixel; a NaN point gives an empty (zero) block."""
        blocks = np.zeros((len(points), BLOCK_PX, BLOCK_PX), np.float32)
        for n in np.flatnonzero(is_known(points)):
            blocks[n] = _block_at(features, points[n])
        return blocks

    def evidence(
        self, features: FloatArray, templates: Sequence[FloatArray], centre: FloatArray, side: int
    ) -> FloatArray:
        """See Engine.evidence; correlations are read around the nearest pixel and shifted to the centre."""
        out = np.zeros((len(templates), len(centre), side, side), np.float32)
        for n in np.flatnonzero(is_known(centre)):
            for k, blocks in enumerate(templates):
                out[k, n] = _evidence(features, centre[n], blocks[n], side)
        return out

    def close(self) -> None:
        """Nothing is held."""


def _rounded(centre: FloatArray) -> NDArray[np.int64]:
    """Nearest pixel inside the image."""
    return np.clip(np.rint(centre), 0, 255).astype(np.int64)


def _block_at(features: FloatArray, point: FloatArray) -> FloatArray:
    centre = np.clip(point, -REACH_PX, 255 + REACH_PX) + BORDER_PX
    block = cv2.getRectSubPix(features, (BLOCK_PX, BLOCK_PX), (float(centre[0]), float(centre[1])))
    return np.asarray(block, np.float32)


def _evidence(features: FloatArray, centre: FloatArray, block: FloatArray, side: int) -> FloatArray:
    """Correlations (side, side) one pixel apart around a centre; zero beyond the reach of this engine."""
    x, y = _rounded(centre) + BORDER_PX
    half = REACH_PX + BLOCK_PX // 2
    region = features[y - half : y + half + 1, x - half : x + half + 1]
    found = SHARPNESS * np.nan_to_num(cv2.matchTemplate(region, block, cv2.TM_CCOEFF_NORMED))
    # Pixel (j, i) of the square asked for lies at centre + (i, j) - side // 2.
    left, top = centre - _rounded(centre) - side // 2 + REACH_PX
    shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(found, shift, (side, side), flags=flags), np.float32)
