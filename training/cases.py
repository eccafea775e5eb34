"""The clips that `eval-tracker` measures on: what the settings name, loaded one at a time, with the frame to query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from specktrack.rt.clip import Clip, open_clip
from specktrack.rt.config import MatchConfig, PhaseConfig
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.settings import Section
from specktrack.training import phases
from specktrack.training.classical import CLASSICAL
from specktrack.training.clip_format import TrainingClip, clip_files, load_clip

USUAL_FRAME_RATE_HZ = 50.0  # of a video that does not say; only the names of phases depend on it

QUERIES = ("first", "middle", "diastasis")


class Reference(Section):
    """A clip whose tracks lie in another file."""

    clip: str
    tracks: str  # .npz with tracks (N, T, 2), visible (N, T), query_frame (0 unless said)
    ed_frames: tuple[int, ...] = ()
    es_frames: tuple[int, ...] = ()
    view: str = ""


class EvalConfig(Section):
    """What `eval-tracker` compares, and on what."""

    models: tuple[str, ...] = ("specknet-s", "block", *CLASSICAL)  # also NAME:FILE (docs/baselines.md)
    data: tuple[str, ...] = ()  # folders of training clips
    references: tuple[Reference, ...] = ()
    clips: int = Field(default=0, ge=0)  # at most so many of each folder, evenly over it; 0: all
    query: str | float = (
        "first"  # of clips: one of QUERIES; a number is a fraction of the beat. References say their own
    )
    match: MatchConfig = MatchConfig()
    phase: PhaseConfig = PhaseConfig()
    jobs: int = Field(default=1, ge=1)  # clips tracked at the same time; compare times only with 1
    threads: int = Field(default=0, ge=0)  # of a job; 0: its share of the cores
    figures: bool = True
    memory: bool = True  # measured in a process of its own, some seconds a tracker
    out: str = "runs/evaluation"

    @field_validator("query")
    @classmethod
    def _names_a_frame(cls, query: str | float) -> str | float:
        if query not in QUERIES and not (isinstance(query, float | int) and 0 <= query <= 1):
            raise ValueError(f"must be {', '.join(QUERIES)} or a fraction of the beat from 0 to 1, found {query}")
        return query

    @field_validator("models")
    @classmethod
    def _each_once(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if not models:
            raise ValueError("must name at least one tracker")
        return tuple(dict.fromkeys(models))


@dataclass(frozen=True)
class Case:
    """One clip to track: frames (T, H, W), truth (N, T, 2) in its pixels, visible (N, T)."""

    name: str
    frames: NDArray[np.uint8]
    truth: FloatArray
    visible: NDArray[np.bool_]
    query_frame: int
    view: str = ""
    mm_per_px: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()  # (T,) part of the beat of every frame; empty where unknown
    wall_depth: FloatArray | None = None  # (N,) 0 endocardium to 1 epicardium, NaN elsewhere
    contour: FloatArray | None = None  # (K, T, 2) true mid-wall contour
    ed_frames: tuple[int, ...] = ()
    es_frames: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frames.shape[1], self.frames.shape[2]

    @property
    def query_points(self) -> FloatArray:
        """Where the annotated points (N, 2) are in the query frame."""
        return self.truth[:, self.query_frame]


@dataclass(frozen=True)
class ClipSource:
    """A clip not loaded yet."""

    files: tuple[Path, ...]  # what its content depends on
    reference: Reference | None = None

    @property
    def name(self) -> str:
        """Of the clip, for people."""
        return self.files[0].name if self.reference else self.files[0].stem


def _spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many, evenly over the list: clips named by their view stand view by view. 0: all."""
    n = min(most, len(files)) or len(files)
    return [files[k * len(files) // n] for k in range(n)]


def find_sources(settings: EvalConfig) -> list[ClipSource]:
    """Every clip named by the settings; raises InputError when there is none."""
    sources = []
    for folder in settings.data:
        files = clip_files(Path(folder))
        sources += [ClipSource((path,)) for path in _spread(files, settings.clips)]
    sources += [ClipSource((Path(r.clip), Path(r.tracks)), r) for r in settings.references]
    if not sources:
        raise InputError("nothing to evaluate; give data (folders of clips) or references in the config")
    return sources


def load_case(source: ClipSource, settings: EvalConfig) -> Case | None:
    """The clip with its query frame; None when no point of it is visible there or anywhere else."""
    clip, query = (
        _load_reference(source.reference) if source.reference else _with_query(load_clip(source.files[0]), settings)
    )
    seen = clip.visible[:, query]
    if np.count_nonzero(clip.visible[seen]) == np.count_nonzero(seen):
        return None
    fractions = _fractions(clip)
    return Case(
        name=source.name,
        frames=clip.frames,
        truth=clip.tracks[seen],
        visible=clip.visible[seen],
        query_frame=query,
        view=clip.view,
        mm_per_px=clip.mm_per_px,
        labels=phases.frame_labels(fractions, clip.frame_rate_hz, clip.es_frames, settings.phase),
        wall_depth=None if clip.wall_depth is None else clip.wall_depth[seen],
        contour=clip.contour,
        ed_frames=clip.ed_frames,
        es_frames=clip.es_frames,
    )


def iterate_cases(settings: EvalConfig) -> Iterator[Case]:
    """The clips one at a time, those without a visible query point left out; raises InputError when none is named."""
    for source in find_sources(settings):
        case = load_case(source, settings)
        if case is not None:
            yield case


def load_cases(settings: EvalConfig) -> list[Case]:
    """All clips at once, for sets that fit into memory; raises InputError when there is none."""
    return list(iterate_cases(settings))


def _fractions(clip: TrainingClip) -> FloatArray:
    if clip.phase is not None:
        return clip.phase
    return phases.fractions_from_ed(clip.ed_frames, len(clip.frames))


def _with_query(clip: TrainingClip, settings: EvalConfig) -> tuple[TrainingClip, int]:
    match settings.query:
        case "first":
            return clip, 0
        case "middle":
            return clip, len(clip.frames) // 2
        case "diastasis" if clip.query_frame is not None:
            return clip, clip.query_frame
        case "diastasis":
            found = phases.diastasis_frame(_fractions(clip), clip.frame_rate_hz, clip.es_frames, settings.phase)
        case fraction:
            found = phases.frame_at(_fractions(clip), float(fraction))
    if found is None:
        raise InputError(
            f"{clip.name}: query {settings.query} needs the phase of its frames, which is not known; "
            "give the clip phase or two ed_frames, or set query to first or middle"
        )
    return clip, found


def _load_reference(reference: Reference) -> tuple[TrainingClip, int]:
    opened = open_clip(reference.clip)
    frames = np.stack(list(opened.frames()))
    try:
        with np.load(reference.tracks, allow_pickle=False) as fields:
            tracks, visible = fields["tracks"].astype(np.float32), fields["visible"].astype(bool)
            query = int(fields["query_frame"]) if "query_frame" in fields.files else 0
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{reference.tracks}: not a reference of tracks and visible ({error})") from error
    if tracks.ndim != 3 or tracks.shape[1:] != (len(frames), 2):
        raise InputError(f"{reference.tracks}: tracks must be [N, {len(frames)}, 2], found {list(tracks.shape)}")
    if visible.shape != tracks.shape[:2] or not 0 <= query < len(frames):
        raise InputError(
            f"{reference.tracks}: expected visible {list(tracks.shape[:2])} and query_frame 0 to {len(frames) - 1}, "
            f"found {list(visible.shape)} and {query}"
        )
    return _reference_clip(reference, opened, frames, tracks, visible), query


def _reference_clip(
    reference: Reference, opened: Clip, frames: NDArray[np.uint8], tracks: FloatArray, visible: NDArray[np.bool_]
) -> TrainingClip:
    for key, marked in (("ed_frames", reference.ed_frames), ("es_frames", reference.es_frames)):
        if any(not 0 <= frame < len(frames) for frame in marked):
            raise InputError(
                f"references: {key} of {reference.clip} must be from 0 to {len(frames) - 1}, found {list(marked)}"
            )
    return TrainingClip(
        name=opened.source.name,
        frames=frames,
        tracks=tracks,
        visible=visible,
        frame_rate_hz=opened.frame_rate_hz or USUAL_FRAME_RATE_HZ,
        mm_per_px=opened.geometry.mm_per_px,
        ed_frames=reference.ed_frames,
        es_frames=reference.es_frames,
        view=reference.view,
    )
