"""Lucas-Kanade as one compiled pass over the points: Newton's steps, whose length is learned from the steps before.

Every row of a patch is as wide as vector instructions like; what is read beyond the patch has no weight.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.fast_math import FAST

F = np.float32
MARGIN = 48  # px around an image: patches that reach beyond its border are read there
LEAST_TEXTURE = F(0.1)  # (gray/px)^2, the weaker direction
ROUNDS = 60
NEAR_PX = F(1e-4)  # shorter steps end the search
SMALL_STEP_PX = F(0.2)  # only steps below may be lengthened: far from the fit that would leap over it
LONGEST, SHORTEST = F(8.0), F(0.25)  # of Newton's step
LEAST_REST = F(0.125)
ZERO, HALF, ONE, FOUR = F(0.0), F(0.5), F(1.0), F(4.0)
OUTER_TAP, MIDDLE_TAP = F(3.0 / 32.0), F(10.0 / 32.0)  # Scharr's derivative
Padded = NDArray[np.float32]  # an image with its margin; also what else has rows


@njit(inline="always")
def _touches(x: F, y: F, image: Padded, half: int) -> bool:
    """Whether a patch at x, y touches the image; its numbers are then within the margin. False for NaN."""
    height, width = image.shape[0] - 2 * MARGIN, image.shape[1] - 2 * MARGIN
    return bool(x > -half and y > -half and x < width + half and y < height + half)


@njit(inline="always")
def _between(x: F, y: F) -> tuple[np.int64, np.int64, F, F, F, F]:
    """The pixel of a padded image left above x, y of the image; what the four around weigh."""
    x += F(MARGIN)
    y += F(MARGIN)
    left, top = np.int64(math.floor(x)), np.int64(math.floor(y))
    a, b = F(x - F(left)), F(y - F(top))
    return left, top, (ONE - a) * (ONE - b), a * (ONE - b), (ONE - a) * b, a * b


@njit(inline="always")
def _read(image: Padded, x: F, y: F, n_rows: int, n_columns: int, out: Padded) -> None:
    """out = the picture from x, y on, bilinear."""
    left, top, w00, w01, w10, w11 = _between(x, y)
    for j in range(n_rows):
        up, low = image[top + j, left:], image[top + j + 1, left:]
        up_next, low_next, row = image[top + j, left + 1 :], image[top + j + 1, left + 1 :], out[j]
        for i in range(n_columns):
            row[i] = w00 * up[i] + w01 * up_next[i] + w10 * low[i] + w11 * low_next[i]


@njit(inline="always")
def _slopes(patch: Padded, weights: Padded, gx: Padded, gy: Padded) -> tuple[F, F, F]:
    """Weighted slopes of a patch, which has its border, less their mean; weighted sums of their products xx, xy, yy."""
    n_rows, n_columns = weights.shape
    mean_x, mean_y = ZERO, ZERO
    for j in range(n_rows):
        above, here, below = patch[j], patch[j + 1], patch[j + 2]
        row_x, row_y, w = gx[j], gy[j], weights[j]
        for i in range(n_columns):
            outer = above[i + 2] - above[i] + below[i + 2] - below[i]
            row_x[i] = OUTER_TAP * outer + MIDDLE_TAP * (here[i + 2] - here[i])
            outer = below[i] - above[i] + below[i + 2] - above[i + 2]
            row_y[i] = OUTER_TAP * outer + MIDDLE_TAP * (below[i + 1] - above[i + 1])
            mean_x += w[i] * row_x[i]
            mean_y += w[i] * row_y[i]
    xx, xy, yy = ZERO, ZERO, ZERO
    for j in range(n_rows):
        row_x, row_y, w = gx[j], gy[j], weights[j]
        for i in range(n_columns):
            across, down = row_x[i] - mean_x, row_y[i] - mean_y
            xx += w[i] * across * across
            xy += w[i] * across * down
            yy += w[i] * down * down
            row_x[i] = w[i] * across
            row_y[i] = w[i] * down
    return xx, xy, yy


@njit(inline="always")
def _pull(image: Padded, x: F, y: F, patch: Padded, gx: Padded, gy: Padded) -> tuple[F, F]:
    """Sums of slope times difference between the patch, which has its border, and the picture from x, y on."""
    left, top, w00, w01, w10, w11 = _between(x, y)
    along_x, along_y = ZERO, ZERO
    for j in range(len(gx)):
        up, low = image[top + j, left:], image[top + j + 1, left:]
        up_next, low_next = image[top + j, left + 1 :], image[top + j + 1, left + 1 :]
        row, row_x, row_y = patch[j + 1, 1:], gx[j], gy[j]
        for i in range(gx.shape[1]):
            d = row[i] - (w00 * up[i] + w01 * up_next[i] + w10 * low[i] + w11 * low_next[i])
            along_x += d * row_x[i]
            along_y += d * row_y[i]
    return along_x, along_y


@njit(inline="always")
def _part_of_step(part: F, now: tuple[F, F], last: tuple[F, F]) -> F:
    """What part of Newton's step to take: `part` of the last one left `now` to go; the best would have left nothing."""
    ratio = (now[0] * last[0] + now[1] * last[1]) / (last[0] * last[0] + last[1] * last[1])
    is_small = now[0] * now[0] + now[1] * now[1] < SMALL_STEP_PX * SMALL_STEP_PX
    return min(max(part / max(ONE - ratio, LEAST_REST), SHORTEST), LONGEST if is_small else ONE)


