"""Position accuracy of tracks against a reference, as the field reports it (EchoTracker, TAP-Vid, PIPs++).

Pixel errors are measured after rescaling both axes to 256 pixels, millimetres where the size of a pixel is known.
Thresholds are strict: an error of exactly k is not within k. The query frame never counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

THRESHOLDS_PX = (1, 2, 4, 8, 16)
SURVIVAL_PX = (16.0, 50.0)
EVALUATION_SIDE_PX = 256.0
NAN = float("nan")

Mask = NDArray[np.bool_]
Spacing = tuple[float, float]  # mm per pixel in x and y


@dataclass(frozen=True)
class Accuracy:
    """Figures of one clip or, averaged, of a set."""

    within: tuple[float, ...]  # share of positions within 1, 2, 4, 8, 16 px
    median_trajectory_error_px: float
    survival_16: float
    survival_50: float
    median_trajectory_error_mm: float = NAN  # NaN: the size of a pixel is not known
    p95_mm: float = NAN  # 95 % of positions are nearer than this

    @property
    def average(self) -> float:
        """Position accuracy: mean over the thresholds, 0..1."""
        return float(np.mean(self.within))


@dataclass(frozen=True)
class Errors:
    """How far every point of a clip is off in every frame, and which of these positions are judged; all (N, T)."""

    px: FloatArray  # at 256 x 256; infinite for a lost point
    mm: FloatArray | None
    judged: Mask  # seen in truth and not in the query frame
    later: Mask  # every frame but the query frame: what survival is counted over
    alive: tuple[Mask, Mask]  # not yet more than 16, 50 px away


def errors_px(tracks: FloatArray, truth: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Distances (N, T) at 256 x 256 of tracks and truth (N, T, 2) in pixels of a clip of (height, width).

    A lost point (NaN) counts as infinitely wrong: giving up is not accuracy.
    """
    return _distance(tracks, truth, (EVALUATION_SIDE_PX / size[1], EVALUATION_SIDE_PX / size[0]))


def _distance(tracks: FloatArray, truth: FloatArray, scale: Spacing) -> FloatArray:
    distance = np.linalg.norm((tracks - truth) * np.asarray(scale), axis=-1)
    return np.asarray(np.where(np.isnan(distance), np.inf, distance), np.float32)


def measure(
    tracks: FloatArray,
    truth: FloatArray,
    visible: Mask,
    query_frame: int,
    size: tuple[int, int],
    mm_per_px: Spacing | None = None,
) -> Errors:
    """Errors of one clip; tracks and truth (N, T, 2) in its pixels, visible (N, T), size (height, width)."""
    px = errors_px(tracks, truth, size)
    mm = _distance(tracks, truth, mm_per_px) if mm_per_px is not None else None
    later = np.ones(visible.shape, np.bool_)
    later[:, query_frame] = False
    lost = [(px > threshold) & visible & later for threshold in SURVIVAL_PX]
    return Errors(px, mm, visible & later, later, (_alive(lost[0], query_frame), _alive(lost[1], query_frame)))


def _alive(lost: Mask, query_frame: int) -> Mask:
    """True (N, T) until a point is first lost, time running away from the query frame in both directions."""
    forward = ~np.logical_or.accumulate(lost[:, query_frame:], axis=1)
    backward = ~np.logical_or.accumulate(lost[:, : query_frame + 1][:, ::-1], axis=1)[:, ::-1]
    return np.concatenate((backward[:, :-1], forward), axis=1)


def figures(errors: Errors, chosen: Mask | None = None) -> Accuracy | None:
    """Accuracy over the chosen (N, T) positions of a clip, all unless said; None when none of them is judged."""
    chosen = errors.later if chosen is None else chosen & errors.later
    judged = errors.judged & chosen
    if not judged.any():
        return None
    px = errors.px[judged]
    return Accuracy(
        within=tuple(float((px < k).mean()) for k in THRESHOLDS_PX),
        median_trajectory_error_px=_mean_of_medians(errors.px, judged),
        survival_16=float(errors.alive[0][chosen].mean()),
        survival_50=float(errors.alive[1][chosen].mean()),
        median_trajectory_error_mm=NAN if errors.mm is None else _mean_of_medians(errors.mm, judged),
        p95_mm=NAN if errors.mm is None else float(np.percentile(errors.mm[judged], 95, method="higher")),
    )


def _mean_of_medians(error: FloatArray, judged: Mask) -> float:
    """Mean over points of each point's median over its judged frames."""
    return float(np.mean([np.median(row[mask]) for row, mask in zip(error, judged, strict=True) if mask.any()]))


def accuracy(
    tracks: FloatArray,
    truth: FloatArray,
    visible: Mask,
    query_frame: int,
    size: tuple[int, int],
    mm_per_px: Spacing | None = None,
) -> Accuracy:
    """Figures of one clip (see `measure`); raises ValueError when no point is seen outside the query frame."""
    found = figures(measure(tracks, truth, visible, query_frame, size, mm_per_px))
    if found is None:
        raise ValueError(f"no point is visible in any frame but frame {query_frame}, the query")
    return found


def mean_accuracy(parts: Sequence[Accuracy]) -> Accuracy:
    """Average over clips, each clip counting the same; millimetres over the clips that have them."""
    return Accuracy(
        within=tuple(float(np.mean(column)) for column in zip(*(p.within for p in parts), strict=True)),
        median_trajectory_error_px=float(np.mean([p.median_trajectory_error_px for p in parts])),
        survival_16=float(np.mean([p.survival_16 for p in parts])),
        survival_50=float(np.mean([p.survival_50 for p in parts])),
        median_trajectory_error_mm=mean_of_known([p.median_trajectory_error_mm for p in parts]),
        p95_mm=mean_of_known([p.p95_mm for p in parts]),
    )


def mean_of_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN when there is none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else NAN
