"""Lagrangian strain of a contour, global and per segment: formulas, kernels, and the meter of the live stream.

Strain is the change of length since end-diastole (ED) in percent, negative when shortening. The global value is
that of the whole line: the ED-length-weighted mean of its segments. Time is an argument; nothing depends on the
frame rate. Live values are provisional, drift is closed when a beat is settled (beat.py).
"""

import math
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.config import StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.geometry import FloatArray
from specktrack.rt.strain_rate import RATE_SPAN_S
from specktrack.rt.update import StrainSample

Curve = NDArray[np.float64]
RATE_FRAMES = 16  # of the past that a live strain rate may look at


@njit(cache=True)
def contour_length(contour: NDArray[np.float64]) -> float:
    """Length of a polyline (N, 2), in its unit; NaN as soon as one point is lost: it is never bridged over."""
    length = 0.0
    for i in range(contour.shape[0] - 1):
        length += math.hypot(contour[i + 1, 0] - contour[i, 0], contour[i + 1, 1] - contour[i, 1])
    return length


@njit(cache=True)
def segment_lengths(contour: NDArray[np.float64], bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Length of each segment (S,) of a contour (N, 2); bounds (S + 1,): neighbours share their boundary point."""
    lengths = np.empty(bounds.shape[0] - 1)
    for s in range(lengths.shape[0]):
        length = 0.0
        for i in range(bounds[s], bounds[s + 1]):
            length += math.hypot(contour[i + 1, 0] - contour[i, 0], contour[i + 1, 1] - contour[i, 1])
        lengths[s] = length
    return lengths


def segment_lengths_numpy(contour: NDArray[np.float64], bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Slow twin of `segment_lengths`."""
    steps = np.hypot(*np.diff(contour, axis=0).T)
    return np.array([steps[a:b].sum() for a, b in pairwise(bounds)])


def lagrangian_percent(length: Curve | float, length_at_ed: Curve | float) -> Curve:
    """Change of length since end-diastole, percent; negative is shortening, NaN where a length is unknown."""
    return 100.0 * (np.asarray(length, np.float64) / np.asarray(length_at_ed, np.float64) - 1.0)


def natural_percent(lagrangian: Curve | float) -> Curve:
    """Lagrangian to natural (logarithmic) strain, both in percent."""
    return 100.0 * np.log1p(np.asarray(lagrangian, np.float64) / 100.0)


def lagrangian_from_natural_percent(natural: Curve | float) -> Curve:
    """Natural to Lagrangian strain, both in percent."""
    return 100.0 * np.expm1(np.asarray(natural, np.float64) / 100.0)


def global_percent(lengths: Curve, lengths_at_ed: Curve, accepted: NDArray[np.bool_]) -> float:
    """Strain of the whole line made of the accepted segments; lengths, lengths_at_ed and accepted are (S,)."""
    total_at_ed = float(lengths_at_ed[accepted].sum())
    return float(lagrangian_percent(float(lengths[accepted].sum()), total_at_ed)) if total_at_ed > 0 else math.nan


def end_systolic_percent(time_s: Curve, strain_percent: Curve, es_s: float) -> float:
    """Strain in the frame nearest to end-systole."""
    return float(strain_percent[np.abs(time_s - es_s).argmin()])


def peak_percent(strain_percent: Curve) -> float:
    """The most negative strain of the beat, also when it comes after end-systole; NaN when nothing is known."""
    return float(np.nanmin(strain_percent)) if np.isfinite(strain_percent).any() else math.nan


def post_systolic_index_percent(es_percent: float, peak: float) -> float:
    """Share of the peak strain that was reached only after end-systole, percent; 0 when nothing shortened."""
    return 100.0 * (peak - es_percent) / peak if peak < 0.0 else 0.0


def compensate_drift(time_s: Curve, strain_percent: Curve, next_ed_s: float) -> tuple[Curve, float]:
    """Takes a linear drift out of one beat's curve (T,), which starts at its ED, so that it ends where it began.

    Returns the corrected curve and the amount removed at the next ED, in strain points. Exact for a drift that
    adds to the strain; for one that stretches the lengths it leaves a few percent of the strain.
    """
    drift = float(np.interp(next_ed_s, time_s, strain_percent) - strain_percent[0])
    return strain_percent - drift * (time_s - time_s[0]) / (next_ed_s - time_s[0]), drift


def annulus_mm(ed_mm: Curve, es_mm: Curve) -> tuple[float, float]:
    """Systolic excursion of the two bases of a contour towards the ED apex, mm: first and last point.

    ed_mm, es_mm  (N, 2) contour from base over apex to base at end-diastole and end-systole
    Positive towards the apex, which is the point farthest from the middle of the annulus; NaN when a base is lost.
    Their mean is MAPSE in a left ventricular view; the one at the free wall is TAPSE in a right ventricular view.
    """
    bases = ed_mm[[0, -1]]
    reach = np.hypot(*(ed_mm - bases.mean(axis=0)).T)
    if not np.isfinite(reach).any():
        return math.nan, math.nan
    axis = ed_mm[np.nanargmax(reach)] - bases
    axis /= np.hypot(axis[:, 0], axis[:, 1])[:, None]
    first, last = ((es_mm[[0, -1]] - bases) * axis).sum(axis=1)
    return float(first), float(last)


def mapse_mm(ed_mm: Curve, es_mm: Curve) -> float:
    """Mitral annular plane systolic excursion: mean of both bases, mm; see `annulus_mm`."""
    return float(np.mean(annulus_mm(ed_mm, es_mm)))


def allowed_rejections(segments: int) -> int:
    """How many segments of a view may be missing before it has no global strain: one of six."""
    return segments // 6


class StrainMeter:
    """Live strain of one contour: remembers its lengths at end-diastole and the last few values for the rate."""

    def __init__(self, config: StrainConfig, n_points: int, segments: int | None = None) -> None:
        self._min_confidence = config.min_confidence
        segments = segments or config.segments
        self._smoother = ContourSmoother(n_points, config.knots, segments)
        self._recent_s = np.full(RATE_FRAMES, -np.inf)  # newest last
        self._recent = np.full((RATE_FRAMES, segments), np.nan)  # lengths, so that a new zero does not touch the rate
        self._at_ed: Curve | None = None  # (S,), NaN for a segment lost at ED
        self._unsure_at_ed = np.zeros(segments, np.bool_)
        self._ed_s = 0.0

    @property
    def has_reference(self) -> bool:
        """False until the first `set_reference`."""
        return self._at_ed is not None

    def reset(self) -> None:
        """Forget the reference: there is no strain until the next one."""
        self._at_ed = None
        self._recent_s[:] = -np.inf

    def lengths(self, points_mm: FloatArray, confidence: FloatArray) -> Curve:
        """Length of each segment (S,) of the smoothed contour, in the unit of points_mm (N, 2); NaN where lost."""
        lengths = segment_lengths(self._smoother.smooth(points_mm, confidence), self._smoother.bounds)
        lengths[self._smoother.lost_segments(points_mm, confidence, 0.0)] = np.nan
        return lengths

    def _is_unsure(self, points_mm: FloatArray, confidence: FloatArray) -> NDArray[np.bool_]:
        return self._smoother.lost_segments(points_mm, confidence, self._min_confidence)

    def length(self, points_mm: FloatArray, confidence: FloatArray) -> float | None:
        """Length of the whole smoothed contour, for the phase; None when a segment is lost."""
        total = float(self.lengths(points_mm, confidence).sum())
        return total if math.isfinite(total) else None

    def set_reference(self, points_mm: FloatArray, confidence: FloatArray, time_s: float) -> None:
        """Zero strain is here: the points (N, 2) and confidence (N,) of the end-diastolic frame."""
        self._at_ed = self.lengths(points_mm, confidence)
        self._unsure_at_ed = self._is_unsure(points_mm, confidence)
        self._ed_s = time_s

    def update(self, points_mm: FloatArray, confidence: FloatArray, time_s: float) -> StrainSample | None:
        """Strain of one frame, or None before the first reference.

        points_mm   (N, 2) float32, mm (or pixels where mm are unknown: strain is a ratio), lost points NaN
        confidence  (N,) float32, 0..1
        Segments that are lost or unsure, here or at ED, are None; with more than one of six, the global value is NaN.
        It is that of the whole line: an unsure segment still counts, for leaving it out would change what is measured
        from frame to frame; only where points are lost there is no line.
        """
        if self._at_ed is None:
            return None
        lengths = self.lengths(points_mm, confidence)
        percent = lagrangian_percent(lengths, self._at_ed)
        followed = np.isfinite(percent)
        percent[self._is_unsure(points_mm, confidence) | self._unsure_at_ed] = np.nan
        is_enough = np.count_nonzero(np.isnan(percent)) <= allowed_rejections(len(percent))
        overall = global_percent(lengths, self._at_ed, followed) if is_enough else math.nan
        return StrainSample(
            global_percent=overall,
            segments_percent=optional(percent),
            rate_per_s=self._rate(time_s, lengths, followed) if is_enough else None,
            since_ed_s=time_s - self._ed_s,
        )

    def _rate(self, time_s: float, lengths: Curve, followed: NDArray[np.bool_]) -> float | None:
        """Slope of the strain over the last few frames, 1/s; None while there are fewer than three."""
        self._recent_s[:-1], self._recent[:-1] = self._recent_s[1:], self._recent[1:]
        self._recent_s[-1], self._recent[-1] = time_s, lengths
        whole = self._recent[:, followed].sum(axis=1)
        use = (self._recent_s > time_s - RATE_SPAN_S) & np.isfinite(whole)
        if self._at_ed is None or np.count_nonzero(use) < 3:
            return None
        t = self._recent_s[use] - self._recent_s[use].mean()
        span = float((t * t).sum())
        return float((t * whole[use]).sum() / span / self._at_ed[followed].sum()) if span > 0 else None


def optional(values: Curve) -> tuple[float | None, ...]:
    """NaN becomes None: a rejected segment has no number."""
    return tuple(float(v) if math.isfinite(v) else None for v in values)


def warm_up() -> None:
    """Compile or load the kernels (0.3 s each) before the first frame."""
    segment_lengths(np.zeros((3, 2)), np.array([0, 1, 2]))
    contour_length(np.zeros((3, 2)))
    ContourSmoother(7, 4, 2).lost_segments(np.zeros((7, 2), np.float32), np.ones(7, np.float32), 0.3)
