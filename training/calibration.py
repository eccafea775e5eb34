"""Confidence that means something: the share of anchor evidence near a point becomes the probability of being right.

Right means within four pixels at 256 x 256. The curve is monotone (pool-adjacent-violators, Ayer et al. 1955, on bins
of equal count) and starts at zero where the evidence says nothing: at the share a flat volume has.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.correlation import CONFIDENCE_RADIUS_PX, CONFIDENCE_REACH_PX

BINS = 24
CHANCE = math.pi * CONFIDENCE_RADIUS_PX**2 / (2 * CONFIDENCE_REACH_PX + 1) ** 2

Curve = tuple[tuple[float, float], ...]


def fit_curve(share: NDArray[np.float32], is_right: NDArray[np.bool_]) -> Curve:
    """Knots (share of evidence, probability), ascending, from positions of known error (M,).

    Raises ValueError with fewer than ten positions a bin.
    """
    if len(share) < 10 * BINS:
        raise ValueError(f"{len(share)} positions are too few to calibrate on; {10 * BINS} are needed")
    order = np.argsort(share, kind="stable")
    bins = np.array_split(order, BINS)
    x = [float(share[b].mean()) for b in bins]
    y = monotone([float(is_right[b].mean()) for b in bins], [len(b) for b in bins])
    knots = [(CHANCE, 0.0), *((a, b) for a, b in zip(x, y, strict=True) if a > CHANCE * 1.05)]
    return tuple((round(a, 4), round(b, 4)) for a, b in knots)


def monotone(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The non-decreasing sequence nearest to the values in weighted squares."""
    blocks: list[list[float]] = []  # value, weight, count
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [[(a * wa + b * wb) / (wa + wb), wa + wb, na + nb]]
    return [value for value, _, count in blocks for _ in range(int(count))]
