"""The measures of one finished beat: strain of a contour, global, per segment and per layer, its rates and its times.

Everything is Lagrangian and refers to the end-diastole (ED) the beat begins with; "end-systolic" is in the frame of
end-systole (ES), "peak" the most negative value of the whole beat.
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
from specktrack.rt.segment_quality import SegmentQuality
from specktrack.rt.strain_rate import peak_rates, strain_rate_per_s, time_to_peak_ms
from specktrack.rt.update import BeatMeasures, Group, LayerStrain
from specktrack.rt.wall_motion import steadied

UNSURE = "unsure at end-diastole or end-systole"


@dataclass(frozen=True)
class Moments:
    """When a beat of T frames has its events."""

    time_s: NDArray[np.float64]  # (T,) since ED
    es: int  # frame
    rest: int | None  # frame, the calmest of diastasis


def measure(
    tracks: FloatArray,
    drift_percent: float,
    moments: Moments,
    judged: SegmentQuality,
    smoother: ContourSmoother,
    geometry: Geometry,
    config: StrainConfig,
) -> BeatMeasures:
    """All measures of one contour.

    tracks         (T, n, 3) settled: x, y in source pixels, confidence
    drift_percent  strain points that were taken out of them
    """
    curves, lengths, unsure = contour_lengths(tracks, smoother, geometry, config)
    es = moments.es
    followed = np.isfinite(lengths[[0, es]]).all(axis=0)
    accepted = followed & ~unsure[[0, es]].any(axis=0) & judged.accepted
    sure_at_events = ~_unsure_at_events(tracks[[0, es]], smoother, geometry, config)
    reasons = tuple(
        reason or ((doubt or (None if sure else UNSURE)) if ok else UNSURE)
        for reason, doubt, ok, sure in zip(judged.why, judged.no_value, accepted, sure_at_events, strict=True)
    )
    rejected = int(np.count_nonzero(~accepted))
    known = nothing(len(tracks), len(accepted), f"{rejected} of {len(accepted)} segments rejected")
    known = replace(known, quality=judged.quality, segments_why=reasons)
    if rejected > strain.allowed_rejections(len(accepted)):
        return known
    whole = 100.0 * (lengths[:, followed].sum(axis=1) / lengths[0, followed].sum() - 1.0)
    has_value = accepted & judged.has_value & sure_at_events
    each = np.where(has_value, strain.lagrangian_percent(lengths, lengths[0]), np.nan)
    known = _with_segments(_with_curve(known, whole, moments), each, moments)
    excursion = strain.annulus_mm(curves[0], curves[es]) if geometry.mm_per_px is not None else (math.nan, math.nan)
    return replace(
        known,
        drift_percent=_known(drift_percent),
        annulus_mm=(_known(excursion[0]), _known(excursion[1])),
        mapse_mm=_known(0.5 * (excursion[0] + excursion[1])),
        why=_objection(drift_percent, float(whole[es]), config),
    )


def _unsure_at_events(
    points: FloatArray, smoother: ContourSmoother, geometry: Geometry, config: StrainConfig
) -> NDArray[np.bool_]:
    """(S,) segments too unsure for a value of their own in points (2, n, 3) at end-diastole or end-systole."""
    xy, least = geometry.to_mm(points[:, :, :2]), config.min_value_event_confidence
    return np.any([smoother.lost_segments(p, c, least) for p, c in zip(xy, points[:, :, 2], strict=True)], axis=0)


def nothing(n_frames: int, n_segments: int, why: str) -> BeatMeasures:
    """A beat that has no strain, and why."""
    return BeatMeasures(
        segments_percent=(None,) * n_segments,
        strain_percent=np.full(n_frames, np.nan, np.float32),
        rate_per_s=np.full(n_frames, np.nan, np.float32),
        why=why,
    )


def layers(
    tracks: FloatArray, groups: Sequence[Group], es: int, geometry: Geometry, config: StrainConfig
) -> tuple[LayerStrain, ...]:
    """End-systolic strain of every contour, when there are several (endocardium, mid-wall, epicardium).

    tracks (T, N, 3) of all groups. Segments without confidence at ED or ES do not count.
    """
    contours = [group for group in groups if group.kind == "contour"]
    if len(contours) < 2:
        return ()
    found = []
    for group in contours:
        smoother = ContourSmoother(group.count, config.knots, group.segments or config.segments)
        _, lengths, unsure = contour_lengths(tracks[[0, es]][:, group.slice], smoother, geometry, config)
        followed = np.asarray(np.isfinite(lengths).all(axis=0))
        rejected = np.count_nonzero(~followed | unsure.any(axis=0))
        is_enough = rejected <= strain.allowed_rejections(len(followed))
        value = strain.global_percent(lengths[1], lengths[0], followed) if is_enough else math.nan
        found.append(LayerStrain(group.name, _known(value)))
    return tuple(found)


def contour_lengths(
    points: FloatArray, smoother: ContourSmoother, geometry: Geometry, config: StrainConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of points (T, n, 3), the first frame being end-diastole: steadied and smoothed contours (T, M, 2) in mm, segment
    lengths (T, S), NaN where lost, and which (T, S) segments are lost or unsure.
    """
    xy, confidence = geometry.to_mm(points[:, :, :2]), points[:, :, 2]
    curves = smoother.smooth(steadied(xy, confidence, smoother), confidence)
    lengths = np.stack([strain.segment_lengths(curve, smoother.bounds) for curve in curves])
    lost, unsure = (
        np.stack([smoother.lost_segments(p, c, least) for p, c in zip(xy, confidence, strict=True)])
        for least in (0.0, config.min_event_confidence)
    )
    lengths[lost] = np.nan
    return curves, lengths, unsure


