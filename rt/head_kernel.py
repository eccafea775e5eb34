"""The matching head as one compiled pass over the points: no volume is larger than the square around one point.

For each point: cosines of all its templates with the few cells under its square, powered; brought to pixels along x
for each row of cells, then along y while the three scales are multiplied and the logarithm is taken. Templates lie
innermost, so that loops are long enough for vector instructions. `correlation.evidence_slow` is the plain twin.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.fast_math import FAST, HALF, log_of_product

F = np.float32
FLOOR = F(0.01)  # least similarity before the power
CELL_OFFSET_PX = 0.5
AT_ONCE = 4  # templates whose cosines are taken together
Floats = NDArray[np.float32]


@njit(cache=True, fastmath=FAST, nogil=True)
def _power(cosine: np.float32, gamma: float) -> np.float32:
    """((1 + c) / 2)^gamma; the paper's 15 by four multiplications."""
    s = max(HALF + HALF * cosine, FLOOR)
    if gamma == 15.0:
        s2 = s * s
        s4 = s2 * s2
        return s4 * s4 * s4 * s2 * s
    return F(math.pow(s, gamma))


@njit(cache=True, fastmath=FAST, nogil=True)
def _cosines(features: Floats, templates: Floats, x0: int, y0: int, gamma: float, out: Floats) -> None:
    """out (n, n, T) = powered cosines of n x n cells with templates (T, C), T a multiple of AT_ONCE; borders repeat."""
    height, width, channels = features.shape
    for j in range(out.shape[0]):
        y = min(max(y0 + j, 0), height - 1)
        for i in range(out.shape[1]):
            cell = features[y, min(max(x0 + i, 0), width - 1)]
            for k in range(0, templates.shape[0], AT_ONCE):
                t0, t1, t2, t3 = templates[k], templates[k + 1], templates[k + 2], templates[k + 3]
                a, b, c, d = F(0), F(0), F(0), F(0)
                for q in range(channels):  # slices that begin at 0: numba's check for negative indices stops vectors
                    a += cell[q] * t0[q]
                    b += cell[q] * t1[q]
                    c += cell[q] * t2[q]
                    d += cell[q] * t3[q]
                out[j, i, k], out[j, i, k + 1], out[j, i, k + 2], out[j, i, k + 3] = a, b, c, d
    flat = out.reshape(-1)
    for p in range(flat.shape[0]):
        flat[p] = _power(flat[p], gamma)


@njit(cache=True, fastmath=FAST, nogil=True)
def _along_x(powered: Floats, u: float, stride: int, n_templates: int, rows: Floats) -> None:
    """rows (n, S * K) = powered (n, n, T) read at S pixels, the first one u cells in."""
    for i in range(rows.shape[1] // n_templates):
        at = u + i / stride
        column = int(at)
        f = F(at - column)
        for j in range(powered.shape[0]):
            for k in range(n_templates):
                low, high = powered[j, column, k], powered[j, column + 1, k]
                rows[j, i * n_templates + k] = low + f * (high - low)


@njit(cache=True, fastmath=FAST, nogil=True)
def _scale(
    features: Floats,
    templates: Floats,
    left: float,
    top: float,
    stride: int,
    gamma: float,
    room: Floats,
    n_templates: int,
    rows: Floats,
) -> None:
    """rows (n, S * K) of one scale: similarities under the square whose first pixel is (left, top), brought to x."""
    u, v = (left - CELL_OFFSET_PX) / stride, (top - CELL_OFFSET_PX) / stride
    n, padded = rows.shape[0], templates.shape[0]
    powered = room[: n * n * padded].reshape(n, n, padded)
    _cosines(features, templates, math.floor(u), math.floor(v), gamma, powered)
    _along_x(powered, u - math.floor(u), stride, n_templates, rows)


@njit(cache=True, fastmath=FAST, nogil=True)
def _along_y(
    a0: Floats,
    a1: Floats,
    fa: np.float32,
    b0: Floats,
    b1: Floats,
    fb: np.float32,
    c0: Floats,
    c1: Floats,
    fc: np.float32,
    line: Floats,
) -> None:
    """line = log of the product of the three scales, each between two of its rows of cells."""
    for p in range(line.shape[0]):
        a, b, c = a0[p] + fa * (a1[p] - a0[p]), b0[p] + fb * (b1[p] - b0[p]), c0[p] + fc * (c1[p] - c0[p])
        line[p] = log_of_product(a, b, c)


@njit(cache=True, fastmath=FAST, nogil=True)
def _take(templates: Floats, n: int, first: int, out: Floats) -> None:
    """out (T, C) = channels of one scale of templates (K, N, ...) of point n; out's further rows stay zero."""
    for k in range(templates.shape[0]):
        row, given = out[k], templates[k, n, first:]
        for q in range(row.shape[0]):
            row[q] = given[q]


@njit(cache=True, fastmath=FAST, nogil=True)
def log_volumes(
    fine: Floats,
    middle: Floats,
    coarse: Floats,
    templates: Floats,
    centre: Floats,
    gamma: float,
    out: Floats,
    first: int,
    last: int,
) -> None:
    """Fill out (K, N, S, S) of the points first to last with the log of the product of the scales.

    0 around a lost (NaN) centre (N, 2).
    """
    n_templates, _, side, _ = out.shape
    padded = -(-n_templates // AT_ONCE) * AT_ONCE
    of_fine = np.zeros((padded, fine.shape[2]), F)
    of_middle = np.zeros((padded, middle.shape[2]), F)
    of_coarse = np.zeros((padded, coarse.shape[2]), F)
    n2, n4, n8 = (side - 1) // 2 + 3, (side - 1) // 4 + 3, (side - 1) // 8 + 3
    room = np.empty(n2 * n2 * padded, F)
    rows2 = np.empty((n2, side * n_templates), F)
    rows4 = np.empty((n4, side * n_templates), F)
    rows8 = np.empty((n8, side * n_templates), F)
    square = np.empty((side, side * n_templates), F)
    for n in range(first, last):
        if not (math.isfinite(centre[n, 0]) and math.isfinite(centre[n, 1])):
            out[:, n] = F(0)
            continue
        _take(templates, n, 0, of_fine)
        _take(templates, n, of_fine.shape[1], of_middle)
        _take(templates, n, of_fine.shape[1] + of_middle.shape[1], of_coarse)
        left, top = float(centre[n, 0]) - side // 2, float(centre[n, 1]) - side // 2
        _scale(fine, of_fine, left, top, 2, gamma, room, n_templates, rows2)
        _scale(middle, of_middle, left, top, 4, gamma, room, n_templates, rows4)
        _scale(coarse, of_coarse, left, top, 8, gamma, room, n_templates, rows8)
        v2, v4, v8 = (top - CELL_OFFSET_PX) / 2, (top - CELL_OFFSET_PX) / 4, (top - CELL_OFFSET_PX) / 8
        v2, v4, v8 = v2 - math.floor(v2), v4 - math.floor(v4), v8 - math.floor(v8)
        for j in range(side):
            y2, y4, y8 = v2 + j / 2, v4 + j / 4, v8 + j / 8
            i2, i4, i8 = int(y2), int(y4), int(y8)
            a, b, c = F(y2 - i2), F(y4 - i4), F(y8 - i8)
            _along_y(rows2[i2], rows2[i2 + 1], a, rows4[i4], rows4[i4 + 1], b, rows8[i8], rows8[i8 + 1], c, square[j])
        for k in range(n_templates):
            for j in range(side):
                for i in range(side):
                    out[k, n, j, i] = square[j, i * n_templates + k]
