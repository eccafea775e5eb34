"""Confidence that means something: what the fusion says becomes the probability of being right.

Right means within four pixels at 256 x 256. The curve is monotone (pool-adjacent-violators, Ayer et al. 1955, on bins
of equal count) and starts at zero.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 24

Curve = tuple[tuple[float, float], ...]


def fit_curve(raw: NDArray[np.float32], is_right: NDArray[np.bool_]) -> Curve:
    """Knots (raw confidence, probability), ascending, from positions of known error (M,).

    Raises ValueError with fewer than ten positions a bin.
    """
    if len(raw) < 10 * BINS:
        raise ValueError(f"{len(raw)} positions are too few to calibrate on; {10 * BINS} are needed")
    bins = np.array_split(np.argsort(raw, kind="stable"), BINS)
    # Bins of one raw confidence are one bin: fixed gains know a single one.
    x, which = np.unique([round(float(raw[b].mean()), 4) for b in bins], return_inverse=True)
    count = np.bincount(which, [len(b) for b in bins])
    right = np.bincount(which, [is_right[b].sum() for b in bins])
    y = monotone((right / count).tolist(), count.tolist())
    knots = [(0.0, 0.0), *((a, b) for a, b in zip(x.tolist(), y, strict=True) if a > 0.0)]
    return tuple((a, round(b, 4)) for a, b in knots)


def monotone(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The non-decreasing sequence nearest to the values in weighted squares."""
    blocks: list[list[float]] = []  # value, weight, count
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [[(a * wa + b * wb) / (wa + wb), wa + wb, na + nb]]
    return [value for value, _, count in blocks for _ in range(int(count))]
