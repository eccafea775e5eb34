"""How far points strayed over a beat, and how that is taken out again.

One beat later the heart is at the same phase, so a point that did not come back to where it was has drifted. What all
points have in common is the probe or breathing and stays; the rest is drift.
"""

import math

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

ROBUST_ROUNDS = 5
QUIET_PX = 0.5  # residuals below this are matching noise, not outliers


def close_loop(points: FloatArray, t_acq_ns: NDArray[np.int64]) -> FloatArray:
    """One beat's points (T, N, 3) less their drift, shared out linearly in time; confidence untouched.

    A point lost in the first or last frame has no closure of its own and is left as it is.
    """
    own = drift_of(points[0, :, :2], points[-1, :, :2])
    share = (t_acq_ns - t_acq_ns[0]) / max(int(t_acq_ns[-1] - t_acq_ns[0]), 1)
    closed = points.copy()
    closed[:, :, :2] -= (share[:, None, None] * np.nan_to_num(own)).astype(np.float32)
    return closed


def drift_of(at_ed: FloatArray, at_next_ed: FloatArray) -> NDArray[np.float64]:
    """How far each point (N, 2) strayed over one beat beyond the rigid motion common to all; NaN where lost.

    Rigid, not affine: a common change of size is exactly what drift does to strain. Robust: points that strayed
    far do not take the others along.
    """
    a, b = at_ed.astype(np.float64), at_next_ed.astype(np.float64)
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    drift = np.full(a.shape, np.nan)
    if not known.any():
        return drift
    a, b = a[known], b[known]
    weight = np.ones(len(a))
    residual = np.zeros_like(a)
    for _ in range(ROBUST_ROUNDS):
        residual = b - _rigid(a, b, weight)
        size = np.hypot(*residual.T)
        scale = max(1.5 * float(np.median(size)), QUIET_PX)
        weight = np.minimum(1.0, scale / np.maximum(size, 1e-9))
    drift[known] = residual
    return drift


def joined(forward: FloatArray, backward: FloatArray, share: NDArray[np.float64]) -> FloatArray:
    """Two accounts of the same points (T, N, 3), tracked in opposite directions, made one.

    share  (T,) how much the backward account counts; each is surest near where it began
    A point that one account has lost (NaN) goes by the other.
    """
    s = np.broadcast_to(share[:, None, None].astype(np.float32), forward.shape)
    both = (1.0 - s) * forward + s * backward
    known = [np.isfinite(account[..., :2]).all(axis=-1, keepdims=True) for account in (forward, backward)]
    return np.where(known[0] & known[1], both, np.where(known[1], backward, forward)).astype(np.float32)


def _rigid(a: NDArray[np.float64], b: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points a (N, 2) moved by the rotation and shift that brings them nearest to b; one point alone only shifts."""
    share = (weight / weight.sum())[:, None]
    from_a, from_b = (a * share).sum(axis=0), (b * share).sum(axis=0)
    p, q = a - from_a, b - from_b
    cosine = float((share * p * q).sum())
    sine = float((share[:, 0] * (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])).sum())
    size = math.hypot(cosine, sine)
    c, s = (cosine / size, sine / size) if size > 0.0 else (1.0, 0.0)
    moved: NDArray[np.float64] = p @ np.array([[c, s], [-s, c]]) + from_b
    return moved
