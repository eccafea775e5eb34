"""The matching head in the stream: the evidence of each template, three scales multiplied.

    log C_k = sum_i log up(C_ik^gamma)          (arXiv 2507.10127, section on cost volumes)

read one pixel apart in a square around the place where a point is expected; nothing is computed elsewhere. Cosines are
mapped to (0, 1] by (1 + c) / 2. training/head.py is the torch twin, `evidence_slow` below the numpy twin; tests hold
all three together. What becomes of the evidence: position.py.

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
def _volumes(
    fine: FloatArray,
    middle: FloatArray,
    coarse: FloatArray,
    templates: FloatArray,
    centre: FloatArray,
    gamma: float,
    out: NDArray[np.float64],
) -> None:
    """Fill out (K, N, S, S) with the product of the three scales; 1 around a lost (NaN) centre."""
    n_templates, n_points, side, _ = out.shape
    c1, c2 = fine.shape[2], fine.shape[2] + middle.shape[2]
    powered = np.empty((side + 3, side + 3), np.float64)
    for n in range(n_points):
        if not (math.isfinite(centre[n, 0]) and math.isfinite(centre[n, 1])):
            out[:, n] = 1.0
            continue
        left, top = float(centre[n, 0]) - side // 2, float(centre[n, 1]) - side // 2
        for k in range(n_templates):
            volume = out[k, n]
            volume[:, :] = 1.0
            _multiply_scale(volume, powered, fine, templates[k, n, :c1], left, top, STRIDES[0], gamma)
            _multiply_scale(volume, powered, middle, templates[k, n, c1:c2], left, top, STRIDES[1], gamma)
            _multiply_scale(volume, powered, coarse, templates[k, n, c2:], left, top, STRIDES[2], gamma)


def evidence(maps: FeatureMaps, templates: FloatArray, centre: FloatArray, side: int, gamma: float) -> FloatArray:
    """log C (K, N, S, S) of K templates a point around centre (N, 2), pixels.

    maps       feature maps (h, w, C), channels last, unit length
    templates  (K, N, C1 + C2 + C3) unit length per scale
    side       S of the square, pixels, odd
    Borders repeat; zero everywhere around a lost (NaN) centre.
    """
    volumes = np.empty((*templates.shape[:2], side, side), np.float64)
    _volumes(*maps, templates, centre, gamma, volumes)
    return np.log(volumes, out=volumes).astype(np.float32)


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


def evidence_slow(
    maps: FeatureMaps, templates: FloatArray, centre: FloatArray, side: int, gamma: float
) -> NDArray[np.float64]:
    """The plain twin of `evidence`: whole volumes, one array expression per step."""
    out = np.zeros((*templates.shape[:2], side, side))
    bounds = np.cumsum([0, *(m.shape[2] for m in maps)])
    steps = np.arange(side) - side // 2
    for n in np.flatnonzero(is_known(centre)):
        x, y = centre[n, 0] + steps, centre[n, 1] + steps
        for k in range(len(templates)):
            for s, (features, stride) in enumerate(zip(maps, STRIDES, strict=True)):
                template = templates[k, n, bounds[s] : bounds[s + 1]]
                cosine = features.astype(np.float64) @ template.astype(np.float64)
                powered = np.maximum(0.5 + 0.5 * cosine, FLOOR) ** gamma
                out[k, n] += np.log(_upsampled(powered, x, y, stride))
    return out


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
