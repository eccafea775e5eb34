"""Figures of a tracker over all clips. Every clip counts the same, whatever its length; confidence counts positions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from specktrack.training.metrics import Accuracy, mean_accuracy
from specktrack.training.peak_memory import PeakMemory
from specktrack.training.phases import PHASES
from specktrack.training.score import CONFIDENCE_BINS, DISTANCES, LAYERS, ClipScore, Reliability, distance_name
from specktrack.training.strain_agreement import Agreement, StrainPair, agreement

LEAST_SHARE_OF_CLIPS = 0.2  # a distance from the query that fewer clips reach is not drawn


@dataclass(frozen=True)
class Part:
    """Figures over one part of the positions, and how many clips have such positions."""

    accuracy: Accuracy
    n_clips: int


@dataclass(frozen=True)
class Profile:
    """Error against the distance from the query, over clips; all (D,)."""

    frames: tuple[int, ...]
    median_px: tuple[float, ...]
    lower_px: tuple[float, ...]  # a quarter of the clips is below
    upper_px: tuple[float, ...]  # a quarter is above


@dataclass(frozen=True)
class Summary:
    """Everything reported of one tracker."""

    tracker: str
    n_clips: int
    overall: Accuracy
    by_phase: Mapping[str, Part]
    by_view: Mapping[str, Part]
    by_layer: Mapping[str, Part]
    by_distance: Mapping[str, Part]
    profile: Profile
    gls: Agreement | None  # None: no clip has a contour with end-diastole and end-systole
    gls_pairs: tuple[StrainPair, ...]
    reliability: Reliability | None
    ms_per_frame: float  # median over clips; this machine, this run: compare trackers, not runs
    memory: PeakMemory


def summarise(tracker: str, scores: Sequence[ClipScore], memory: PeakMemory) -> Summary:
    """Figures over the clips (one or more) of one tracker."""
    views = sorted({score.view for score in scores})
    pairs = tuple(score.gls for score in scores if score.gls is not None)
    return Summary(
        tracker=tracker,
        n_clips=len(scores),
        overall=mean_accuracy([score.overall for score in scores]),
        by_phase=_parts(PHASES, scores, lambda score: score.by_phase),
        by_view=_parts(views, scores, lambda score: {score.view: score.overall}),
        by_layer=_parts(LAYERS, scores, lambda score: score.by_layer),
        by_distance=_parts([distance_name(*d) for d in DISTANCES], scores, lambda score: score.by_distance),
        profile=_profile([score.error_at_distance_px for score in scores]),
        gls=agreement(pairs) if pairs else None,
        gls_pairs=pairs,
        reliability=_pooled([score.reliability for score in scores if score.reliability is not None]),
        ms_per_frame=float(np.median([score.ms_per_frame for score in scores])),
        memory=memory,
    )


def _parts(
    names: Sequence[str], scores: Sequence[ClipScore], split: Callable[[ClipScore], Mapping[str, Accuracy]]
) -> dict[str, Part]:
    """By name, in the order of the names; names without any clip are left out."""
    found = {name: [parts[name] for parts in map(split, scores) if name in parts] for name in names}
    return {name: Part(mean_accuracy(parts), len(parts)) for name, parts in found.items() if parts}


def _profile(curves: Sequence[Sequence[float]]) -> Profile:
    columns = [[curve[d] for curve in curves if d < len(curve)] for d in range(max(len(curve) for curve in curves))]
    known = [[error for error in column if not np.isnan(error)] for column in columns]
    least = min(LEAST_SHARE_OF_CLIPS * len(curves), max(len(errors) for errors in known))
    enough = [d for d, errors in enumerate(known) if errors and len(errors) >= least]
    quartiles = [np.percentile(known[d], (25, 50, 75), method="nearest") for d in enough]
    lower, median, upper = ([float(v) for v in column] for column in zip(*quartiles, strict=True))
    return Profile(tuple(d + 1 for d in enough), tuple(median), tuple(lower), tuple(upper))


def _pooled(parts: Sequence[Reliability]) -> Reliability | None:
    if not parts:
        return None
    bins = range(CONFIDENCE_BINS)
    return Reliability(
        counts=tuple(sum(part.counts[b] for part in parts) for b in bins),
        good=tuple(sum(part.good[b] for part in parts) for b in bins),
        confident=sum(part.confident for part in parts),
        confident_good=sum(part.confident_good for part in parts),
    )
