"""From evidence to all measurements of a frame in one compiled pass: pooled, prior, soft maximum, share; no volumes.

What it says is what `position.pooled`, `soft_argmax` and `share_near` say one after the other, which are its plain
twins; a test holds them together. Neighbours are pooled for two points at a time: each volume is read once for both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.fast_math import FAST, exp_of_negative
from specktrack.rt.geometry import FloatArray
from specktrack.rt.halves import in_halves
from specktrack.rt.position import CONFIDENCE_RADIUS_PX, CONFIDENCE_REACH_PX, LEAST_WEIGHT, Offsets

F = np.float32
CLOSED = F(-1e30)  # log weight of a place that may not be the answer
LANES = 64  # squares are padded to a multiple, so that vector loops leave no rest
OWN, NEAR, FAR = 0, 1, 2  # whose evidence is read: the point's own, pooled with near or with far neighbours
RADIUS_SQUARED = F(CONFIDENCE_RADIUS_PX**2)


@dataclass(frozen=True)
class Reading:
    """Answers of M readings for N points."""

    offsets: Offsets  # px (M, N, 2), spread_px (M, N)
    share: FloatArray  # (n_shares, N) of the first readings: evidence near the answer, see position.share_near


@dataclass(frozen=True)
class Rows:
    """What neighbours weigh, (N, N) each: closeness over the root of its sum."""

    near: FloatArray
    far: FloatArray

    @staticmethod
    def of(near: FloatArray, far: FloatArray) -> "Rows":
        """From `position.closeness`, near and far."""
        return Rows(_weights(near), _weights(far))


class Reader:
    """Reads squares of one side under one Gaussian prior; everything that is the same in every frame is made here."""

    def __init__(self, side: int, sigma_px: float, size: tuple[int, int]) -> None:
        """side S, odd; size (height, width) of the image the squares lie on."""
        steps = (np.arange(side) - side // 2).astype(F)
        rest = -(side * side) % LANES
        self._side, self._size = side, size
        self._x = np.pad(np.tile(steps, side), (0, rest))
        self._y = np.pad(np.repeat(steps, side), (0, rest))
        prior = -0.5 * (self._x**2 + self._y**2) / F(sigma_px) ** 2
        reach = (np.abs(self._x) <= CONFIDENCE_REACH_PX) & (np.abs(self._y) <= CONFIDENCE_REACH_PX)
        self._prior = prior.astype(F)
        self._reach = np.where(reach, F(0), CLOSED)
        self._prior[side * side :] = self._reach[side * side :] = CLOSED

    def read(
        self,
        volumes: FloatArray,
        readings: Sequence[tuple[int, int]],
        n_shares: int,
        rows: Rows,
        centre: FloatArray,
    ) -> Reading:
        """All readings of the evidence (V, N, S, S) around centre (N, 2).

        readings  (volume, OWN | NEAR | FAR) each; of the first n_shares the share of evidence is told too
        A point that is lost (NaN) or has no place of its square on the image answers zero, with no share.
        """
        n_volumes, n_points = volumes.shape[:2]
        px = np.zeros((len(readings), n_points, 2), F)
        spread = np.zeros((len(readings), n_points), F)
        share = np.zeros((n_shares, n_points), F)
        which = np.array(readings, np.int64)
        flat = volumes.reshape(n_volumes, n_points, self._side**2)
        grid = (self._x, self._y, self._prior, self._reach)
        arguments = (flat, which, rows.near, rows.far, centre, *self._size, *grid, px, spread, share)
        in_halves(_read, n_points, *arguments)
        return Reading(Offsets(px, spread), share)


def _weights(closeness: FloatArray) -> FloatArray:
    root = np.sqrt(np.maximum(closeness.sum(1, keepdims=True), 1e-6))
    weights = np.asarray(closeness / root, F)
    weights[weights <= LEAST_WEIGHT] = 0.0
    return weights


@njit(cache=True, fastmath=FAST, nogil=True)
def _add_three(
    first: FloatArray,
    second: FloatArray,
    a: FloatArray,
    b: FloatArray,
    c: FloatArray,
    u: tuple[np.float32, np.float32, np.float32],
    v: tuple[np.float32, np.float32, np.float32],
) -> None:
    """first += u[0] a + u[1] b + u[2] c, second the same with v."""
    u0, u1, u2 = u
    v0, v1, v2 = v
    for q in range(a.shape[0]):
        first[q] += u0 * a[q] + u1 * b[q] + u2 * c[q]
        second[q] += v0 * a[q] + v1 * b[q] + v2 * c[q]


@njit(cache=True, fastmath=FAST, nogil=True)
def _pool_two(volume: FloatArray, rows: FloatArray, n: int, first: FloatArray, second: FloatArray) -> None:
    """Evidence (N, A) pooled for the points n and n + 1; the last point stands in for one that is not there."""
    m = min(n + 1, volume.shape[0] - 1)
    first[:] = F(0)
    second[:] = F(0)
    count, j0, j1 = 0, 0, 0
    none = F(0)
    for j in range(volume.shape[0]):
        if rows[n, j] == 0 and rows[m, j] == 0:
            continue
        count += 1
        if count == 1:
            j0 = j
        elif count == 2:
            j1 = j
        else:
            u, v = (rows[n, j0], rows[n, j1], rows[n, j]), (rows[m, j0], rows[m, j1], rows[m, j])
            _add_three(first, second, volume[j0], volume[j1], volume[j], u, v)
            count = 0
    if count == 2:
        u, v = (rows[n, j0], rows[n, j1], none), (rows[m, j0], rows[m, j1], none)
        _add_three(first, second, volume[j0], volume[j1], volume[j1], u, v)
    elif count == 1:
        _add_three(
            first, second, volume[j0], volume[j0], volume[j0], (rows[n, j0], none, none), (rows[m, j0], none, none)
        )


@njit(cache=True, fastmath=FAST, nogil=True)
def _highest(log_weight: FloatArray, shift: FloatArray, best: FloatArray) -> np.float32:
    """Largest of log_weight + shift (A,), A a multiple of LANES; best (LANES,) is room for it."""
    best[:] = CLOSED
    for first in range(0, log_weight.shape[0], LANES):
        a, b = log_weight[first : first + LANES], shift[first : first + LANES]
        for lane in range(LANES):
            best[lane] = max(best[lane], a[lane] + b[lane])
    highest = CLOSED
    for lane in range(LANES):
        highest = max(highest, best[lane])
    return highest


@njit(cache=True, fastmath=FAST, nogil=True)
def _moments(
    log_weight: FloatArray, shift: FloatArray, highest: np.float32, x: FloatArray, y: FloatArray
) -> tuple[np.float32, np.float32, np.float32]:
    """Mean x, mean y and spread per axis of exp(log_weight + shift)."""
    total, along_x, along_y, squares = F(0), F(0), F(0), F(0)
    for q in range(log_weight.shape[0]):
        w = exp_of_negative(log_weight[q] + shift[q] - highest)
        total += w
        along_x += w * x[q]
        along_y += w * y[q]
        squares += w * (x[q] * x[q] + y[q] * y[q])
    mean_x, mean_y = along_x / total, along_y / total
    second = F(0.5) * (squares / total - mean_x * mean_x - mean_y * mean_y)
    return mean_x, mean_y, F(math.sqrt(max(second, F(0))))


@njit(cache=True, fastmath=FAST, nogil=True)
def _share(
    log_weight: FloatArray,
    shift: FloatArray,
    highest: np.float32,
    x: FloatArray,
    y: FloatArray,
    at_x: np.float32,
    at_y: np.float32,
) -> np.float32:
    """Share of exp(log_weight + shift) that lies within the confidence radius of a place."""
    total, near = F(0), F(0)
    for q in range(log_weight.shape[0]):
        w = exp_of_negative(log_weight[q] + shift[q] - highest)
        dx, dy = x[q] - at_x, y[q] - at_y
        total += w
        near += w if dx * dx + dy * dy <= RADIUS_SQUARED else F(0)
    return near / total


@njit(cache=True, fastmath=FAST, nogil=True)
def _open_places(
    cx: np.float32,
    cy: np.float32,
    height: int,
    width: int,
    x: FloatArray,
    y: FloatArray,
    given: FloatArray,
    out: FloatArray,
) -> None:
    """out (A,) = given where the place lies on the image, else CLOSED."""
    for q in range(x.shape[0]):
        is_inside = (cx + x[q] >= 0) and (cx + x[q] <= width - 1) and (cy + y[q] >= 0) and (cy + y[q] <= height - 1)
        out[q] = given[q] if is_inside else CLOSED


@njit(cache=True, fastmath=FAST, nogil=True)
def _read(
    volumes: FloatArray,
    which: NDArray[np.int64],
    near: FloatArray,
    far: FloatArray,
    centre: FloatArray,
    height: int,
    width: int,
    x: FloatArray,
    y: FloatArray,
    prior: FloatArray,
    reach: FloatArray,
    px: FloatArray,
    spread: FloatArray,
    share: FloatArray,
    first: int,
    last: int,
) -> None:
    """See Reader.read; of the points first to last, first is even."""
    size = volumes.shape[2]
    pooled = np.zeros((which.shape[0], 2, x.shape[0]), F)
    shift, counts, room = np.empty_like(x), np.empty_like(x), np.empty(LANES, F)
    for n in range(first, last):
        cx, cy = centre[n, 0], centre[n, 1]
        is_known = math.isfinite(cx) and math.isfinite(cy)
        if is_known:
            _open_places(cx, cy, height, width, x, y, prior, shift)
            _open_places(cx, cy, height, width, x, y, reach, counts)
        for m in range(which.shape[0]):
            volume, whose = volumes[which[m, 0]], which[m, 1]
            if whose == OWN:
                pooled[m, n % 2, :size] = volume[n]
            elif n % 2 == 0:
                _pool_two(volume, near if whose == NEAR else far, n, pooled[m, 0, :size], pooled[m, 1, :size])
            log_c = pooled[m, n % 2]
            highest = _highest(log_c, shift, room) if is_known else CLOSED
            if highest <= F(0.5) * CLOSED:
                continue
            px[m, n, 0], px[m, n, 1], spread[m, n] = _moments(log_c, shift, highest, x, y)
            if m < share.shape[0]:
                highest = _highest(log_c, counts, room)
                if highest > F(0.5) * CLOSED:
                    share[m, n] = _share(log_c, counts, highest, x, y, px[m, n, 0], px[m, n, 1])
