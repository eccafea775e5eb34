"""The matching head in the stream: evidence of several templates at three scales, multiplied with the motion prior.

    log C = sum_k w_k * sum_i log up(C_ik^gamma)  +  log prior          (arXiv 2507.10127, section on cost volumes)

over a square of cells around the prior, then soft argmax. Outside the square the prior is nothing, so nothing is
computed there. Cosines are mapped to (0, 1] by (1 + c) / 2. training/head.py is the torch twin, `match_slow` below the
numpy twin; tests hold all three together.

Feature maps lie channels last (h, w, C), unit length, strides 2, 4, 8; cell j of stride s is centred on pixel s*j+0.5.
"""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known

CELL_OFFSET_PX = 0.5
FINE_STRIDE = 2
FACTORS = (1, 2, 4)  # stride of each scale in fine cells
FLOOR = 0.01
CONFIDENCE_RADIUS_PX = 4.0  # confidence: share of the anchors' evidence within this of the position, no prior
_FAST = {"contract", "reassoc", "arcp", "nsz"}  # not nnan: a lost point is NaN

FeatureMaps = tuple[FloatArray, FloatArray, FloatArray]


@njit(cache=True, fastmath=_FAST, nogil=True)
def _power(cosine: float, gamma: float) -> float:
    """((1 + c) / 2)^gamma; the paper's 15 by four multiplications."""
    s = max(0.5 + 0.5 * cosine, FLOOR)
    if gamma == 15.0:
        s2 = s * s
        s4 = s2 * s2
        return s4 * s4 * s4 * s2 * s
    return math.pow(s, gamma)


@njit(cache=True, fastmath=_FAST, nogil=True)
def _multiply_scale(
    volume: NDArray[np.float64],
    scratch: NDArray[np.float64],
    features: FloatArray,
    template: FloatArray,
    x0: int,
    y0: int,
    factor: int,
    gamma: float,
) -> None:
    """volume (S, S) *= up(C^gamma) of one scale; (x0, y0) first fine cell; borders repeat."""
    side = volume.shape[0]
    height, width, channels = features.shape
    fx0, fy0 = x0 // factor, y0 // factor
    n = side if factor == 1 else (side - 1) // factor + 2
    for j in range(n):
        y = min(max(fy0 + j, 0), height - 1)
        for i in range(n):
            x = min(max(fx0 + i, 0), width - 1)
            dot = np.float32(0.0)
            for c in range(channels):
                dot += features[y, x, c] * template[c]
            scratch[j, i] = _power(dot, gamma)
    if factor == 1:
        for j in range(side):
            for i in range(side):
                volume[j, i] *= scratch[j, i]
        return
    for j in range(side):
        v = (y0 + j) / factor - fy0
        j0 = int(v)
        j1 = min(j0 + 1, n - 1)
        fy = v - j0
        for i in range(side):
            u = (x0 + i) / factor - fx0
            i0 = int(u)
            i1 = min(i0 + 1, n - 1)
            fx = u - i0
            top = scratch[j0, i0] * (1 - fx) + scratch[j0, i1] * fx
            bottom = scratch[j1, i0] * (1 - fx) + scratch[j1, i1] * fx
            volume[j, i] *= top * (1 - fy) + bottom * fy