@njit(inline="always")
def _search(
    image: Padded, x: F, y: F, half: int, patch: Padded, gx: Padded, gy: Padded, products: tuple[F, F, F]
) -> tuple[F, F, bool]:
    """Newton's steps from x, y until they are shorter than NEAR_PX; x, y, and whether they stayed in the image."""
    xx, xy, yy = products
    determinant, last, part = xx * yy - xy * xy, (ZERO, ZERO), ONE
    for k in range(ROUNDS):
        if not _touches(x, y, image, half):
            return x, y, False
        bx, by = _pull(image, x - F(half), y - F(half), patch, gx, gy)
        step = (F((yy * bx - xy * by) / determinant), F((xx * by - xy * bx) / determinant))
        if k:
            part = _part_of_step(part, step, last)
        last = step
        x += part * step[0]
        y += part * step[1]
        if step[0] * step[0] + step[1] * step[1] < NEAR_PX * NEAR_PX:
            break
    return x, y, _touches(x, y, image, half)


@njit(inline="always")
def _difference(image: Padded, x: F, y: F, side: int, patch: Padded, there: Padded) -> F:
    """Mean difference between the patch, which has its border, and the picture from x, y on, read to `there`."""
    _read(image, x, y, side, side, there)
    total = ZERO
    for j in range(side):
        for i in range(side):
            total += abs(patch[j + 1, i + 1] - there[j, i])
    return total / F(side * side)


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def follow(
    before: Padded,
    after: Padded,
    start: Padded,
    weights: Padded,
    found: Padded,
    residual: Padded,
    is_found: NDArray[np.bool_],
) -> None:
    """Patches around start (N, 2) of one padded image in another, from found (N, 2) on, which is overwritten.

    weights             (side, side and more) of a patch's pixels, zero beyond its side, in sum 1
    residual, is_found  (N,) are written
    """
    side, n_columns = weights.shape
    half = side // 2
    patch, there = np.empty((side + 2, n_columns + 8), np.float32), np.empty((side, side), np.float32)
    gx, gy = np.empty((side, n_columns), np.float32), np.empty((side, n_columns), np.float32)
    for n in range(len(start)):
        x, y = start[n, 0], start[n, 1]
        is_good = _touches(x, y, before, half)
        if is_good:
            _read(before, x - F(half + 1), y - F(half + 1), side + 2, n_columns + 8, patch)
            xx, xy, yy = _slopes(patch, weights, gx, gy)
            is_good = HALF * (xx + yy - math.sqrt((xx - yy) * (xx - yy) + FOUR * xy * xy)) >= LEAST_TEXTURE
        if is_good:
            x, y, is_good = _search(after, found[n, 0], found[n, 1], half, patch, gx, gy, (xx, xy, yy))
            found[n, 0], found[n, 1] = x, y
        if is_good:
            residual[n] = _difference(after, x - F(half), y - F(half), side, patch, there)
        is_found[n] = is_good
