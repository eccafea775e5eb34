"""Which segments of a tracked contour may be believed, and why the others may not.

Vendors hide this; here every criterion has a number (docs/strain.md). Per segment, as medians over its points:

    confidence        of the match, over the beat
    loop              how far points are from where they were one beat ago, the motion of all taken out
    forward-backward  how far apart two ways through the beat end: live, and back from diastasis
    roughness         how far points lie off the smooth curve through their neighbours

And, since the length of a segment is what lies between its two ends, the mean confidence around each end. An unsure
end takes away the value of its segments, as does a confidence that would do for the whole line; that runs on through
them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import strain
from specktrack.rt.config import StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.geometry import FloatArray, Geometry

ORDINARY_CONTOUR_MM = 180.0  # of a left ventricle; where pixels have no size, limits are the same share of it


@dataclass(frozen=True)
class SegmentQuality:
    """Judgement of the S segments of one contour over one beat."""

    quality: tuple[float, ...]  # (S,) 0..1: confidence, lowered by the worst of the distances
    why: tuple[str | None, ...]  # (S,) why a segment is rejected, for itself and for the line; None: it is not
    no_value: tuple[str | None, ...]  # (S,) why it has no value of its own, though the line may run through it

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(S,) segments that the whole line may run through."""
        return np.array([reason is None for reason in self.why])

    @property
    def has_value(self) -> NDArray[np.bool_]:
        """(S,) segments whose own length is to be believed, if they are accepted."""
        return np.array([reason is None for reason in self.no_value])


@dataclass(frozen=True)
class Strays:
    """Distances of n points over one beat, px; NaN where unknown."""

    loop: NDArray[np.float64]  # (n,)
    forward_backward: NDArray[np.float64] | None  # (n,); None: the beat was tracked one way only


def judge(
    tracks: FloatArray, strays: Strays, smoother: ContourSmoother, geometry: Geometry, config: StrainConfig
) -> SegmentQuality:
    """Judge a contour of n points over a beat: tracks (T, n, 3) x, y in source pixels, confidence."""
    mm = mm_per_px(tracks[0, :, :2], geometry)
    sample = tracks[:: max(len(tracks) // 8, 1)]
    rough = smoother.roughness(sample[..., :2], sample[..., 2])
    limits = [
        ("did not come back, off by", strays.loop, config.max_loop_mm),
        ("forward and backward differ by", strays.forward_backward, config.max_forward_backward_mm),
        ("off the smooth curve by", rough, config.max_roughness_mm),
    ]
    quality, why, no_value = [], [], []
    for (first, last), at_end in zip(smoother.point_ranges, end_confidence(tracks, smoother), strict=True):
        part = slice(first, last + 1)
        sure = float(np.median(np.nan_to_num(tracks[:, part, 2])))
        reason = f"confidence {sure:.2f}" if sure < config.min_beat_confidence else None
        worst = 0.0
        for words, distance_px, limit_mm in limits:
            if distance_px is None:
                continue
            off_mm = _median(distance_px[..., part]) * mm
            worst = max(worst, off_mm / limit_mm)
            if reason is None and off_mm > limit_mm:
                reason = f"{words} {off_mm:.1f} mm" if math.isfinite(off_mm) else "points were lost"
        quality.append(sure * min(max(1.0 - 0.5 * worst, 0.0), 1.0))
        why.append(reason)
        no_value.append(_doubt(sure, at_end, config))
    return SegmentQuality(tuple(quality), tuple(why), tuple(no_value))


def _doubt(sure: float, at_end: float, config: StrainConfig) -> str | None:
    """Why a segment of this confidence has no value of its own, or None."""
    if at_end < config.min_end_confidence:
        return f"confidence {at_end:.2f} at one end"
    return f"confidence {sure:.3f}: too little for a value of its own" if sure < config.min_value_confidence else None


def end_confidence(tracks: FloatArray, smoother: ContourSmoother) -> tuple[float, ...]:
    """(S,) mean confidence at the less sure end of each segment, a third of a segment to both sides of it.

    tracks (T, n, 3) x, y, confidence over a beat; a lost point counts as 0.
    """
    sure = np.nan_to_num(tracks[:, :, 2]).mean(axis=0)
    worst = []
    for first, last in smoother.point_ranges:
        reach = (last - first) // 3
        worst.append(min(float(sure[max(end - reach, 0) : end + reach + 1].mean()) for end in (first, last)))
    return tuple(worst)


def mm_per_px(at_ed: FloatArray, geometry: Geometry) -> float:
    """Pixel size; where it is not known, as if the contour (n, 2) were an ordinary one. For limits only."""
    if geometry.mm_per_px is not None:
        return geometry.mm_per_px[0]
    known = at_ed[np.isfinite(at_ed).all(axis=1)].astype(np.float64)
    length_px = strain.contour_length(known) if len(known) > 1 else 0.0
    return ORDINARY_CONTOUR_MM / length_px if length_px > 0.0 else 1.0


def _median(distance: NDArray[np.float64]) -> float:
    """Of the known ones; infinite when none is."""
    known = distance[np.isfinite(distance)]
    return float(np.median(known)) if len(known) else math.inf