@njit(cache=True, fastmath=_FAST, nogil=True)
def match_points(
    fine: FloatArray,
    middle: FloatArray,
    coarse: FloatArray,
    templates: FloatArray,
    weights: FloatArray,
    n_anchors: int,
    centre: FloatArray,
    sigma: FloatArray,
    side: int,
    gamma: float,
    out: FloatArray,
) -> None:
    """Position, spread and confidence of every point.

    fine, middle, coarse  feature maps (h, w, C), channels last, unit length
    templates  (K, N, C1 + C2 + C3) unit length per scale
    weights    (K, N) of each template's evidence; 0 leaves it out
    n_anchors  the first templates are anchors: the confidence is theirs alone
    centre     (N, 2) of the Gaussian prior, pixels; a point whose centre is NaN stays NaN
    sigma      (N,) of the prior, pixels
    side       of the searched square, fine cells, odd
    out        (N, 4) filled with x, y, standard deviation per axis (pixels) and confidence 0..1
    """
    n_templates, n_points = weights.shape
    c1, c2 = fine.shape[2], fine.shape[2] + middle.shape[2]
    rows, columns = fine.shape[0], fine.shape[1]
    volume = np.empty((side, side), np.float64)
    scratch = np.empty((side, side), np.float64)
    total = np.empty((side, side), np.float64)
    anchored = np.empty((side, side), np.float64)
    for n in range(n_points):
        if not (math.isfinite(centre[n, 0]) and math.isfinite(centre[n, 1])):
            out[n, 0], out[n, 1], out[n, 2], out[n, 3] = np.nan, np.nan, np.nan, 0.0
            continue
        cx = min(max(centre[n, 0], 0.0), columns * FINE_STRIDE - 1.0)
        cy = min(max(centre[n, 1], 0.0), rows * FINE_STRIDE - 1.0)
        x0 = round((cx - CELL_OFFSET_PX) / FINE_STRIDE) - side // 2
        y0 = round((cy - CELL_OFFSET_PX) / FINE_STRIDE) - side // 2
        total[:, :] = 0.0
        anchored[:, :] = 0.0
        for k in range(n_templates):
            if weights[k, n] == 0.0:
                continue
            volume[:, :] = 1.0
            _multiply_scale(volume, scratch, fine, templates[k, n, :c1], x0, y0, 1, gamma)
            _multiply_scale(volume, scratch, middle, templates[k, n, c1:c2], x0, y0, 2, gamma)
            _multiply_scale(volume, scratch, coarse, templates[k, n, c2:], x0, y0, 4, gamma)
            for j in range(side):
                for i in range(side):
                    total[j, i] += weights[k, n] * math.log(volume[j, i])
            if k < n_anchors:
                anchored[:, :] = total
        _soft_argmax(total, x0, y0, cx, cy, sigma[n], rows, columns, out[n])
        out[n, 3] = _share_near(anchored, x0, y0, rows, columns, out[n, 0], out[n, 1])


@njit(cache=True, fastmath=_FAST, nogil=True)
def _soft_argmax(
    total: NDArray[np.float64],
    x0: int,
    y0: int,
    cx: float,
    cy: float,
    sigma: float,
    rows: int,
    columns: int,
    out: FloatArray,
) -> None:
    """Add the prior to log evidence (S, S), normalise, take the mean; cells outside the image count for nothing."""
    side = total.shape[0]
    highest = -1e300
    for j in range(side):
        for i in range(side):
            if 0 <= x0 + i < columns and 0 <= y0 + j < rows:
                dx = (x0 + i) * FINE_STRIDE + CELL_OFFSET_PX - cx
                dy = (y0 + j) * FINE_STRIDE + CELL_OFFSET_PX - cy
                total[j, i] -= 0.5 * (dx * dx + dy * dy) / (sigma * sigma)
                highest = max(highest, total[j, i])
            else:
                total[j, i] = -1e300
    mass, mx, my = 0.0, 0.0, 0.0
    for j in range(side):
        for i in range(side):
            p = math.exp(total[j, i] - highest)
            total[j, i] = p
            mass += p
            mx += p * (x0 + i)
            my += p * (y0 + j)
    mx, my = mx / mass, my / mass
    spread = 0.0
    for j in range(side):
        for i in range(side):
            spread += total[j, i] * ((x0 + i - mx) ** 2 + (y0 + j - my) ** 2)
    out[0] = mx * FINE_STRIDE + CELL_OFFSET_PX
    out[1] = my * FINE_STRIDE + CELL_OFFSET_PX
    out[2] = math.sqrt(0.5 * spread / mass) * FINE_STRIDE


@njit(cache=True, fastmath=_FAST, nogil=True)
def _share_near(evidence: NDArray[np.float64], x0: int, y0: int, rows: int, columns: int, x: float, y: float) -> float:
    """Share of exp(evidence) (S, S) within the confidence radius of x, y (pixels)."""
    side = evidence.shape[0]
    highest = -1e300
    for j in range(side):
        for i in range(side):
            highest = max(highest, evidence[j, i])
    near, mass = 0.0, 0.0
    for j in range(side):
        for i in range(side):
            if 0 <= x0 + i < columns and 0 <= y0 + j < rows:
                p = math.exp(evidence[j, i] - highest)
                dx = (x0 + i) * FINE_STRIDE + CELL_OFFSET_PX - x
                dy = (y0 + j) * FINE_STRIDE + CELL_OFFSET_PX - y
                mass += p
                if dx * dx + dy * dy <= CONFIDENCE_RADIUS_PX * CONFIDENCE_RADIUS_PX:
                    near += p
    return near / mass


