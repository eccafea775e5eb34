"""A finished beat, settled: its frames cut out, the drift of its points shared out, its strain measured once more.

One beat later the heart is at the same phase again, so a point that did not come back to where it was has drifted.
What all points have in common is the probe or breathing and stays; the rest is drift, taken out linearly over the
beat. The live values before were provisional.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import strain
from specktrack.rt.config import StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.update import BeatEvents, Group, SettledBeat

MIN_FRAMES = 8  # of a beat
ROBUST_ROUNDS = 5
QUIET_PX = 0.5  # residuals below this are matching noise, not outliers


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of the history."""

    seq: int
    t_acq_ns: int
    points: FloatArray  # (N, 3) x, y, confidence


class BeatHistory:
    """Ring of the tracked points of recent frames, enough of them for the slowest beat."""

    def __init__(self, n_points: int, capacity: int = 512) -> None:
        self._capacity = capacity
        self.reset(n_points)

    def reset(self, n_points: int) -> None:
        """Forget all frames; from now on there are n_points."""
        self._seq = np.zeros(self._capacity, np.int64)
        self._t_acq_ns = np.zeros(self._capacity, np.int64)
        self._points = np.zeros((self._capacity, n_points, 3), np.float32)
        self._count = 0

    def update(self, seq: int, t_acq_ns: int, points: FloatArray) -> None:
        """Remember the points (N, 3) of one frame; x, y in source pixels, confidence; lost points NaN, NaN, 0."""
        slot = self._count % self._capacity
        self._seq[slot], self._t_acq_ns[slot] = seq, t_acq_ns
        self._points[slot] = points
        self._count += 1

    def nearest(self, time_s: float) -> RecordedFrame | None:
        """The frame nearest to a time on the sender's clock, such as a confirmed ED; None beyond the history."""
        order = self._order()
        index = self._index(order, time_s)
        if index is None:
            return None
        slot = order[index]
        return RecordedFrame(int(self._seq[slot]), int(self._t_acq_ns[slot]), self._points[slot].copy())

    def settle(
        self, events: BeatEvents, groups: Sequence[Group], geometry: Geometry, config: StrainConfig
    ) -> SettledBeat | None:
        """The beat between two end-diastoles, or None when its frames were not all remembered.

        The first contour among the groups is the measured one; without any, the tracks are settled and nothing
        is measured.
        """
        order = self._order()
        ed, end = self._index(order, events.ed_s), self._index(order, events.next_ed_s)
        if ed is None or end is None or end - ed < MIN_FRAMES:
            return None
        slots = order[ed : end + 1]
        es = self._index(order, events.es_s)
        rest = self._index(order, events.diastasis_s) if events.diastasis_s is not None else None
        tracks = close_loop(self._points[slots], self._t_acq_ns[slots])
        contour = next((g for g in groups if g.kind == "contour"), None)
        es_index = min(max((es or ed) - ed, 0), end - ed)
        if contour is None:
            measured = _nothing(len(slots), "no contour was set, so there is no strain")
        else:
            raw = self._points[slots][:, contour.slice]
            measured = _measure(raw, tracks[:, contour.slice], es_index, contour, geometry, config)
        return SettledBeat(
            beat=events.beat,
            seq=self._seq[slots],
            t_acq_ns=self._t_acq_ns[slots],
            tracks=tracks,
            ed_index=0,
            es_index=es_index,
            next_ed_index=end - ed,
            diastasis_index=min(max(rest - ed, 0), end - ed) if rest is not None else None,
            heart_rate_bpm=events.heart_rate_bpm,
            gls_percent=measured.gls_percent,
            peak_percent=measured.peak_percent,
            segments_percent=measured.segments_percent,
            strain_percent=measured.strain_percent,
            drift_percent=measured.drift_percent,
            mapse_mm=measured.mapse_mm,
            quality=measured.quality,
            accepted=measured.why is None,
            why=measured.why,
        )

    def _order(self) -> NDArray[np.int64]:
        return np.arange(max(self._count - self._capacity, 0), self._count) % self._capacity

    def _index(self, order: NDArray[np.int64], time_s: float) -> int | None:
        """Position in `order` of the frame nearest to a time; None when the time lies outside the history."""
        if len(order) < 2:
            return None
        times = self._t_acq_ns[order] * 1e-9
        slack = float(np.median(np.diff(times)))
        if not times[0] - slack <= time_s <= times[-1] + slack:
            return None
        return int(np.abs(times - time_s).argmin())


