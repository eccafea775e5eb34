"""From evidence to positions: neighbours' evidence pooled, a Gaussian prior, soft argmax.

Pooling is the product over scales and templates carried on to neighbours: the wall around a point moves with it, so
the evidence of every neighbour, read around the place where *it* is expected, is one more factor of the product.
Evidence multiplied first and read afterwards is far sharper than positions read first and averaged.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known

CONFIDENCE_RADIUS_PX = 4.0  # confidence: share of the evidence within this of the position, no prior
LEAST_WEIGHT = 1e-5  # of a neighbour that is heard
CONFIDENCE_REACH_PX = 8  # half side of the square it is a share of, however far the match searches
CHANCE = math.pi * CONFIDENCE_RADIUS_PX**2 / (2 * CONFIDENCE_REACH_PX + 1) ** 2  # share of evidence that says nothing


@dataclass(frozen=True)
class Offsets:
    """Where the evidence says the points are, relative to where they were expected."""

    px: FloatArray  # (..., N, 2)
    spread_px: FloatArray  # (..., N) standard deviation per axis


def closeness(points: FloatArray, reach_px: float) -> FloatArray:
    """How much (N, N) each of the points (N, 2) has to say about each other: a Gaussian of their distance.

    A lost (NaN) point has nothing to say to others.
    """
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    return np.asarray(np.nan_to_num(np.exp(-0.5 * squared / reach_px**2)), np.float32)


def pooled(evidence: FloatArray, near: FloatArray) -> FloatArray:
    """Evidence (K, N, S, S) multiplied over neighbours, near (N, N) from `closeness`.

    Errors of neighbours are alike, so n neighbours count as the square root of n, not as n.
    """
    rows = near / np.sqrt(np.maximum(near.sum(1, keepdims=True), 1e-6))
    out = np.zeros_like(evidence)
    _pool(evidence.reshape(*evidence.shape[:2], -1), rows, out.reshape(*out.shape[:2], -1))
    return out


@njit(cache=True, nogil=True, fastmath=True)
def _pool(evidence: FloatArray, rows: FloatArray, out: FloatArray) -> None:
    """out[k, i] = sum_j rows[i, j] evidence[k, j]; a library's product would wake threads that the encoder needs."""
    for k in range(evidence.shape[0]):
        for i in range(rows.shape[0]):
            for j in range(rows.shape[1]):
                weight = rows[i, j]
                if weight > LEAST_WEIGHT:
                    for c in range(evidence.shape[2]):
                        out[k, i, c] += weight * evidence[k, j, c]


def inside(centre: FloatArray, side: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which places (N, S, S) of the squares around centre (N, 2) lie on an image of (height, width)."""
    steps = np.arange(side) - side // 2
    x, y = centre[:, :1] + steps, centre[:, 1:] + steps
    return ((x >= 0) & (x <= size[1] - 1))[:, None, :] & ((y >= 0) & (y <= size[0] - 1))[:, :, None]


def soft_argmax(log_weight: FloatArray, sigma_px: FloatArray | float, is_open: NDArray[np.bool_]) -> Offsets:
    """Mean and spread of exp(log_weight) times a Gaussian prior around the middle of the square.

    log_weight  (..., N, S, S)
    sigma_px    (N,) or one number, of the prior
    is_open     (N, S, S) places that may be the answer; a square without any answers its middle
    """
    side = log_weight.shape[-1]
    steps = (np.arange(side) - side // 2).astype(np.float32)
    squared = steps[None] ** 2 + steps[:, None] ** 2
    sigma = np.maximum(np.asarray(sigma_px, np.float32), 1e-3)
    weight = _relative(log_weight - 0.5 * squared / (sigma * sigma)[..., None, None], is_open)
    total = np.maximum(weight.sum((-2, -1)), 1e-30)
    x = (weight.sum(-2) @ steps) / total
    y = (weight.sum(-1) @ steps) / total
    second = (weight * squared).sum((-2, -1)) / total
    spread = np.sqrt(np.maximum(0.5 * (second - x * x - y * y), 0.0))
    return Offsets(np.stack((x, y), -1).astype(np.float32), spread.astype(np.float32))


def share_near(evidence: FloatArray, offset: FloatArray, is_open: NDArray[np.bool_]) -> FloatArray:
    """Share (N,) of the evidence (N, S, S) within CONFIDENCE_RADIUS_PX of an offset (N, 2) from the middle.

    No prior: a prior alone must never look sure. Zero for a lost (NaN) point.
    """
    side = evidence.shape[-1]
    steps = (np.arange(side) - side // 2).astype(np.float32)
    reach = np.abs(steps) <= CONFIDENCE_REACH_PX
    counts = is_open & (reach[None] & reach[:, None])
    weight = _relative(evidence, counts)
    at = np.nan_to_num(offset)
    squared = (steps[None, None] - at[:, :1, None]) ** 2 + (steps[None, :, None] - at[:, 1:, None]) ** 2
    near = np.where(squared <= CONFIDENCE_RADIUS_PX**2, weight, 0.0).sum((-2, -1))
    share = near / np.maximum(weight.sum((-2, -1)), 1e-30)
    return np.where(is_known(offset), share, 0.0).astype(np.float32)


def _relative(logarithm: FloatArray, is_open: NDArray[np.bool_]) -> FloatArray:
    """exp(logarithm) where open, else 0, relative to the best open place: a closed one may be better by far."""
    logarithm = np.where(is_open, logarithm, np.float32(-1e30))
    return np.exp(logarithm - logarithm.max((-2, -1), keepdims=True)) * is_open
