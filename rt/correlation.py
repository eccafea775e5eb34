"""The matching head in the stream: evidence of several templates at three scales, multiplied with the motion prior.

    log C = sum_k w_k * sum_i log up(C_ik^gamma)  +  log prior          (arXiv 2507.10127, section on cost volumes)

read one pixel apart in a square centred on the prior, then soft argmax. Outside the square the prior is next to
nothing, so nothing is computed there. Cosines are mapped to (0, 1] by (1 + c) / 2. training/head.py is the torch twin,
`match_slow` below the numpy twin; tests hold all three together.

Feature maps lie channels last (h, w, C), unit length, strides 2, 4, 8; cell j of stride s is centred on pixel s*j+0.5.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray, is_known

CELL_OFFSET_PX = 0.5
STRIDES = (2, 4, 8)
FLOOR = 0.01
CONFIDENCE_RADIUS_PX = 4.0  # confidence: share of the anchors' evidence within this of the position, no prior
CONFIDENCE_REACH_PX = 8  # half side of the square it is a share of, however far the match searches
_FAST = {"contract", "reassoc", "arcp", "nsz"}  # not nnan: a lost point is NaN

Curve = NDArray[np.float64]
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
    powered: NDArray[np.float64],
    features: FloatArray,
    template: FloatArray,
    left: float,
    top: float,
    stride: int,
    gamma: float,
) -> None:
    """volume (S, S) *= up(C^gamma) of one scale; (left, top) pixel of its first element; borders repeat."""
    side = volume.shape[0]
    height, width, channels = features.shape
    u0, v0 = (left - CELL_OFFSET_PX) / stride, (top - CELL_OFFSET_PX) / stride
    x0, y0 = math.floor(u0), math.floor(v0)
    n = (side - 1) // stride + 3
    for j in range(n):
        y = min(max(y0 + j, 0), height - 1)
        for i in range(n):
            x = min(max(x0 + i, 0), width - 1)
            dot = np.float32(0.0)
            for c in range(channels):
                dot += features[y, x, c] * template[c]
            powered[j, i] = _power(dot, gamma)
    for j in range(side):
        v = v0 - y0 + j / stride
        row = int(v)
        fv = v - row
        for i in range(side):
            u = u0 - x0 + i / stride
            column = int(u)
            fu = u - column
            upper = powered[row, column] * (1 - fu) + powered[row, column + 1] * fu
            lower = powered[row + 1, column] * (1 - fu) + powered[row + 1, column + 1] * fu
            volume[j, i] *= upper * (1 - fv) + lower * fv


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
    side       of the searched square, pixels, odd
    out        (N, 4) filled with x, y, standard deviation per axis (pixels) and confidence 0..1
    """
    n_templates, n_points = weights.shape
    c1, c2 = fine.shape[2], fine.shape[2] + middle.shape[2]
    height, width = fine.shape[0] * STRIDES[0], fine.shape[1] * STRIDES[0]
    volume = np.empty((side, side), np.float64)
    powered = np.empty((side + 3, side + 3), np.float64)
    total = np.empty((side, side), np.float64)
    anchored = np.empty((side, side), np.float64)
    for n in range(n_points):
        if not (math.isfinite(centre[n, 0]) and math.isfinite(centre[n, 1])):
            out[n, 0], out[n, 1], out[n, 2], out[n, 3] = np.nan, np.nan, np.nan, 0.0
            continue
        left = min(max(float(centre[n, 0]), 0.0), width - 1.0) - side // 2
        top = min(max(float(centre[n, 1]), 0.0), height - 1.0) - side // 2
        total[:, :] = 0.0
        anchored[:, :] = 0.0
        for k in range(n_templates):
            if weights[k, n] == 0.0:
                continue
            volume[:, :] = 1.0
            _multiply_scale(volume, powered, fine, templates[k, n, :c1], left, top, STRIDES[0], gamma)
            _multiply_scale(volume, powered, middle, templates[k, n, c1:c2], left, top, STRIDES[1], gamma)
            _multiply_scale(volume, powered, coarse, templates[k, n, c2:], left, top, STRIDES[2], gamma)
            for j in range(side):
                for i in range(side):
                    total[j, i] += weights[k, n] * math.log(volume[j, i])
            if k < n_anchors:
                anchored[:, :] = total
        _add_prior(total, sigma[n])
        _normalise(total, left, top, width, height, side)
        _normalise(anchored, left, top, width, height, CONFIDENCE_REACH_PX)
        _read_out(total, anchored, left, top, out[n])


@njit(cache=True, fastmath=_FAST, nogil=True)
def _add_prior(total: NDArray[np.float64], sigma: float) -> None:
    """Add the log of a Gaussian around the middle of (S, S)."""
    side = total.shape[0]
    middle = side // 2
    for j in range(side):
        for i in range(side):
            total[j, i] -= 0.5 * ((i - middle) ** 2 + (j - middle) ** 2) / (sigma * sigma)