def close_loop(points: FloatArray, t_acq_ns: NDArray[np.int64]) -> FloatArray:
    """One beat's points (T, N, 3) less their drift, shared out linearly in time; confidence untouched.

    A point lost in the first or last frame has no closure of its own and is left as it is.
    """
    own = drift_of(points[0, :, :2], points[-1, :, :2])
    share = (t_acq_ns - t_acq_ns[0]) / max(int(t_acq_ns[-1] - t_acq_ns[0]), 1)
    closed = points.copy()
    closed[:, :, :2] -= (share[:, None, None] * np.nan_to_num(own)).astype(np.float32)
    return closed


def drift_of(at_ed: FloatArray, at_next_ed: FloatArray) -> NDArray[np.float64]:
    """How far each point (N, 2) strayed over one beat beyond the rigid motion common to all; NaN where lost.

    Rigid, not affine: a common change of size is exactly what drift does to strain. Robust: points that strayed
    far do not take the others along.
    """
    a, b = at_ed.astype(np.float64), at_next_ed.astype(np.float64)
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    drift = np.full(a.shape, np.nan)
    if not known.any():
        return drift
    a, b = a[known], b[known]
    weight = np.ones(len(a))
    residual = np.zeros_like(a)
    for _ in range(ROBUST_ROUNDS):
        residual = b - _rigid(a, b, weight)
        size = np.hypot(*residual.T)
        scale = max(1.5 * float(np.median(size)), QUIET_PX)
        weight = np.minimum(1.0, scale / np.maximum(size, 1e-9))
    drift[known] = residual
    return drift


