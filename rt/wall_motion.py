"""The motion of a wall, steadied: where a point is unsure, its surer neighbours along the contour say how it moved.

Strain is a difference of places: a millimetre of error in one of them is three points of a segment's strain, and the
ends of a contour, beside valve and atrium, err most. What the whole line does together (shift, turn, change of size)
passes unchanged, and so does all motion across the wall. What a point moves along it beyond that is fitted by
penalised least squares (Whittaker 1923; Eilers, Anal Chem 2003;75:3631): the difference between neighbours, a local
strain, costs, and each point counts by a power of its confidence. Sure points hardly move, so a wall that shortens
less than its neighbours still does (docs/strain.md has the figures).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.contour import ContourSmoother
from specktrack.rt.geometry import FloatArray

Lines = NDArray[np.float64]

USUAL_POINTS = 61  # of a contour: the penalty below is meant for so many
PENALTY = 0.5  # of a difference between neighbours, against the misfit of one sure point
POWER = 16  # of confidence, as a share of the surest point's: 0.9 counts a fifth, 0.8 next to nothing
LEAST = 1e-9  # of a weight, so that a line of lost points has an answer
FEWEST = 4  # known points, below which nothing is fitted


def steadied(points: FloatArray, confidence: FloatArray, smoother: ContourSmoother) -> FloatArray:
    """Points (T, n, 2) of one contour, any unit, as they most likely moved since the first frame; lost ones stay NaN.

    confidence  (T, n) 0..1
    """
    start = np.nan_to_num(points[0].astype(np.float64))
    known = np.isfinite(points).all(axis=2) & np.isfinite(points[0]).all(axis=1)
    weight = _weights(np.minimum(confidence, confidence[0]).astype(np.float64), known)
    is_enough = np.count_nonzero(weight, axis=1) >= FEWEST
    along = _along(smoother.at_points(points[0], confidence[0]))
    if not np.isfinite(along).all() or not is_enough[0]:
        return points
    moved = np.where(known[..., None], points.astype(np.float64) - points[0], 0.0)
    common = _common_motion(start, moved, weight)
    apart = ((moved - common) * along).sum(axis=2)
    fitted = drawn_together(apart, weight, PENALTY * ((points.shape[1] - 1) / (USUAL_POINTS - 1)) ** 2)
    steady = points + ((fitted - apart)[..., None] * along)
    return np.where(is_enough[:, None, None] & known[..., None], steady, points).astype(np.float32)


def _weights(confidence: Lines, known: NDArray[np.bool_]) -> Lines:
    """(T, n) how much each point counts."""
    sure = np.where(known, np.clip(np.nan_to_num(confidence), 0.0, 1.0), 0.0)
    surest = np.maximum(sure.max(axis=1, keepdims=True), 1e-6)
    return np.asarray((sure / surest) ** POWER)


def _along(curve: Lines) -> Lines:
    """Unit vectors (n, 2) along a line (n, 2)."""
    steps = np.gradient(curve, axis=0)
    return np.asarray(steps / np.maximum(np.hypot(*steps.T), 1e-9)[:, None])


def _common_motion(start: Lines, moved: Lines, weight: Lines) -> Lines:
    """(T, n, 2) the shift, turn and change of size nearest to how points start (n, 2) moved (T, n, 2)."""
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    place, motion = start @ np.array([1.0, 1.0j]), moved @ np.array([1.0, 1.0j])
    middle = (share * place).sum(axis=1, keepdims=True)
    shift = (share * motion).sum(axis=1, keepdims=True)
    off = place - middle
    size = np.maximum((share * np.abs(off) ** 2).sum(axis=1, keepdims=True), 1e-9)
    rate = (share * np.conj(off) * (motion - shift)).sum(axis=1, keepdims=True) / size
    common = shift + rate * off
    return np.stack((common.real, common.imag), axis=-1)


@njit(cache=True)
def drawn_together(apart: Lines, weight: Lines, cost: float) -> Lines:
    """Least squares (T, n) of apart (T, n) by weight and the cost of squared differences between neighbours."""
    n_frames, n = apart.shape
    fitted, share = np.empty((n_frames, n)), np.empty(n)
    for t in range(n_frames):
        # Gaussian elimination of a tridiagonal system; what is left of each row is scaled to a diagonal of 1.
        for i in range(n):
            diagonal = weight[t, i] + LEAST + cost * ((i > 0) + (i < n - 1))
            right = weight[t, i] * apart[t, i]
            if i > 0:
                diagonal -= cost * share[i - 1]
                right += cost * fitted[t, i - 1]
            share[i] = cost / diagonal
            fitted[t, i] = right / diagonal
        for i in range(n - 2, -1, -1):
            fitted[t, i] += share[i] * fitted[t, i + 1]
    return fitted


def drawn_together_numpy(apart: Lines, weight: Lines, cost: float) -> Lines:
    """Slow twin of `drawn_together`."""
    step = np.diff(np.eye(apart.shape[1]), axis=0)
    normal = np.eye(apart.shape[1]) * (weight + LEAST)[:, None, :] + cost * (step.T @ step)
    return np.asarray(np.linalg.solve(normal, (weight * apart)[..., None])[..., 0])


def warm_up() -> None:
    """Compile or load the kernel before the first beat."""
    drawn_together(np.zeros((1, 4)), np.ones((1, 4)), PENALTY)
