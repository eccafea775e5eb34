"""Global longitudinal strain (GLS) from tracked contours, and how well it agrees with the truth.

Strain is that of the runtime (rt/strain.py): 13 smoothed knots, zero at end-diastole, segments that are too unsure
left out, no value when more than one of six is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specktrack.rt.config import StrainConfig
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.strain import StrainMeter

LIMITS_SD = 1.96  # 95 % of differences lie within, were they normal (Bland and Altman 1986)


@dataclass(frozen=True)
class StrainPair:
    """GLS of one clip, percent; `measured` is None when the tracker lost too much of the wall."""

    truth: float
    measured: float | None


@dataclass(frozen=True)
class Agreement:
    """Differences measured less truth, in strain points; NaN where there are too few clips."""

    n: int
    n_rejected: int  # clips without a measured value
    bias: float
    sd: float
    mad: float  # mean absolute difference
    lower: float  # limits of agreement
    upper: float


def gls_percent(
    contour: FloatArray,
    confidence: FloatArray | None,
    geometry: Geometry,
    ed_frames: Sequence[int],
    es_frames: Sequence[int],
) -> float | None:
    """End-systolic strain of a contour, mean over the beats of the clip, percent; None when it cannot be measured.

    contour     (K, T, 2) from base over apex to base, clip pixels
    confidence  (K, T); None: all points are believed
    Each end-systole is measured from the last end-diastole before it, or else from the first one after it.
    """
    sure = np.ones(contour.shape[:2], np.float32) if confidence is None else confidence
    points = geometry.to_mm(contour)
    values = []
    for es in es_frames:
        ed = _ed_of(es, ed_frames)
        if ed is None:
            continue
        meter = StrainMeter(StrainConfig(), len(points))
        meter.set_reference(points[:, ed], sure[:, ed], 0.0)
        sample = meter.update(points[:, es], sure[:, es], 1.0)
        values.append(np.nan if sample is None else sample.global_percent)
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _ed_of(es: int, ed_frames: Sequence[int]) -> int | None:
    before = [ed for ed in ed_frames if ed < es]
    after = [ed for ed in ed_frames if ed > es]
    return max(before) if before else min(after, default=None)


def agreement(pairs: Sequence[StrainPair]) -> Agreement:
    """Bland-Altman figures over clips."""
    differences = np.array([pair.measured - pair.truth for pair in pairs if pair.measured is not None])
    n = len(differences)
    bias = float(differences.mean()) if n else np.nan
    sd = float(differences.std(ddof=1)) if n > 1 else np.nan
    return Agreement(
        n=n,
        n_rejected=len(pairs) - n,
        bias=bias,
        sd=sd,
        mad=float(np.abs(differences).mean()) if n else np.nan,
        lower=bias - LIMITS_SD * sd,
        upper=bias + LIMITS_SD * sd,
    )
