"""What the neighbours of a point say about it: the motion and the shape of the wall, fitted locally.

Around every point an affine map is fitted to its neighbours, the nearer and the surer counting more. Where the picture
of a point is poor (a shadow, haze that stands still, a drop-out) its own flow is not to be believed; the wall around it
moves on smoothly. Twin for training: training/fusion.py.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from specktrack.rt.fast_math import FAST
from specktrack.rt.geometry import FloatArray


class Wall(NamedTuple):
    """What is fitted around a point; with few neighbours a stiff fit is their mean."""

    reach: float  # units: distances are told in this
    stiffness: float  # how strongly slopes over that distance are held at nothing


FAR_WALL = Wall(28.0, 0.3)  # asked while following
NEAR_WALL = Wall(12.0, 0.1)  # published points are drawn to it
AGREEMENT = 0.3  # units: flows that differ by less are equally good
DOUBT = 0.05  # what even a point that is not sure at all may say
UNSURE = 0.5  # a point less sure than this may be put back where the wall has it
LEAST_SUPPORT = 0.5  # sum of sure neighbours, each by its closeness, that a wall needs to have a say
STEADY_POWER = 8  # of confidence, as a share of the surest point's, by which a point counts in what is published
LEVEL = 1e-4  # keeps the equations solvable where no neighbour counts


def local_fit(points: FloatArray, values: FloatArray, weight: FloatArray, wall: Wall = FAR_WALL) -> FloatArray:
    """Values (N, 2) at points (N, 2) by affine maps fitted around each point; weight (N, N), row: the fit's centre.

    A point without any neighbour of weight keeps its own value.
    """
    fitted = np.empty(values.shape, np.float32)
    x, y = np.ascontiguousarray(points.T) / np.float32(wall.reach)
    u, v = np.ascontiguousarray(values.T)
    _fit(x, y, u, v, weight, wall.stiffness, fitted)
    return fitted


@njit(cache=True, fastmath=FAST, nogil=True)
def _fit(
    x: FloatArray,
    y: FloatArray,
    u: FloatArray,
    v: FloatArray,
    weight: FloatArray,
    stiffness: float,
    out: FloatArray,
) -> None:
    """Three normal equations a point, solved by elimination; only the level of the map is asked for."""
    for i in range(x.shape[0]):
        row = weight[i]
        n, sx, sy, sxx, sxy, syy = LEVEL, 0.0, 0.0, stiffness, 0.0, stiffness
        u0, ux, uy, v0, vx, vy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(x.shape[0]):
            w, dx, dy = float(row[j]), x[j] - x[i], y[j] - y[i]
            du, dv = w * (u[j] - u[i]), w * (v[j] - v[i])
            n += w
            sx += w * dx
            sy += w * dy
            sxx += w * dx * dx
            sxy += w * dx * dy
            syy += w * dy * dy
            u0, ux, uy = u0 + du, ux + du * dx, uy + du * dy
            v0, vx, vy = v0 + dv, vx + dv * dx, vy + dv * dy
        # Slopes are eliminated first: their block is well conditioned thanks to STIFFNESS.
        determinant = sxx * syy - sxy * sxy
        p, q = (sx * syy - sy * sxy) / determinant, (sy * sxx - sx * sxy) / determinant
        level = n - p * sx - q * sy
        out[i, 0] = u[i] + (u0 - p * ux - q * uy) / level
        out[i, 1] = v[i] + (v0 - p * vx - q * vy) / level


def local_fit_numpy(points: FloatArray, values: FloatArray, weight: FloatArray, wall: Wall = FAR_WALL) -> FloatArray:
    """The plain twin of `local_fit`."""
    x = (points[None] - points[:, None]) / wall.reach  # (N, N, 2) from the centre
    basis = np.concatenate((np.ones_like(x[..., :1]), x), -1)  # (N, N, 3)
    weighted = weight[..., None] * basis
    normal = np.swapaxes(weighted, 1, 2) @ basis
    normal += np.diag([LEVEL, wall.stiffness, wall.stiffness]).astype(np.float32)
    right = np.swapaxes(weighted, 1, 2) @ (values[None] - values[:, None])
    return np.asarray(values + np.linalg.solve(normal, right)[:, 0], np.float32)


def steady(start: FloatArray, found: FloatArray, sure: FloatArray, close: FloatArray) -> FloatArray:
    """Positions (N, 2) as they are best told to others: each drawn to where its surer neighbours have the wall.

    start  (N, 2) where the points were set, units; found (N, 2) where they were followed to; sure (N,) 0..1
    close  (N, N) from position.closeness, reach of NEAR_WALL
    The surest point goes half by its neighbours, one that is not sure at all wholly. Not to be followed on from: the
    local motion that sure neighbours do not show would be lost frame by frame.
    """
    known = np.asarray(np.isfinite(found).all(1) & np.isfinite(start).all(1))
    moved = np.where(known[:, None], found - start, np.float32(0.0))
    surest = max(float((sure * known).max(initial=0.0)), 1e-6)
    weight = known * (sure / np.float32(surest)) ** STEADY_POWER
    by_wall = local_fit(np.nan_to_num(start), moved, close * weight[None], NEAR_WALL)
    share = 1.0 / (1.0 + weight)
    return np.where(known[:, None], found + share[:, None] * (by_wall - moved), found).astype(np.float32)


def put_back(start: FloatArray, found: FloatArray, sure: FloatArray, far: FloatArray, limit: float) -> FloatArray:
    """Positions (N, 2): unsure points farther than `limit` from where the wall has them are moved there.

    start  (N, 2) where the points were set, units; found (N, 2) where they are believed to be now
    sure   (N,) 0..1; far (N, N) from position.closeness
    The wall is what the other points say, each by how sure it is; a point has no say about itself.
    """
    known = np.asarray(np.isfinite(found).all(1))
    moved = np.where(known[:, None], found - start, np.float32(0.0))
    weight = far * (known * sure)[None]
    np.fill_diagonal(weight, 0.0)
    support = weight.sum(1)
    # Relative to the mean of its neighbours, so that a point far off does not pull the fit's origin with it.
    mean = (weight @ moved) / np.maximum(support, 1e-6)[:, None]
    fitted = start + mean + _slope_at(start, moved, mean, weight)
    off = ~known | (np.hypot(*(found - fitted).T) > limit)
    strayed = off & (sure < UNSURE) & (support > LEAST_SUPPORT)
    return np.where(strayed[:, None], fitted, found).astype(np.float32)


def _slope_at(start: FloatArray, moved: FloatArray, mean: FloatArray, weight: FloatArray) -> FloatArray:
    """What the affine fit around each point adds to the mean of its neighbours, at the point itself."""
    x = (start[None] - start[:, None]) / FAR_WALL.reach
    basis = np.concatenate((np.ones_like(x[..., :1]), x), -1)
    weighted = weight[..., None] * basis
    normal = np.swapaxes(weighted, 1, 2) @ basis + np.diag([LEVEL, FAR_WALL.stiffness, FAR_WALL.stiffness]).astype(
        np.float32
    )
    right = np.swapaxes(weighted, 1, 2) @ (moved[None] - mean[:, None])
    return np.asarray(np.linalg.solve(normal, right)[:, 0], np.float32)


def neighbours_say(
    start: FloatArray,
    step: FloatArray,
    half_difference: FloatArray,
    moved: FloatArray,
    sure: FloatArray,
    far: FloatArray,
) -> FloatArray:
    """(2, N, 2): neighbours' motion minus the point's own; where the wall's shape puts it minus where it is expected.

    start            (N, 2) where the points were set, units, as all lengths here
    step             (N, 2) optical flow of this frame; half_difference (N, 2) of the two flows that it is the mean of
    moved            (N, 2) from start to where the points are expected
    sure             (N,) confidence in the frame before
    far              (N, N) from position.closeness
    Zero for a lost (NaN) point, which says nothing either.
    """
    known = np.asarray(np.isfinite(step).all(1) & np.isfinite(moved).all(1))
    start, step, half_difference, moved = (
        np.where(known[:, None], v, np.float32(0.0)) for v in (start, step, half_difference, moved)
    )
    agree = 1.0 / (AGREEMENT + np.hypot(*half_difference.T)) ** 2
    motion = local_fit(start, step, far * (known * agree)[None]) - step
    shape = local_fit(start, moved, far * (known * (DOUBT + sure))[None]) - moved
    return np.where(known[:, None], np.stack((motion, shape)), np.float32(0.0)).astype(np.float32)