def _rigid(a: NDArray[np.float64], b: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points a (N, 2) moved by the rotation and shift that brings them nearest to b; one point alone only shifts."""
    share = (weight / weight.sum())[:, None]
    from_a, from_b = (a * share).sum(axis=0), (b * share).sum(axis=0)
    p, q = a - from_a, b - from_b
    cosine = float((share * p * q).sum())
    sine = float((share[:, 0] * (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])).sum())
    size = math.hypot(cosine, sine)
    c, s = (cosine / size, sine / size) if size > 0.0 else (1.0, 0.0)
    moved: NDArray[np.float64] = p @ np.array([[c, s], [-s, c]]) + from_b
    return moved


@dataclass(frozen=True)
class _Measured:
    """The measures of a settled contour, as in SettledBeat."""

    gls_percent: float | None
    peak_percent: float | None
    segments_percent: tuple[float | None, ...]
    strain_percent: FloatArray
    drift_percent: float | None
    mapse_mm: float | None
    quality: tuple[float, ...]
    why: str | None


def _nothing(n_frames: int, why: str) -> _Measured:
    return _Measured(None, None, (), np.full(n_frames, np.nan, np.float32), None, None, (), why)


def _measure(
    raw: FloatArray, closed: FloatArray, es: int, group: Group, geometry: Geometry, config: StrainConfig
) -> _Measured:
    """Strain, quality and acceptance of one contour; raw and closed (T, n, 3), with and without its drift."""
    smoother = ContourSmoother(group.count, config.knots, group.segments or config.segments)
    curves, lengths = _lengths(closed, smoother, geometry, config)
    _, raw_lengths = _lengths(raw[[0, -1]], smoother, geometry, config)
    loop_px = np.hypot(*drift_of(raw[0, :, :2], raw[-1, :, :2]).T)
    quality, is_far = _segment_quality(closed[:, :, 2], loop_px, raw[0, :, :2], smoother, geometry, config)
    accepted = np.isfinite(lengths[[0, es]]).all(axis=0) & ~is_far
    rejected = int(np.count_nonzero(~accepted))
    if rejected > strain.allowed_rejections(len(accepted)):
        why = f"{rejected} of {len(accepted)} segments rejected"
        return replace(_nothing(len(raw), why), segments_percent=(None,) * len(accepted), quality=quality)
    curve = 100.0 * (lengths[:, accepted].sum(axis=1) / lengths[0, accepted].sum() - 1.0)
    drift = abs(strain.global_percent(raw_lengths[1], raw_lengths[0], accepted))
    each = np.where(accepted, strain.lagrangian_percent(lengths[es], lengths[0]), np.nan)
    mapse = strain.mapse_mm(curves[0], curves[es]) if geometry.mm_per_px is not None else math.nan
    return _Measured(
        gls_percent=float(curve[es]),
        peak_percent=strain.peak_percent(curve),
        segments_percent=strain.optional(each),
        strain_percent=curve.astype(np.float32),
        drift_percent=drift if math.isfinite(drift) else None,
        mapse_mm=mapse if math.isfinite(mapse) else None,
        quality=quality,
        why=_objection(drift, config),
    )


def _lengths(
    points: FloatArray, smoother: ContourSmoother, geometry: Geometry, config: StrainConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smoothed contours (T, M, 2) in mm and segment lengths (T, S), NaN where a segment is lost; points (T, n, 3)."""
    xy, confidence = geometry.to_mm(points[:, :, :2]), points[:, :, 2]
    curves = np.stack([smoother.smooth(p, c) for p, c in zip(xy, confidence, strict=True)])
    lengths = np.stack([strain.segment_lengths(curve, smoother.bounds) for curve in curves])
    lost = [smoother.lost_segments(p, c, config.min_confidence) for p, c in zip(xy, confidence, strict=True)]
    lengths[np.stack(lost)] = np.nan
    return curves, lengths


def _segment_quality(
    confidence: FloatArray,
    loop_px: NDArray[np.float64],
    at_ed: FloatArray,
    smoother: ContourSmoother,
    geometry: Geometry,
    config: StrainConfig,
) -> tuple[tuple[float, ...], NDArray[np.bool_]]:
    """Per segment: median confidence, lowered by how far its loop stayed open, and whether that is too far.

    confidence (T, n); loop_px (n,) NaN where lost; at_ed (n, 2). Without mm the limit is the same share of a
    contour of 180 mm.
    """
    x_mm = geometry.mm_per_px[0] if geometry.mm_per_px is not None else _assumed_mm_per_px(at_ed)
    quality, far = [], []
    for first, last in smoother.point_ranges:
        loop = loop_px[first : last + 1]
        loop_mm = float(np.nanmedian(loop)) * x_mm if np.isfinite(loop).any() else math.inf
        sure = float(np.median(np.nan_to_num(confidence[:, first : last + 1])))
        quality.append(sure * min(max(1.0 - 0.5 * loop_mm / config.max_loop_mm, 0.0), 1.0))
        far.append(loop_mm > config.max_loop_mm)
    return tuple(quality), np.array(far)


def _assumed_mm_per_px(at_ed: FloatArray) -> float:
    """Pixel size if the contour is as long as that of an ordinary left ventricle; used for thresholds only."""
    known = at_ed[np.isfinite(at_ed).all(axis=1)].astype(np.float64)
    length_px = strain.contour_length(known) if len(known) > 1 else 0.0
    return 180.0 / length_px if length_px > 0.0 else 1.0


def _objection(drift_percent: float, config: StrainConfig) -> str | None:
    """Why a measured beat should not be believed, or None."""
    if not math.isfinite(drift_percent):
        return "the drift of this beat could not be measured"
    if drift_percent > config.max_drift_percent:
        return f"drift of {drift_percent:.1f} strain points is over {config.max_drift_percent:g}"
    return None
