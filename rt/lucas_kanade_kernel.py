"""Lucas-Kanade as one compiled pass over the points: all levels of the pyramid, Newton's steps of learned length.

Every row of a patch is read to a width that vector instructions like; beyond the patch slopes are zero, so what is
read there weighs nothing.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.fast_math import FAST

F = np.float32
MARGIN = 40  # px around each level: patches that reach beyond the border are read there
SMALL_HALF, SMALL_ROW = 10, 24  # px of a patch to each side of its middle; numbers in a row
LARGE_HALF, LARGE_ROW = 15, 32
LEAST_TEXTURE = F(0.1)  # (gray/px)^2, the weaker direction; OpenCV's limit
ROUNDS = 30
NEAR_PX = F(1e-4)  # on the finest level; shorter steps end the search
COARSE_NEAR_PX = F(1e-3)  # coarser levels only say where to begin
SMALL_STEP_PX = F(0.05)  # only steps below may be lengthened: far from the fit that would leap over it
LONGEST, SHORTEST = F(4.0), F(0.25)  # of Newton's step
LEAST_REST = F(0.125)
ZERO, ONE, TWO, FOUR = F(0.0), F(1.0), F(2.0), F(4.0)
OUTER_TAP, MIDDLE_TAP = F(3.0 / 32.0), F(10.0 / 32.0)  # Scharr's derivative
Level = NDArray[np.float32]


@njit(inline="always")
def _touches(x: np.float32, y: np.float32, level: Level, half: int) -> bool:
    """Whether a patch at x, y touches the image; its numbers are then within the margin. False for NaN."""
    height, width = level.shape[0] - 2 * MARGIN, level.shape[1] - 2 * MARGIN
    return bool(x > -half and y > -half and x < width + half and y < height + half)


@njit(inline="always")
def _between(x: np.float32, y: np.float32):  # type: ignore[no-untyped-def]
    """The pixel of a level, with its margin, left above x, y of the image; what the four around weigh."""
    x += F(MARGIN)
    y += F(MARGIN)
    left, top = np.int64(math.floor(x)), np.int64(math.floor(y))
    a, b = F(x - F(left)), F(y - F(top))
    return left, top, (ONE - a) * (ONE - b), a * (ONE - b), (ONE - a) * b, a * b


@njit(inline="always")
def _read(level: Level, x: np.float32, y: np.float32, n_rows: int, n_columns: int, out: Level) -> None:
    """out = the picture from x, y on, bilinear."""
    left, top, w00, w01, w10, w11 = _between(x, y)
    for j in range(n_rows):
        up, low = level[top + j, left:], level[top + j + 1, left:]
        up_next, low_next, row = level[top + j, left + 1 :], level[top + j + 1, left + 1 :], out[j]
        for i in range(n_columns):
            row[i] = w00 * up[i] + w01 * up_next[i] + w10 * low[i] + w11 * low_next[i]


@njit(inline="always")
def _slopes(patch: Level, side: int, gx: Level, gy: Level):  # type: ignore[no-untyped-def]
    """Derivatives of a patch that has one more pixel all around; sums of their products xx, xy, yy."""
    xx, xy, yy = ZERO, ZERO, ZERO
    for j in range(side):
        above, here, below, row_x, row_y = patch[j], patch[j + 1], patch[j + 2], gx[j], gy[j]
        for i in range(side):
            outer = above[i + 2] - above[i] + below[i + 2] - below[i]
            across = OUTER_TAP * outer + MIDDLE_TAP * (here[i + 2] - here[i])
            outer = below[i] - above[i] + below[i + 2] - above[i + 2]
            down = OUTER_TAP * outer + MIDDLE_TAP * (below[i + 1] - above[i + 1])
            row_x[i], row_y[i] = across, down
            xx += across * across
            xy += across * down
            yy += down * down
    return xx, xy, yy


@njit(inline="always")
def _pull(level: Level, x: np.float32, y: np.float32, row_size: int, patch: Level, gx: Level, gy: Level):  # type: ignore[no-untyped-def]
    """Sums of slope times difference between the patch, which has its border, and the picture from x, y on."""
    left, top, w00, w01, w10, w11 = _between(x, y)
    along_x, along_y = ZERO, ZERO
    for j in range(len(gx)):
        up, low = level[top + j, left:], level[top + j + 1, left:]
        up_next, low_next = level[top + j, left + 1 :], level[top + j + 1, left + 1 :]
        row, row_x, row_y = patch[j + 1, 1:], gx[j], gy[j]
        for i in range(row_size):
            d = row[i] - (w00 * up[i] + w01 * up_next[i] + w10 * low[i] + w11 * low_next[i])
            along_x += d * row_x[i]
            along_y += d * row_y[i]
    return along_x, along_y


@njit(inline="always")
def _part_of_step(part: np.float32, now, last):  # type: ignore[no-untyped-def]
    """What part of Newton's step to take: `part` of the last one left `now` to go; the best would have left nothing."""
    ratio = (now[0] * last[0] + now[1] * last[1]) / (last[0] * last[0] + last[1] * last[1])
    is_small = now[0] * now[0] + now[1] * now[1] < SMALL_STEP_PX * SMALL_STEP_PX
    return min(max(part / max(ONE - ratio, LEAST_REST), SHORTEST), LONGEST if is_small else ONE)


