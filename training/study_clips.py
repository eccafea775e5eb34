"""The clips of a study: found by view, fitted into the crop the study works at."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import PhaseConfig
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training import phases
from specktrack.training.augment import FloatMatrix, warp_frames, warp_points
from specktrack.training.clip_format import TrainingClip, clip_files

BORDER_PX = 2


@dataclass(frozen=True)
class HeldOut:
    """A clip to be tracked, fitted into a square crop."""

    name: str
    view: str
    frames: NDArray[np.uint8]  # (T, S, S)
    truth: FloatArray  # (N, T, 2) pixels of the crop, finite also where not visible
    visible: NDArray[np.bool_]  # (N, T)
    query_frame: int
    phase: FloatArray  # (T,) fraction of the beat, NaN unknown
    rate_bpm: float  # NaN unknown
    frame_rate_hz: float
    extent_px: tuple[int, int]  # height and width of the upright clip in the crop: what 256 pixels stand for


def clip_paths(folders: Sequence[str], views: Sequence[str], limit: int) -> list[Path]:
    """Clips of these views (none named: all), at most `limit` of each (0: all); raises InputError if there is none."""
    by_view: dict[str, list[Path]] = {}
    for path in (path for folder in folders for path in clip_files(Path(folder))):
        by_view.setdefault(view_of(path), []).append(path)
    chosen = [path for view, paths in by_view.items() if not views or view in views for path in _some(paths, limit)]
    if not chosen:
        where, which = ", ".join(folders), ", ".join(views)
        raise InputError(
            f"{where}: no clip of view {which}; "
            f"make some with simulate-echo --out {folders[0]} --view {views[0]} --n 30"
        )
    return chosen


def _some(paths: list[Path], limit: int) -> list[Path]:
    """At most so many, evenly picked."""
    if not limit or len(paths) <= limit:
        return paths
    return [paths[k] for k in np.linspace(0, len(paths) - 1, limit).round().astype(int)]


def view_of(path: Path) -> str:
    """The view a clip says it shows, without reading its frames; else what its name begins with."""
    try:
        with np.load(path, allow_pickle=False) as fields:
            said = str(fields["view"]) if "view" in fields.files else ""
    except Exception as error:  # as in clip_format: damaged bytes fail in many ways
        raise InputError(f"{path}: not a readable .npz clip; write it with numpy.savez") from error
    return said or path.stem.split("-")[0]


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when clips are added, removed or made again."""
    text = ",".join(f"{path.name}:{path.stat().st_size}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fit(shape: tuple[int, int], size: int, turned_deg: float = 0.0) -> FloatMatrix:
    """Matrix (2, 3) for a clip of (height, width): middle on middle, its longer side filling the crop, turned."""
    height, width = shape
    zoom, angle = size / max(height, width), math.radians(turned_deg)
    linear = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate((linear, ((size - 1) / 2 - linear @ middle)[:, None]), 1)


def hold_out(clip: TrainingClip, view: str, size: int, n_points: int, turned_deg: float = 0.0) -> HeldOut:
    """The clip in the crop, with at most `n_points` of the points seen in the query frame.

    Raises InputError when none is.
    """
    height, width = clip.frames.shape[1:]
    matrix = fit((height, width), size, turned_deg)
    truth = warp_points(clip.tracks, matrix)
    inside = ((truth >= BORDER_PX) & (truth <= size - 1 - BORDER_PX)).all(-1)
    visible = clip.visible & inside
    phase = phase_of(clip)
    query = query_frame_of(clip, phase)
    seen = np.flatnonzero(visible[:, query])
    if not len(seen):
        raise InputError(f"{clip.name}: no point is visible in frame {query}; leave the clip out")
    seen = seen[np.linspace(0, len(seen) - 1, min(n_points, len(seen))).round().astype(int)]
    known = np.where(np.isfinite(truth), truth, np.float32((size - 1) / 2))[seen]
    frames = warp_frames(clip.frames, matrix, size)
    return HeldOut(
        name=clip.name,
        view=view,
        frames=frames,
        truth=known,
        visible=visible[seen],
        query_frame=query,
        phase=phase,
        rate_bpm=rate_of(phase, clip.frame_rate_hz),
        frame_rate_hz=clip.frame_rate_hz,
        extent_px=(round(size * height / max(height, width)), round(size * width / max(height, width))),
    )


def phase_of(clip: TrainingClip) -> FloatArray:
    """Fraction of the beat (T,): what the clip says, else from its end-diastoles; NaN where unknown."""
    return clip.phase if clip.phase is not None else phases.fractions_from_ed(clip.ed_frames, len(clip.frames))


def query_frame_of(clip: TrainingClip, phase: FloatArray) -> int:
    """The frame the clip names, else the middle of diastasis, else that of the clip."""
    if clip.query_frame is not None:
        return clip.query_frame
    found = phases.diastasis_frame(phase, clip.frame_rate_hz, clip.es_frames, PhaseConfig())
    return len(clip.frames) // 2 if found is None else found


def rate_of(phase: FloatArray, frame_rate_hz: float) -> float:
    """Beats a minute from how fast the phase runs; NaN when it is not known."""
    steps = np.diff(phase) % 1.0
    known = steps[np.isfinite(steps)]
    return 60.0 * frame_rate_hz * float(np.median(known)) if len(known) else math.nan
