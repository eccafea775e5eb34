"""What one tracker did on one clip, as figures small enough to keep: one file per tracker and clip.

The clip's true contour is followed together with its points, so that GLS comes from the same run as the accuracy.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import ConfigDict

from specktrack.rt.config import StrainConfig
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.settings import Section
from specktrack.training.cases import Case
from specktrack.training.follow import Followed, Follower
from specktrack.training.metrics import Accuracy, Errors, Mask, figures, measure
from specktrack.training.phases import PHASES
from specktrack.training.strain_agreement import StrainPair, gls_percent

LAYERS = ("endocardial third", "middle third", "epicardial third", "other tissue")
DISTANCES = ((1, 5), (6, 10), (11, 20), (21, 40), (41, 10**6))  # frames from the query, both ends included
CONFIDENCE_BINS = 10  # of equal width, from 0 to 1
CONFIDENT = 0.8
GOOD_PX = 4.0
FEWEST_CONTOUR_POINTS = StrainConfig().segments + 1


class Reliability(Section):
    """Positions by the confidence the tracker gave them: how many, and how many of these within 4 px."""

    counts: tuple[int, ...]  # per bin of confidence
    good: tuple[int, ...]
    confident: int  # above 0.8
    confident_good: int


class ClipScore(Section):
    """Figures of one tracker on one clip."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    clip: str
    view: str
    n_points: int
    n_frames: int
    overall: Accuracy
    by_phase: Mapping[str, Accuracy]  # only phases with positions to judge; so are layers and distances
    by_layer: Mapping[str, Accuracy]
    by_distance: Mapping[str, Accuracy]
    error_at_distance_px: tuple[float, ...]  # median over points 1, 2, ... frames from the query; NaN without any
    gls: StrainPair | None  # None: the clip has no contour, or no end-diastole and end-systole
    reliability: Reliability | None  # None: the tracker gives no confidence
    ms_per_frame: float


def distance_name(first: int, last: int) -> str:
    """Name of a range of distances from the query frame."""
    return f"{first}-{last} frames" if last < 10**6 else f"over {first - 1} frames"


def score_clip(follower: Follower, case: Case) -> ClipScore:
    """Let the tracker follow the points and the contour of a clip, and judge it."""
    points = case.query_points
    if case.contour is not None:
        points = np.concatenate((points, case.contour[:, case.query_frame]))
    return score(case, follower.follow(case, points))


def score(case: Case, followed: Followed) -> ClipScore:
    """Judge tracks of the annotated points and, after them, of the contour's points."""
    n = len(case.truth)
    tracks, confidence = followed.tracks, followed.confidence
    errors = measure(tracks[:n], case.truth, case.visible, case.query_frame, case.size, case.mm_per_px)
    overall = figures(errors)
    if overall is None:
        raise ValueError(f"{case.name}: no point is visible outside the query frame")
    return ClipScore(
        clip=case.name,
        view=case.view or "unknown",
        n_points=n,
        n_frames=len(case.frames),
        overall=overall,
        by_phase=_split(errors, _phase_masks(case)),
        by_layer=_split(errors, _layer_masks(case)),
        by_distance=_split(errors, _distance_masks(case)),
        error_at_distance_px=_error_at_distance(errors, case.query_frame),
        gls=_strain(case, tracks[n:], None if confidence is None else confidence[n:]),
        reliability=None if confidence is None else _reliability(errors, confidence[:n]),
        ms_per_frame=followed.ms_per_frame,
    )


def _split(errors: Errors, masks: Mapping[str, Mask]) -> dict[str, Accuracy]:
    parts = {name: figures(errors, np.broadcast_to(mask, errors.px.shape)) for name, mask in masks.items()}
    return {name: part for name, part in parts.items() if part is not None}


def _phase_masks(case: Case) -> dict[str, Mask]:
    labels = np.array(case.labels, dtype=object)
    return {name: labels == name for name in PHASES} if case.labels else {}


def _layer_masks(case: Case) -> dict[str, Mask]:
    """Points (N, 1) by thirds of the wall."""
    if case.wall_depth is None:
        return {}
    depth = case.wall_depth[:, None]
    masks = (depth < 1 / 3, (depth >= 1 / 3) & (depth < 2 / 3), depth >= 2 / 3, np.isnan(depth))
    return dict(zip(LAYERS, masks, strict=True))


def _distance_masks(case: Case) -> dict[str, Mask]:
    apart = np.abs(np.arange(len(case.frames)) - case.query_frame)
    return {distance_name(a, b): (apart >= a) & (apart <= b) for a, b in DISTANCES}


def _error_at_distance(errors: Errors, query_frame: int) -> tuple[float, ...]:
    apart = np.abs(np.arange(errors.px.shape[1]) - query_frame)
    chosen = [errors.px[errors.judged & (apart == distance)] for distance in range(1, int(apart.max()) + 1)]
    return tuple(float(np.median(px)) if px.size else float("nan") for px in chosen)


def _strain(case: Case, contour: FloatArray, confidence: FloatArray | None) -> StrainPair | None:
    if case.contour is None or len(case.contour) < FEWEST_CONTOUR_POINTS:
        return None
    geometry = Geometry(*case.size, case.mm_per_px)
    truth = gls_percent(case.contour, None, geometry, case.ed_frames, case.es_frames)
    if truth is None:
        return None
    return StrainPair(truth, gls_percent(contour, confidence, geometry, case.ed_frames, case.es_frames))


def _reliability(errors: Errors, confidence: FloatArray) -> Reliability:
    sure, good = confidence[errors.judged], errors.px[errors.judged] < GOOD_PX
    bins = np.clip((np.nan_to_num(sure) * CONFIDENCE_BINS).astype(np.int64), 0, CONFIDENCE_BINS - 1)
    is_confident = sure > CONFIDENT
    return Reliability(
        counts=tuple(np.bincount(bins, minlength=CONFIDENCE_BINS).tolist()),
        good=tuple(np.bincount(bins[good], minlength=CONFIDENCE_BINS).tolist()),
        confident=int(is_confident.sum()),
        confident_good=int((is_confident & good).sum()),
    )