@njit(inline="always")
def _search(level: Level, x, y, half: int, row_size: int, patch: Level, gx: Level, gy: Level, products, near):  # type: ignore[no-untyped-def]
    """Newton's steps from x, y until they are shorter than `near`; x, y, and whether the search stayed in the image."""
    xx, xy, yy = products
    determinant, last, part = xx * yy - xy * xy, (ZERO, ZERO), ONE
    for k in range(ROUNDS):
        if not _touches(x, y, level, half):
            return x, y, False
        bx, by = _pull(level, x - F(half), y - F(half), row_size, patch, gx, gy)
        step = (F((yy * bx - xy * by) / determinant), F((xx * by - xy * bx) / determinant))
        if k:
            part = _part_of_step(part, step, last)
        last = step
        x += part * step[0]
        y += part * step[1]
        if step[0] * step[0] + step[1] * step[1] < near * near:
            break
    return x, y, _touches(x, y, level, half)


@njit(inline="always")
def _difference(level: Level, x: np.float32, y: np.float32, side: int, patch: Level, there: Level) -> np.float32:
    """Mean difference between the patch, which has its border, and the picture from x, y on, read to `there`."""
    _read(level, x, y, side, side, there)
    total = ZERO
    for j in range(side):
        for i in range(side):
            total += abs(patch[j + 1, i + 1] - there[j, i])
    return total / F(side * side)


@njit(inline="always")
def _follow(before, after, start, found, residual, is_found, half: int, row_size: int):  # type: ignore[no-untyped-def]
    """Every point through all levels, coarsest first; a level with too little texture leaves the point where it is."""
    side = 2 * half + 1
    patch, there = np.empty((side + 2, row_size + 8), np.float32), np.empty((side, side), np.float32)
    gx, gy = np.zeros((side, row_size), np.float32), np.zeros((side, row_size), np.float32)
    for n in range(len(start)):
        for k in range(len(before) - 1, -1, -1):
            scale = F(1.0 / (1 << k))
            x, y = start[n, 0] * scale, start[n, 1] * scale
            is_good = _touches(x, y, before[k], half)
            if is_good:
                _read(before[k], x - F(half + 1), y - F(half + 1), side + 2, row_size + 8, patch)
                xx, xy, yy = _slopes(patch, side, gx, gy)
                weaker = (xx + yy - math.sqrt((xx - yy) * (xx - yy) + FOUR * xy * xy)) / (TWO * F(side * side))
                is_good = weaker >= LEAST_TEXTURE
            if is_good:
                x, y, near = found[n, 0] * scale, found[n, 1] * scale, COARSE_NEAR_PX if k else NEAR_PX
                x, y, is_good = _search(after[k], x, y, half, row_size, patch, gx, gy, (xx, xy, yy), near)
                found[n, 0], found[n, 1] = x / scale, y / scale
            if k == 0:
                is_found[n] = is_good
                if is_good:
                    residual[n] = _difference(after[0], x - F(half), y - F(half), side, patch, there)


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def follow_small(before, after, start, found, residual, is_found):  # type: ignore[no-untyped-def]
    """Patches of 21 x 21 px around start (N, 2), from found (N, 2) on, which is overwritten with where they are.

    before, after       pyramids, finest first
    residual, is_found  (N,) are written
    """
    _follow(before, after, start, found, residual, is_found, SMALL_HALF, SMALL_ROW)


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def follow_large(before, after, start, found, residual, is_found):  # type: ignore[no-untyped-def]
    """The same for patches of 31 x 31 px."""
    _follow(before, after, start, found, residual, is_found, LARGE_HALF, LARGE_ROW)