def sample_templates(maps: FeatureMaps, points: FloatArray) -> FloatArray:
    """Unit features (N, C1 + C2 + C3) at points (N, 2), pixels; a NaN point gives a zero template."""
    lost = ~is_known(points)
    where = np.where(lost[:, None], 0.0, points)
    parts = [_bilinear(m, where, FINE_STRIDE * f) for m, f in zip(maps, FACTORS, strict=True)]
    templates = np.concatenate(parts, 1)
    templates[lost] = 0.0
    return templates


def _bilinear(features: FloatArray, points: FloatArray, stride: int) -> FloatArray:
    """Unit features (N, C) of one map (h, w, C); borders repeat."""
    height, width, _ = features.shape
    cells = (points.astype(np.float32) - np.float32(CELL_OFFSET_PX)) / np.float32(stride)
    low = np.floor(cells).astype(np.int64)
    fx, fy = (cells - low).T[:, :, None]
    x0, x1 = (np.clip(low[:, 0] + d, 0, width - 1) for d in (0, 1))
    y0, y1 = (np.clip(low[:, 1] + d, 0, height - 1) for d in (0, 1))
    top = features[y0, x0] * (1 - fx) + features[y0, x1] * fx
    bottom = features[y1, x0] * (1 - fx) + features[y1, x1] * fx
    value = top * (1 - fy) + bottom * fy
    norm: FloatArray = np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-6)
    return np.asarray(value / norm, np.float32)


def match_slow(
    maps: FeatureMaps,
    templates: FloatArray,
    weights: FloatArray,
    n_anchors: int,
    centre: FloatArray,
    sigma: FloatArray,
    side: int,
    gamma: float,
) -> FloatArray:
    """The plain twin of `match_points`, one array expression per step; same arguments, returns (N, 4)."""
    out = np.full((len(centre), 4), np.nan, np.float32)
    out[:, 3] = 0.0
    rows, columns, _ = maps[0].shape
    bounds = np.cumsum([0, *(m.shape[2] for m in maps)])
    for n in np.flatnonzero(is_known(centre)):
        c = np.clip(centre[n].astype(np.float64), 0.0, [columns * 2 - 1.0, rows * 2 - 1.0])
        origin = np.rint((c - CELL_OFFSET_PX) / FINE_STRIDE).astype(int) - side // 2
        x, y = (origin[axis] + np.arange(side) for axis in (0, 1))
        total, anchored = np.zeros((2, side, side))
        for k in np.flatnonzero(weights[:, n]):
            for s, (features, factor) in enumerate(zip(maps, FACTORS, strict=True)):
                template = templates[k, n, bounds[s] : bounds[s + 1]]
                cosine = features.astype(np.float64) @ template.astype(np.float64)
                powered = np.maximum(0.5 + 0.5 * cosine, FLOOR) ** gamma
                evidence = weights[k, n] * np.log(_upsampled(powered, x, y, factor))
                total += evidence
                anchored += evidence if k < n_anchors else 0.0
        px, py = np.meshgrid(x * 2 + CELL_OFFSET_PX, y * 2 + CELL_OFFSET_PX)
        total -= 0.5 * ((px - c[0]) ** 2 + (py - c[1]) ** 2) / float(sigma[n]) ** 2
        outside = ((x < 0) | (x >= columns))[None] | ((y < 0) | (y >= rows))[:, None]
        p, free = (_normalised(np.where(outside, -np.inf, values)) for values in (total, anchored))
        mean = np.array([(p * px).sum(), (p * py).sum()])
        d2 = (px - mean[0]) ** 2 + (py - mean[1]) ** 2
        out[n] = *mean, math.sqrt(0.5 * (p * d2).sum()), free[d2 <= CONFIDENCE_RADIUS_PX**2].sum()
    return out


def _normalised(log_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    p: NDArray[np.float64] = np.exp(log_weight - log_weight.max())
    return p / p.sum()


def _upsampled(volume: NDArray[np.float64], x: Sequence[int], y: Sequence[int], factor: int) -> NDArray[np.float64]:
    """Bilinear values (S, S) of a coarse volume at fine cells x, y; borders repeat."""
    result = volume
    for axis, cells in ((0, y), (1, x)):
        at = np.asarray(cells) / factor
        low = np.floor(at).astype(int)
        fraction = at - low
        last = volume.shape[axis] - 1
        a = np.take(result, np.clip(low, 0, last), axis)
        b = np.take(result, np.clip(low + 1, 0, last), axis)
        f = fraction[:, None] if axis == 0 else fraction[None]
        result = a * (1 - f) + b * f
    return result
