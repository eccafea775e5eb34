"""The matching head in the stream: the evidence of each template, three scales multiplied.

    log C_k = sum_i log up(C_ik^gamma)          (arXiv 2507.10127, section on cost volumes)

read one pixel apart in a square around the place where a point is expected; nothing is computed elsewhere. Cosines are
mapped to (0, 1] by (1 + c) / 2. head_kernel.py does it, training/head.py is the torch twin, `evidence_slow` below the
numpy twin; tests hold all three together. What becomes of the evidence: position.py.

Feature maps lie channels last (h, w, C), unit length, strides 2, 4, 8; cell j of stride s is centred on pixel s*j+0.5.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.fast_math import FAST
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.halves import in_halves
from specktrack.rt.head_kernel import CELL_OFFSET_PX, log_volumes

STRIDES = (2, 4, 8)
FLOOR = 0.01

Curve = NDArray[np.float64]
FeatureMaps = tuple[FloatArray, FloatArray, FloatArray]


def evidence(maps: FeatureMaps, templates: FloatArray, centre: FloatArray, side: int, gamma: float) -> FloatArray:
    """log C (K, N, S, S) of K templates a point around centre (N, 2), pixels.

    maps       feature maps (h, w, C), channels last, unit length
    templates  (K, N, C1 + C2 + C3) unit length per scale
    side       S of the square, pixels, odd
    Borders repeat; zero everywhere around a lost (NaN) centre.
    """
    volumes = np.empty((*templates.shape[:2], side, side), np.float32)
    in_halves(log_volumes, len(centre), *maps, templates, centre, gamma, volumes)
    return volumes


def sample_templates(maps: FeatureMaps, points: FloatArray) -> FloatArray:
    """Unit features (N, C1 + C2 + C3) at points (N, 2), pixels; a NaN point gives a zero template."""
    templates = np.zeros((len(points), sum(m.shape[2] for m in maps)), np.float32)
    first = 0
    for features, stride in zip(maps, STRIDES, strict=True):
        _sample(features, points, stride, templates[:, first : first + features.shape[2]])
        first += features.shape[2]
    return templates


@njit(cache=True, fastmath=FAST, nogil=True)
def _sample(features: FloatArray, points: FloatArray, stride: int, out: FloatArray) -> None:
    """out (N, C) = unit features of one map (h, w, C), read bilinearly; borders repeat, a lost point keeps zeros."""
    height, width, channels = features.shape
    for n in range(points.shape[0]):
        if not (math.isfinite(points[n, 0]) and math.isfinite(points[n, 1])):
            continue
        u, v = (points[n, 0] - CELL_OFFSET_PX) / stride, (points[n, 1] - CELL_OFFSET_PX) / stride
        x, y = math.floor(u), math.floor(v)
        fx, fy = np.float32(u - x), np.float32(v - y)
        x0, x1 = min(max(x, 0), width - 1), min(max(x + 1, 0), width - 1)
        y0, y1 = min(max(y, 0), height - 1), min(max(y + 1, 0), height - 1)
        squares = np.float32(0.0)
        for c in range(channels):
            top = features[y0, x0, c] * (1 - fx) + features[y0, x1, c] * fx
            bottom = features[y1, x0, c] * (1 - fx) + features[y1, x1, c] * fx
            value = np.float32(top * (1 - fy) + bottom * fy)
            out[n, c] = value
            squares += value * value
        scale = np.float32(1.0) / max(np.float32(math.sqrt(squares)), np.float32(1e-6))
        for c in range(channels):
            out[n, c] *= scale


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
