"""Position accuracy of tracks against a reference, as the field reports it (EchoTracker, TAP-Vid, PIPs++).

Errors are measured after rescaling both axes to 256 pixels. Thresholds are strict: an error of exactly k is not
within k. The query frame never counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

THRESHOLDS_PX = (1, 2, 4, 8, 16)
EVALUATION_SIDE_PX = 256.0


@dataclass(frozen=True)
class Accuracy:
    """Figures of one clip or, averaged, of a set."""

    within: tuple[float, ...]  # share of positions within 1, 2, 4, 8, 16 px
    median_trajectory_error_px: float
    survival_16: float
    survival_50: float

    @property
    def average(self) -> float:
        """Position accuracy: mean over the thresholds, 0..1."""
        return float(np.mean(self.within))


def errors_px(tracks: FloatArray, truth: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Distances (N, T) at 256 x 256 of tracks and truth (N, T, 2) in pixels of a clip of (height, width).

    A lost point (NaN) counts as infinitely wrong: giving up is not accuracy.
    """
    scale = np.asarray([EVALUATION_SIDE_PX / size[1], EVALUATION_SIDE_PX / size[0]])
    distance = np.linalg.norm((tracks - truth) * scale, axis=-1)
    return np.asarray(np.where(np.isnan(distance), np.inf, distance), np.float32)


def accuracy(
    tracks: FloatArray, truth: FloatArray, visible: NDArray[np.bool_], query_frame: int, size: tuple[int, int]
) -> Accuracy:
    """Figures of one clip; tracks and truth (N, T, 2), visible (N, T), all frames but the query count."""
    error = errors_px(tracks, truth, size)
    counts = visible.copy()
    counts[:, query_frame] = False
    within = tuple(float((error[counts] < k).mean()) for k in THRESHOLDS_PX)
    medians = [np.median(error[n, counts[n]]) for n in range(len(error)) if counts[n].any()]
    survivals = (_survival(error, counts, query_frame, threshold) for threshold in (16.0, 50.0))
    return Accuracy(within, float(np.mean(medians)), *survivals)


def _survival(error: FloatArray, counts: NDArray[np.bool_], query_frame: int, threshold_px: float) -> float:
    """Mean share of frames, the query left out, before a point is first more than the threshold away.

    Time runs away from the query frame in both directions.
    """
    lost = (error > threshold_px) & counts
    forward = ~np.logical_or.accumulate(lost[:, query_frame + 1 :], axis=1)
    backward = ~np.logical_or.accumulate(lost[:, :query_frame][:, ::-1], axis=1)
    return float(np.concatenate((backward, forward), 1).mean())


def mean_accuracy(parts: list[Accuracy]) -> Accuracy:
    """Average over clips, each clip counting the same."""
    within = tuple(float(np.mean(column)) for column in zip(*(p.within for p in parts), strict=True))
    return Accuracy(
        within,
        float(np.mean([p.median_trajectory_error_px for p in parts])),
        float(np.mean([p.survival_16 for p in parts])),
        float(np.mean([p.survival_50 for p in parts])),
    )
