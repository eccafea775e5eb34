"""Runs the tracker of the stream over augmented clips and keeps what it measured, to train its fusion on.

One record is one sequence: from a query frame forwards or backwards in time, points set at their true places. The
measurements come from rt/tracker.py itself. Lengths in units (pixels of 256 across).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig
from specktrack.rt.fusion import N_MEASURED
from specktrack.rt.geometry import FloatArray
from specktrack.rt.still_picture import without_still_picture
from specktrack.rt.tracker import PointTracker
from specktrack.training.augment import AffineRanges, random_affine, random_appearance, warp_frames, warp_points
from specktrack.training.clip_format import TrainingClip
from specktrack.training.data import FITTED
from specktrack.training.encoder import TorchEncoder
from specktrack.training.fusion import Sequences

AS_SEEN = AffineRanges(rotation_deg=120.0, shear=0.1, zoom=(0.85, 1.25), aspect=0.12, shift=0.12)
AUGMENTED_SHARE = 0.6  # of the records that are turned, flipped and zoomed; the others lie as on the scanner
APPEARANCE_SHARE = 0.4
DIASTASIS_SHARE = 0.6  # of the records that begin there; the others begin anywhere


@dataclass(frozen=True)
class Record:
    """One sequence of T frames and N points; fields as in fusion.Sequences without the batch axis."""

    points: FloatArray
    step: FloatArray
    half_difference: FloatArray
    offset: FloatArray
    spread: FloatArray
    share_own: FloatArray
    share_near: FloatArray
    near: FloatArray
    crowd_far: FloatArray
    truth: FloatArray
    counts: NDArray[np.bool_]


def record_sequence(
    engine: TorchEncoder, clip: TrainingClip, rng: np.random.Generator, n_points: int, max_frames: int
) -> Record | None:
    """Track a random augmentation of a clip from a random query frame; None where too few points are in sight."""
    size = engine.input_size[0]
    frames, tracks, visible = _augmented(clip, rng, size)
    query = _query(clip, rng)
    goes_back = query > len(frames) // 2 if rng.random() < 0.7 else rng.random() < 0.5
    order = np.arange(query, -1, -1) if goes_back else np.arange(query, len(frames))
    order = order[:max_frames]
    seen = np.flatnonzero(visible[:, query])
    if len(seen) < n_points or len(order) < 4:
        return None
    chosen = rng.permutation(seen)[:n_points]
    truth, counts = tracks[chosen][:, order].transpose(1, 0, 2), visible[chosen][:, order].T
    followed = np.stack(without_still_picture(list(frames), engine, MatchConfig()))
    return _follow(engine, followed[order], truth, counts)


def _augmented(
    clip: TrainingClip, rng: np.random.Generator, size: int
) -> tuple[NDArray[np.uint8], FloatArray, NDArray[np.bool_]]:
    """Frames (T, size, size), tracks and visibility of tracks and contour together."""
    tracks, visible = clip.tracks, clip.visible
    height, width = clip.frames.shape[1:]
    if clip.contour is not None and rng.random() < 0.6:
        tracks = np.concatenate((tracks[: len(tracks) // 2], clip.contour))
        visible = np.concatenate((visible[: len(visible) // 2], np.ones(clip.contour.shape[:2], bool)))
    middle = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    is_augmented = rng.random() < AUGMENTED_SHARE
    matrix = random_affine(rng, (height, width), size, middle, AS_SEEN if is_augmented else FITTED)
    frames = warp_frames(clip.frames, matrix, size)
    if rng.random() < APPEARANCE_SHARE:
        frames = random_appearance(rng, frames)
    points = warp_points(tracks, matrix)
    inside = ((points >= 1) & (points <= size - 2)).all(-1)
    return frames, np.where(np.isfinite(points), points, np.float32(size / 2)), visible & inside


def _query(clip: TrainingClip, rng: np.random.Generator) -> int:
    if clip.query_frame is not None and rng.random() < DIASTASIS_SHARE:
        return clip.query_frame
    return int(rng.integers(len(clip.frames)))


def _follow(engine: TorchEncoder, frames: NDArray[np.uint8], truth: FloatArray, counts: NDArray[np.bool_]) -> Record:
    scale = engine.input_size[1] / 256.0
    tracker = PointTracker(engine, MatchConfig())
    features = engine.encode_all(frames)
    tracker.start(features[0], truth[0], frames[0])
    around = tracker.around
    rows = [_row_of_nothing(tracker)]
    for image, maps in zip(frames[1:], features[1:], strict=True):
        tracker.update(maps, image)
        rows.append(_row(tracker))
    points, step, half, offset, spread, own, near = (np.stack(column) for column in zip(*rows, strict=True))
    points, step, half = (np.asarray(lengths / scale, np.float32) for lengths in (points, step, half))
    crowd, true = around.far.sum(1), np.asarray(truth / scale, np.float32)
    return Record(points, step, half, offset, spread, own, near, around.near, crowd, true, counts)


def _row(tracker: PointTracker) -> tuple[FloatArray, ...]:
    assert tracker.measured is not None
    assert tracker.step is not None
    m, s = tracker.measured, tracker.step
    return tracker.points.copy(), s.displacement, s.half_difference, m.offset, m.spread, m.share_own, m.share_near


def _row_of_nothing(tracker: PointTracker) -> tuple[FloatArray, ...]:
    n = len(tracker.points)
    shapes = ((n, 2), (n, 2), (N_MEASURED, n, 2), (N_MEASURED, n), (n,), (n,))
    return (tracker.points.copy(), *(np.zeros(shape, np.float32) for shape in shapes))


def stacked(records: Sequence[Record]) -> Sequences:
    """A batch, padded with frames that do not count to the longest."""
    longest = max(len(r.points) for r in records)
    columns = {}
    for name in Record.__dataclass_fields__:
        values = [getattr(r, name) for r in records]
        if name not in ("near", "crowd_far"):
            values = [np.pad(v, [(0, longest - len(v))] + [(0, 0)] * (v.ndim - 1)) for v in values]
        columns[name] = torch.from_numpy(np.stack(values))
    return Sequences(**columns)
