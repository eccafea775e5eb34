"""One beat of an annotated clip, tracked twice and measured as in the stream, at its true end-diastole and end-systole.

Without phase and without a second beat: what tracking, re-tracking, smoothing and judging do to strain. Clips whose
wall leaves the picture are not assessable; whether it does is read from the pixels that are ever lit.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from specktrack.rt.config import SessionConfig
from specktrack.rt.drift import joined
from specktrack.rt.engine import Engine
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.known_beat import measured_open
from specktrack.rt.preprocess import preprocess
from specktrack.rt.retrack import Retracking
from specktrack.rt.still_picture import without_still_picture
from specktrack.rt.tracker import PointTracker
from specktrack.rt.update import Group
from specktrack.rt.window import WindowEntry
from specktrack.training.clip_format import TrainingClip, clip_files, load_clip
from specktrack.training.strain_trial import SEGMENTS, BeatScore, HeartScore, contour_strain, tracked_strain

LIT_GRAY = 6  # darker than this in all frames: beyond the sector
VIEWS = ("a4c", "a2c", "a3c")


def clips_of(folders: Sequence[str]) -> list[Path]:
    """Clips of left ventricular views in these folders; raises InputError for a folder without clips."""
    return [path for folder in folders for path in clip_files(Path(folder)) if path.stem.startswith(VIEWS)]


def try_clip(path: Path, settings: SessionConfig, engine: Engine) -> HeartScore | None:
    """Score of the first beat from end-diastole on; None where the clip has no such beat or is not assessable."""
    clip = load_clip(path)
    if clip.contour is None or not clip.ed_frames or not any(es > clip.ed_frames[0] for es in clip.es_frames):
        return None
    ed = clip.ed_frames[0]
    es = next(frame for frame in clip.es_frames if frame > ed)
    rest = clip.query_frame if clip.query_frame is not None and clip.query_frame > es else len(clip.frames) - 1
    line = clip.contour.transpose(1, 0, 2)[ed : rest + 1]
    if rest - ed < 8 or not _is_in_picture(clip, line):
        return None
    height, width = clip.frames.shape[1:]
    geometry = Geometry(height, width, clip.mm_per_px)
    entries = _entries(clip, ed, rest, settings, engine)
    scale = preprocess(clip.frames[ed], engine.input_size)[1]
    live = _forward(entries, scale.forward(line[0]), settings, engine)
    again = Retracking(engine, settings.match, entries, len(entries) - 1, live[-1, :, :2])
    while again.advance():
        pass
    forward, backward = (np.concatenate((scale.back(x[..., :2]), x[..., 2:]), -1) for x in (live, again.tracks))
    tracks = joined(forward, backward, np.linspace(0.0, 1.0, len(forward)))
    # The clip may not hold the next end-diastole: there is no loop to close, and nothing to be said of drift.
    contour = Group("contour", "contour", 0, line.shape[1], SEGMENTS)
    time_s = np.arange(len(tracks)) / clip.frame_rate_hz
    found = measured_open(tracks, forward, backward, es - ed, contour, geometry, time_s, settings)
    expected, segments = contour_strain(line[0], line[es - ed])
    own = tracks[[0, es - ed]]
    error_px = np.hypot(*np.moveaxis(tracks[..., :2] - line, -1, 0))
    score = BeatScore(
        beat=0,
        truth=expected,
        segments_truth=segments,
        measured=found.gls_percent,
        segments=found.segments_percent,
        accepted=found.why is None,
        why=found.why,
        tracked=tracked_strain(own)[0] if np.isfinite(own).all() else None,
        timed=expected,
        ed_late_ms=0.0,
        es_late_ms=0.0,
        error_mm=float(np.nanmedian(error_px)) * (clip.mm_per_px or (1.0, 1.0))[0],
        drift_percent=found.drift_percent,
        retracked=True,
        waited_beats=0.0,
    )
    return HeartScore(name=clip.name, n_true_beats=1, beats=(score,), stray_mm=())


def _is_in_picture(clip: TrainingClip, line: FloatArray) -> bool:
    lit = cv2.morphologyEx((clip.frames.max(axis=0) > LIT_GRAY).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9)))
    at = np.round(line.reshape(-1, 2)).astype(int)
    inside = (at >= 0).all(1) & (at < lit.shape[::-1]).all(1)
    return bool(inside.all() and lit[at[:, 1], at[:, 0]].all())


def _entries(clip: TrainingClip, first: int, last: int, settings: SessionConfig, engine: Engine) -> list[WindowEntry]:
    shown = [preprocess(frame, engine.input_size)[0] for frame in clip.frames]
    images = without_still_picture(shown, engine, settings.match)
    return [WindowEntry(k, k / clip.frame_rate_hz, images[k], engine.encode(images[k])) for k in range(first, last + 1)]


def _forward(entries: Sequence[WindowEntry], points: FloatArray, settings: SessionConfig, engine: Engine) -> FloatArray:
    """(T, N, 3) as the stream tracks them, lost points NaN; engine pixels."""
    tracker = PointTracker(engine, settings.match)
    tracker.start(entries[0].features, points, entries[0].image)
    tracks = [np.column_stack([tracker.points, tracker.confidence])]
    for entry in entries[1:]:
        tracker.update(entry.features, entry.image)
        found = np.column_stack([tracker.steady, tracker.confidence])
        found[tracker.is_lost] = (np.nan, np.nan, 0.0)
        tracks.append(found)
    return np.stack(tracks).astype(np.float32)