@njit(cache=True, fastmath=_FAST, nogil=True)
def _normalise(total: NDArray[np.float64], left: float, top: float, width: int, height: int, reach: int) -> None:
    """Log weights (S, S) become probabilities; positions outside the image or beyond the reach get none."""
    side = total.shape[0]
    middle = side // 2
    highest = -1e300
    for j in range(side):
        for i in range(side):
            is_near = abs(i - middle) <= reach and abs(j - middle) <= reach
            if not is_near or left + i < 0 or left + i > width - 1 or top + j < 0 or top + j > height - 1:
                total[j, i] = -1e300
            highest = max(highest, total[j, i])
    mass = 0.0
    for j in range(side):
        for i in range(side):
            total[j, i] = math.exp(total[j, i] - highest)
            mass += total[j, i]
    for j in range(side):
        for i in range(side):
            total[j, i] /= mass


@njit(cache=True, fastmath=_FAST, nogil=True)
def _read_out(
    probability: NDArray[np.float64], anchored: NDArray[np.float64], left: float, top: float, out: FloatArray
) -> None:
    """Mean and spread of (S, S), and how much of the anchors' own probability lies near that mean."""
    side = probability.shape[0]
    mx, my = 0.0, 0.0
    for j in range(side):
        for i in range(side):
            mx += probability[j, i] * i
            my += probability[j, i] * j
    spread, near = 0.0, 0.0
    for j in range(side):
        for i in range(side):
            squared = (i - mx) ** 2 + (j - my) ** 2
            spread += probability[j, i] * squared
            if squared <= CONFIDENCE_RADIUS_PX * CONFIDENCE_RADIUS_PX:
                near += anchored[j, i]
    out[0] = left + mx
    out[1] = top + my
    out[2] = math.sqrt(0.5 * spread)
    out[3] = near


def sample_templates(maps: FeatureMaps, points: FloatArray) -> FloatArray:
    """Unit features (N, C1 + C2 + C3) at points (N, 2), pixels; a NaN point gives a zero template."""
    lost = ~is_known(points)
    where = np.where(lost[:, None], 0.0, points)
    parts = [_bilinear(m, where, stride) for m, stride in zip(maps, STRIDES, strict=True)]
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
    height, width = (STRIDES[0] * n for n in maps[0].shape[:2])
    bounds = np.cumsum([0, *(m.shape[2] for m in maps)])
    steps = np.arange(side) - side // 2
    for n in np.flatnonzero(is_known(centre)):
        middle = np.clip(centre[n].astype(np.float64), 0.0, [width - 1.0, height - 1.0])
        x, y = middle[0] + steps, middle[1] + steps
        total, anchored = np.zeros((2, side, side))
        for k in np.flatnonzero(weights[:, n]):
            for s, (features, stride) in enumerate(zip(maps, STRIDES, strict=True)):
                template = templates[k, n, bounds[s] : bounds[s + 1]]
                cosine = features.astype(np.float64) @ template.astype(np.float64)
                powered = np.maximum(0.5 + 0.5 * cosine, FLOOR) ** gamma
                evidence = weights[k, n] * np.log(_upsampled(powered, x, y, stride))
                total += evidence
                anchored += evidence if k < n_anchors else 0.0
        total -= 0.5 * (steps[None] ** 2 + steps[:, None] ** 2) / float(sigma[n]) ** 2
        outside = ((x < 0) | (x > width - 1))[None] | ((y < 0) | (y > height - 1))[:, None]
        far = (np.abs(steps) > CONFIDENCE_REACH_PX)[None] | (np.abs(steps) > CONFIDENCE_REACH_PX)[:, None]
        p, free = (_normalised(np.where(no, -np.inf, v)) for no, v in ((outside, total), (outside | far, anchored)))
        mean = np.array([(p * x[None]).sum(), (p * y[:, None]).sum()])
        squared = (x - mean[0])[None] ** 2 + (y - mean[1])[:, None] ** 2
        near = free[squared <= CONFIDENCE_RADIUS_PX**2].sum()
        out[n] = *mean, math.sqrt(0.5 * (p * squared).sum()), near
    return out


def _normalised(log_weight: Curve) -> Curve:
    p: Curve = np.exp(log_weight - log_weight.max())
    return p / p.sum()


def _upsampled(volume: Curve, x: Curve, y: Curve, stride: int) -> Curve:
    """Bilinear values (S, S) of a volume (h, w) at pixels x and y (S,); borders repeat."""
    result = volume
    for axis, pixels in ((0, y), (1, x)):
        at = (pixels - CELL_OFFSET_PX) / stride
        low = np.floor(at).astype(int)
        fraction = at - low
        last = volume.shape[axis] - 1
        a = np.take(result, np.clip(low, 0, last), axis)
        b = np.take(result, np.clip(low + 1, 0, last), axis)
        f = fraction[:, None] if axis == 0 else fraction[None]
        result = a * (1 - f) + b * f
    return result
