"""A contour drawn on the wall: evenly spaced query points, equal segments, and the smooth curve strain is read from.

Jitter makes a dense polyline longer than the wall it follows: half a millimetre on 61 points turns -17.0 into
-13.3 %. Strain therefore comes from a cubic spline with a few coefficients, fitted along the contour parameter.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray

DEGREE = 3
SPLINE_STEPS = 16  # samples between two drawn points while resampling
BRIDGE = 1e-3  # weight of the third-difference penalty: keeps a hole solvable, too weak to bend a whole contour
MAX_LOST_SHARE = 1.0 / 3.0  # of the points of one segment
MAX_LOST_RUN = 3  # neighbours that may be lost together; only one at either end of the contour


def resample_contour(drawn: FloatArray, n_points: int) -> FloatArray:
    """Points evenly spaced by arc length on a smooth curve through the drawn points, same ends.

    drawn     (M, 2) x, y in order from one base over the apex to the other base, any unit
    n_points  how many to return, >= 2
    Returns (n_points, 2) float32. A point drawn twice in a row counts once. Raises InputError for fewer than two
    distinct points or a value that is not a finite number.
    """
    clicks = np.asarray(drawn, np.float64)
    if clicks.ndim != 2 or clicks.shape[1] != 2 or not np.isfinite(clicks).all():
        raise InputError("contour: expected a list of finite [x, y] points; draw it again")
    clicks = clicks[np.r_[True, np.any(np.diff(clicks, axis=0) != 0.0, axis=1)]]
    if len(clicks) < 2:
        raise InputError(f"contour: expected at least 2 distinct points, found {len(clicks)}; draw it again")
    curve = _spline_through(clicks)
    run = np.r_[0.0, np.cumsum(np.hypot(*np.diff(curve, axis=0).T))]
    even = np.linspace(0.0, run[-1], n_points)
    return np.stack([np.interp(even, run, curve[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)


def _spline_through(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centripetal Catmull-Rom curve through (M, 2) points: it has no loops, however unevenly they were clicked."""
    ends = 2.0 * points[[0, -1]] - points[[1, -2]]
    p = np.vstack([ends[:1], points, ends[1:]])
    t = np.r_[0.0, np.cumsum(np.sqrt(np.hypot(*np.diff(p, axis=0).T)))][:, None]
    p0, p1, p2, p3 = (p[i : len(p) - 3 + i, None] for i in range(4))
    t0, t1, t2, t3 = (t[i : len(t) - 3 + i, None] for i in range(4))
    s = t1 + (t2 - t1) * (np.arange(SPLINE_STEPS) / SPLINE_STEPS)[None, :, None]
    a1 = ((t1 - s) * p0 + (s - t0) * p1) / (t1 - t0)
    a2 = ((t2 - s) * p1 + (s - t1) * p2) / (t2 - t1)
    a3 = ((t3 - s) * p2 + (s - t2) * p3) / (t3 - t2)
    b1 = ((t2 - s) * a1 + (s - t0) * a2) / (t2 - t0)
    b2 = ((t3 - s) * a2 + (s - t1) * a3) / (t3 - t1)
    curve = ((t2 - s) * b1 + (s - t1) * b2) / (t2 - t1)
    return np.vstack([curve.reshape(-1, 2), points[-1:]])


def segment_bounds(points: FloatArray, segments: int) -> NDArray[np.int64]:
    """Where a contour (N, 2) splits into equal parts by its length in this frame.

    Returns (segments + 1,) indices b: segment i is points[b[i] : b[i + 1] + 1], so neighbours share a point.
    Raises InputError when there are too few points for so many segments.
    """
    if len(points) < segments + 1:
        raise InputError(f"contour: {segments} segments need at least {segments + 1} points, found {len(points)}")
    run = np.r_[0.0, np.cumsum(np.hypot(*np.diff(np.asarray(points, np.float64), axis=0).T))]
    wanted = np.linspace(0.0, run[-1], segments + 1)
    bounds = np.abs(run[None, :] - wanted[:, None]).argmin(axis=1).astype(np.int64)
    # Unevenly spaced points can send two bounds to one index: every segment keeps at least one interval.
    for i in range(1, segments + 1):
        bounds[i] = max(bounds[i], bounds[i - 1] + 1)
    for i in range(segments, -1, -1):
        bounds[i] = min(bounds[i], len(points) - 1 - (segments - i))
    return bounds