def _with_curve(known: BeatMeasures, whole: NDArray[np.float64], moments: Moments) -> BeatMeasures:
    """And what the curve (T,) of the whole line says."""
    peak, at_es = strain.peak_percent(whole), float(whole[moments.es])
    rate = strain_rate_per_s(moments.time_s, whole)
    return replace(
        known,
        gls_percent=_known(at_es),
        peak_percent=_known(peak),
        time_to_peak_ms=_known(time_to_peak_ms(moments.time_s, whole)),
        post_systolic_index_percent=_known(strain.post_systolic_index_percent(at_es, peak)),
        strain_percent=whole.astype(np.float32),
        rate_per_s=rate.astype(np.float32),
        peak_rates_per_s=tuple(_known(value) for value in peak_rates(rate, moments.es, moments.rest)),
    )


def _with_segments(known: BeatMeasures, each: NDArray[np.float64], moments: Moments) -> BeatMeasures:
    """And what the curves (T, S) of the segments say; NaN columns are rejected ones."""
    at_es = each[moments.es]
    peaks = np.array([strain.peak_percent(curve) for curve in each.T])
    index = np.array([strain.post_systolic_index_percent(a, b) for a, b in zip(at_es, peaks, strict=True)])
    times = np.array([time_to_peak_ms(moments.time_s, curve) for curve in each.T])
    index[~np.isfinite(peaks)] = np.nan
    spread = float(np.nanstd(times, ddof=1)) if np.count_nonzero(np.isfinite(times)) > 1 else math.nan
    return replace(
        known,
        segments_percent=strain.optional(at_es),
        segments_peak_percent=strain.optional(peaks),
        segments_post_systolic_index_percent=strain.optional(index),
        segments_time_to_peak_ms=strain.optional(times),
        dispersion_ms=_known(spread),
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _objection(drift_percent: float, es_percent: float, config: StrainConfig) -> str | None:
    """Why a measured beat should not be believed, or None."""
    if not math.isfinite(drift_percent):
        return "the drift of this beat could not be measured"
    if es_percent > 0.0:
        return f"the contour is longer at end-systole than at end-diastole ({es_percent:+.1f} %)"
    if drift_percent > config.max_drift_percent:
        return f"drift of {drift_percent:.1f} strain points is over {config.max_drift_percent:g}"
    return None
