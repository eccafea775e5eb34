"""Training examples from clips: an anchor frame, recent frames and a target frame, augmented together."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training.augment import AffineRanges, random_affine, random_appearance, warp_frames, warp_points
from specktrack.training.clip_format import TrainingClip, clip_files, load_clip

FITTED = AffineRanges(0.0, 0.0, (1.0, 1.0), 0.0, False, 0.0)  # middle on middle, the longer side fills the crop


@dataclass(frozen=True)
class ExampleSettings:
    """What an example looks like."""

    size: int = 256
    n_points: int = 48
    recent_lags: tuple[int, ...] = (4, 1)  # frames before the target; the anchor comes first, the target last
    affine: AffineRanges | None = field(default_factory=AffineRanges)  # None: the clip as it is, fitted into the crop
    appearance: bool = True


@dataclass(frozen=True)
class Batch:
    """B examples of F frames: anchor, recent frames by falling lag, target."""

    frames: NDArray[np.uint8]  # (B, F, size, size)
    points: FloatArray  # (B, F, N, 2) pixels of the crop
    visible: NDArray[np.bool_]  # (B, F, N)


class ClipPool:
    """The clips of some folders, loaded once and kept."""

    def __init__(self, folders: list[Path]) -> None:
        self._files = [file for folder in folders for file in clip_files(folder)]
        self._clips: dict[int, TrainingClip] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> TrainingClip:
        if index not in self._clips:
            self._clips[index] = load_clip(self._files[index])
        return self._clips[index]


def draw_example(
    rng: np.random.Generator, clip: TrainingClip, settings: ExampleSettings
) -> tuple[NDArray[np.uint8], FloatArray, NDArray[np.bool_]]:
    """Frames (F, S, S), points (F, N, 2) and visibility (F, N) of one augmented example.

    Points are finite also where the clip knows no position; they are not visible there.
    Raises InputError for a clip with fewer frames than an example spans.
    """
    needed = max(settings.recent_lags, default=0) + 1
    if len(clip.frames) < needed:
        raise InputError(
            f"{clip.name}: {len(clip.frames)} frames, but recent_lags need {needed}; leave it out or shorten the lags"
        )
    chosen = _choose_frames(rng, len(clip.frames), settings.recent_lags)
    shape = clip.frames.shape[1], clip.frames.shape[2]
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2], np.float32)
    seen = np.flatnonzero(clip.visible[:, chosen[0]])
    focus = clip.tracks[rng.choice(seen), chosen[0]] if settings.affine and len(seen) else middle
    matrix = random_affine(rng, shape, settings.size, focus, settings.affine or FITTED)
    frames = warp_frames(clip.frames[chosen], matrix, settings.size)
    if settings.appearance:
        frames = random_appearance(rng, frames)
    points = warp_points(clip.tracks[:, chosen], matrix)
    inside = ((points >= 2) & (points <= settings.size - 3)).all(-1)
    visible = clip.visible[:, chosen] & inside
    points = np.where(np.isfinite(points), points, np.float32((settings.size - 1) / 2))
    keep = _choose_points(rng, visible, settings.n_points)
    return frames, points[keep].transpose(1, 0, 2), visible[keep].T


def _choose_frames(rng: np.random.Generator, n_frames: int, lags: tuple[int, ...]) -> NDArray[np.int64]:
    """Anchor anywhere, target anywhere with room for the recent frames; time runs backwards half of the time."""
    target = int(rng.integers(max(lags, default=0), n_frames))
    frames = np.array([rng.integers(n_frames), *(target - lag for lag in lags), target])
    return frames if rng.random() < 0.5 else n_frames - 1 - frames


def _choose_points(rng: np.random.Generator, visible: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Points seen in anchor and target first; repeated when there are too few."""
    order = rng.permutation(len(visible))
    seen = visible[order, 0] & visible[order, -1]
    order = np.concatenate((order[seen], order[~seen]))
    return np.resize(order, count)


def draw_batch(seed: int, step: int, pool: ClipPool, batch: int, settings: ExampleSettings) -> Batch:
    """The batch of a step: depends on seed and step alone, so a resumed run sees what it would have seen."""
    rng = np.random.default_rng([seed, step])
    parts = [draw_example(rng, pool[int(rng.integers(len(pool)))], settings) for _ in range(batch)]
    frames, points, visible = zip(*parts, strict=True)
    return Batch(np.stack(frames), np.stack(points), np.stack(visible))


def prefetch(
    seed: int, first: int, last: int, pool: ClipPool, batch: int, settings: ExampleSettings
) -> Iterator[Batch]:
    """Batches of steps first..last-1, made a few steps ahead in a thread (OpenCV releases the lock)."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=6)
    stop = threading.Event()

    def produce() -> None:
        for step in range(first, last):
            if stop.is_set():
                return
            try:
                item: Batch | BaseException = draw_batch(seed, step, pool, batch, settings)
            except Exception as error:
                item = error
            ready.put(item)

    threading.Thread(target=produce, daemon=True).start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while not ready.empty():
            ready.get_nowait()
