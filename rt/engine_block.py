"""Block matching by normalised cross-correlation: the honest baseline, always available, no network.

A block around each point of the anchor frame is looked for around the last position; the correlation is turned into
evidence and joined with the prior like any other engine's. It uses no optical flow, so what it shows is what classical
anchored speckle tracking gives.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine import Factor, Matched, Prior
from specktrack.rt.geometry import FloatArray, is_known

BLOCK_PX = 21
SHARPNESS = 25.0  # evidence per unit of correlation
REACH_PX = 12
CONFIDENCE_RADIUS_PX = 4.0


class BlockEngine:
    """NCC block matching on 256 x 256 images."""

    name = "block"
    model = "block"
    input_size = (256, 256)
    uses_flow = False
    anchor_weight = 1.0
    recent_weights: dict[int, float] = {}  # noqa: RUF012 (a constant; the protocol wants an attribute)

    def encode(self, image: NDArray[np.uint8]) -> FloatArray:
        """The image itself, float32, with a border so that blocks and searches may leave it."""
        border = BLOCK_PX + REACH_PX
        return cv2.copyMakeBorder(image.astype(np.float32), border, border, border, border, cv2.BORDER_REFLECT_101)

    def templates(self, features: FloatArray, points: FloatArray) -> FloatArray:
        """Blocks (N, B, B) centred on points (N, 2), sub-pixel; a NaN point gives an empty (zero) block."""
        blocks = np.zeros((len(points), BLOCK_PX, BLOCK_PX), np.float32)
        for n in np.flatnonzero(is_known(points)):
            blocks[n] = _block_at(features, points[n])
        return blocks

    def match(self, features: FloatArray, factors: Sequence[Factor], prior: Prior) -> Matched:
        """See Engine.match."""
        count = len(prior.centre)
        points = np.full((count, 2), np.nan, np.float32)
        sigma = np.full(count, np.nan, np.float32)
        confidence = np.zeros(count, np.float32)
        for n in np.flatnonzero(is_known(prior.centre)):
            evidence = _evidence(features, prior.centre[n], [(f.template[n], f.weight[n]) for f in factors])
            points[n], sigma[n], confidence[n] = _position(evidence, prior.centre[n], float(prior.sigma[n]))
        return Matched(points, sigma, confidence)

    def close(self) -> None:
        """Nothing is held."""


def _rounded(centre: FloatArray) -> NDArray[np.int64]:
    """Nearest pixel inside the image."""
    return np.clip(np.rint(centre), 0, 255).astype(np.int64)


def _block_at(features: FloatArray, point: FloatArray) -> FloatArray:
    border = BLOCK_PX + REACH_PX
    centre = np.clip(point, -REACH_PX, 255 + REACH_PX) + border
    block = cv2.getRectSubPix(features, (BLOCK_PX, BLOCK_PX), (float(centre[0]), float(centre[1])))
    return np.asarray(block, np.float32)


def _evidence(features: FloatArray, centre: FloatArray, blocks: list[tuple[FloatArray, np.float32]]) -> FloatArray:
    """Weighted sum of correlations (2R + 1, 2R + 1) around the nearest pixel of the centre."""
    x, y = _rounded(centre) + BLOCK_PX + REACH_PX
    half = REACH_PX + BLOCK_PX // 2
    region = features[y - half : y + half + 1, x - half : x + half + 1]
    total = np.zeros((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.float32)
    for block, weight in blocks:
        if weight > 0:
            total += weight * np.nan_to_num(cv2.matchTemplate(region, block, cv2.TM_CCOEFF_NORMED))
    return SHARPNESS * total


def _position(evidence: FloatArray, centre: FloatArray, sigma: float) -> tuple[FloatArray, float, float]:
    """Soft argmax under evidence and prior: position, spread per axis, share of the evidence near the position."""
    middle = _rounded(centre)
    steps = np.arange(-REACH_PX, REACH_PX + 1, dtype=np.float32)
    x, y = middle[0] + steps, middle[1] + steps
    squared = (x - centre[0])[None] ** 2 + (y - centre[1])[:, None] ** 2
    weight = evidence - 0.5 * squared / sigma**2
    p = np.exp(weight - weight.max())
    p /= p.sum()
    mean = np.asarray([(p * x[None]).sum(), (p * y[:, None]).sum()], np.float32)
    d2 = (x - mean[0])[None] ** 2 + (y - mean[1])[:, None] ** 2
    free = np.exp(evidence - evidence.max())
    near = float(free[d2 <= CONFIDENCE_RADIUS_PX**2].sum() / free.sum())
    return mean, float(np.sqrt(0.5 * (p * d2).sum())), near