class ContourSmoother:
    """Fits a smooth curve to the tracked points of one contour, frame by frame.

    The curve has `knots` degrees of freedom and is returned as evenly parametrised points, so many that every
    segment holds a whole number of intervals: 13 for 13 knots and 6 segments. Nothing pulls its ends inwards.
    """

    def __init__(self, n_points: int, knots: int, segments: int) -> None:
        if n_points < segments + 1:
            raise InputError(f"contour: {segments} segments need at least {segments + 1} points, found {n_points}")
        coefficients = max(min(knots, n_points), DEGREE + 1)
        per_segment = -(-(coefficients - 1) // segments)
        self.n_points = n_points
        self.bounds = np.arange(segments + 1, dtype=np.int64) * per_segment  # into the smoothed points
        self._basis = _cubic_basis(np.linspace(0.0, 1.0, n_points), coefficients)
        self._at_knots = _cubic_basis(np.linspace(0.0, 1.0, segments * per_segment + 1), coefficients)
        third = np.diff(np.eye(coefficients), n=min(3, coefficients - 1), axis=0)
        self._penalty = BRIDGE * (third.T @ third)
        edges = np.arange(segments + 1) * (n_points - 1) / segments
        self._first = np.floor(edges[:-1]).astype(np.int64)
        self._last = np.ceil(edges[1:]).astype(np.int64)

    @property
    def point_ranges(self) -> list[tuple[int, int]]:
        """First and last tracked point of each segment, both included."""
        return [(int(a), int(b)) for a, b in zip(self._first, self._last, strict=True)]

    def smooth(self, points: FloatArray, confidence: FloatArray) -> NDArray[np.float64]:
        """The curve's points (..., M, 2), in the unit of `points` (..., N, 2), of one frame or of many at once.

        A point counts by its confidence (..., N), a NaN point not at all. A hole is spanned by the curve: ask
        `lost_segments` before believing a segment. All NaN when fewer points are left than the curve has freedom.
        """
        return np.asarray(self._at_knots @ self._coefficients(points, confidence))

    def at_points(self, points: FloatArray, confidence: FloatArray) -> NDArray[np.float64]:
        """The curve (..., N, 2) where the tracked points lie on it; as `smooth` otherwise."""
        return np.asarray(self._basis @ self._coefficients(points, confidence))

    def roughness(self, points: FloatArray, confidence: FloatArray) -> NDArray[np.float64]:
        """How far (..., N) each point lies off the smooth curve, in the unit of `points`; NaN where it is lost."""
        off = points - self.at_points(points, confidence)
        return np.asarray(np.hypot(off[..., 0], off[..., 1]))

    def _coefficients(self, points: FloatArray, confidence: FloatArray) -> NDArray[np.float64]:
        """Of the curve (..., K, 2); all NaN when too few points are left."""
        is_heard = np.isfinite(points).all(axis=-1) & np.isfinite(confidence)
        weight = np.where(is_heard, np.clip(confidence, 0.0, 1.0), 0.0)
        weighted = self._basis.T * weight[..., None, :]
        normal = weighted @ self._basis + self._penalty * weight.mean(axis=-1)[..., None, None]
        is_too_little = np.count_nonzero(weight, axis=-1) < self._basis.shape[1]
        normal[is_too_little] = np.eye(self._basis.shape[1])
        found = np.linalg.solve(normal, weighted @ np.nan_to_num(points.astype(np.float64)))
        found[is_too_little] = np.nan
        return np.asarray(found)

    def lost_segments(self, points: FloatArray, confidence: FloatArray, min_confidence: float) -> NDArray[np.bool_]:
        """True for each segment (S,) whose points are too few or too unsure to speak for it."""
        lost = np.empty(len(self._first), np.bool_)
        valid = np.isfinite(points).all(axis=1) & (confidence > 0.0)
        sure = np.where(valid, confidence, 0.0).astype(np.float64)
        _mark_lost(valid, sure, self._first, self._last, min_confidence, lost)
        return lost


def _cubic_basis(u: NDArray[np.float64], coefficients: int) -> NDArray[np.float64]:
    """Clamped uniform cubic B-splines (len(u), coefficients) at u in [0, 1], by the recursion of Cox and de Boor."""
    inner = np.linspace(0.0, 1.0, coefficients - DEGREE + 1)
    t = np.r_[[0.0] * DEGREE, inner, [1.0] * DEGREE]
    x = np.minimum(u, 1.0 - 1e-12)[:, None]  # the last interval owns its right end
    basis = ((x >= t[None, :-1]) & (x < t[None, 1:])).astype(np.float64)
    for k in range(1, DEGREE + 1):
        left, right = t[k:-1] - t[: -k - 1], t[k + 1 :] - t[1:-k]
        up = np.divide(x - t[None, : -k - 1], left, out=np.zeros((len(u), len(left))), where=left > 0)
        down = np.divide(t[None, k + 1 :] - x, right, out=np.zeros((len(u), len(right))), where=right > 0)
        basis = up * basis[:, :-1] + down * basis[:, 1:]
    return basis


@njit(cache=True)
def _mark_lost(
    valid: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    min_confidence: float,
    lost: NDArray[np.bool_],
) -> None:
    """Writes `lost` (S,): too large a share missing, too long a hole, or the median confidence too low."""
    in_hole = _in_hole(valid)
    for s in range(lost.shape[0]):
        missing, hollow = 0, 0
        for i in range(first[s], last[s] + 1):
            missing += 0 if valid[i] else 1
            hollow += 1 if in_hole[i] else 0
        count = last[s] - first[s] + 1
        is_unsure = np.median(confidence[first[s] : last[s] + 1]) < min_confidence
        # One point of a neighbour's hole is the shared boundary: the next point still holds the curve there.
        lost[s] = hollow > 1 or missing > MAX_LOST_SHARE * count or is_unsure


@njit(cache=True)
def _in_hole(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True for each lost point (N,) among so many lost neighbours that the curve there would be invented."""
    n_points = valid.shape[0]
    hole = np.zeros(n_points, np.bool_)
    start = 0
    for i in range(n_points + 1):
        if i < n_points and not valid[i]:
            continue
        allowed = 1 if start == 0 or i == n_points else MAX_LOST_RUN
        if i - start > allowed:
            hole[start:i] = True
        start = i + 1
    return hole
