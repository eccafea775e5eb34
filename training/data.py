"""Training examples from clips: an anchor frame, recent frames and a target frame, augmented together.

Trackers of others are trained on windows of frames in a row instead, which begin with the anchor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.settings import Section
from specktrack.training.augment import AffineRanges, random_affine, random_appearance, warp_frames, warp_points
from specktrack.training.clip_format import TrainingClip

# Middle on middle, the longer side fills the crop.
FITTED = AffineRanges(rotation_deg=0.0, shear=0.0, zoom=(1.0, 1.0), aspect=0.0, flip=False, shift=0.0)
DIASTASIS_PHASES = (0.65, 0.85)  # of the beat from ED to ED


class QueryShares(Section):
    """How often the anchor is a frame in diastasis, the first frame, or any frame; shares of their sum.

    A clip that says neither its phase nor its query frame gives any frame instead of one in diastasis.
    """

    diastasis: float = Field(default=0.4, ge=0)
    first: float = Field(default=0.1, ge=0)
    random: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _has_a_share(self) -> "QueryShares":
        if self.diastasis + self.first + self.random <= 0:
            raise ValueError("diastasis, first and random are all 0; give one of them a share")
        return self


@dataclass(frozen=True)
class ExampleSettings:
    """What an example looks like."""

    size: int = 256
    n_points: int = 48
    recent_lags: tuple[int, ...] = (4, 1)  # frames before the target; the anchor comes first, the target last
    affine: AffineRanges | None = field(default_factory=AffineRanges)  # None: the clip as it is, fitted into the crop
    appearance: bool = True
    query: QueryShares = field(default_factory=QueryShares)
    window: int = 0  # frames in a row, the anchor first, in place of anchor, recent frames and target

    @property
    def span(self) -> int:
        """Frames that a clip must have."""
        return self.window or max(self.recent_lags, default=0) + 1


@dataclass(frozen=True)
class Batch:
    """B examples of F frames: anchor, recent frames by falling lag, target; or a window."""

    frames: NDArray[np.uint8]  # (B, F, size, size)
    points: FloatArray  # (B, F, N, 2) pixels of the crop
    visible: NDArray[np.bool_]  # (B, F, N)


class Example(NamedTuple):
    """One example of a batch."""

    frames: NDArray[np.uint8]  # (F, size, size)
    points: FloatArray  # (F, N, 2)
    visible: NDArray[np.bool_]  # (F, N)


def draw_example(rng: np.random.Generator, clip: TrainingClip, settings: ExampleSettings) -> Example:
    """One augmented example of a clip.

    Points are finite also where the clip knows no position; they are not visible there.
    Raises InputError for a clip with fewer frames than an example spans.
    """
    if len(clip.frames) < settings.span:
        raise InputError(f"{clip.name}: {len(clip.frames)} frames, but training needs {settings.span}; leave it out")
    choose = _choose_window if settings.window else _choose_frames
    chosen = choose(rng, clip, settings)
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
    return Example(frames, points[keep].transpose(1, 0, 2), visible[keep].T)


def _choose_frames(rng: np.random.Generator, clip: TrainingClip, settings: ExampleSettings) -> NDArray[np.int64]:
    """Anchor by the query policy, target where the recent frames have room; half of the time they run backwards."""
    n_frames, lags = len(clip.frames), np.array(settings.recent_lags, np.int64)
    anchor = _choose_anchor(rng, clip, settings.query)
    target = int(rng.integers(lags.max(initial=0), n_frames))
    others = np.array([*(target - lags), target])
    return np.array([anchor, *(others if rng.random() < 0.5 else n_frames - 1 - others)])


def _choose_window(rng: np.random.Generator, clip: TrainingClip, settings: ExampleSettings) -> NDArray[np.int64]:
    """Frames in a row from the anchor on, or as near to it as there is room; half of the time they run backwards."""
    n_frames, window = len(clip.frames), settings.window
    anchor = _choose_anchor(rng, clip, settings.query)
    if rng.random() < 0.5:
        return min(anchor, n_frames - window) + np.arange(window)
    return max(anchor, window - 1) - np.arange(window)


def _choose_anchor(rng: np.random.Generator, clip: TrainingClip, shares: QueryShares) -> int:
    """The frame in which points are set."""
    pick = rng.uniform(0, shares.diastasis + shares.first + shares.random)
    calm = diastasis_frames(clip)
    if pick < shares.diastasis and len(calm):
        return int(rng.choice(calm))
    if shares.diastasis <= pick < shares.diastasis + shares.first:
        return 0
    return int(rng.integers(len(clip.frames)))


def diastasis_frames(clip: TrainingClip) -> NDArray[np.int64]:
    """Frames in the calm part of the beat: by phase, and the query frame; none when the clip says neither."""
    low, high = DIASTASIS_PHASES
    calm = set() if clip.phase is None else set(np.flatnonzero((clip.phase >= low) & (clip.phase <= high)).tolist())
    if clip.query_frame is not None:
        calm.add(clip.query_frame)
    return np.array(sorted(calm), np.int64)


def _choose_points(rng: np.random.Generator, visible: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Points seen in anchor and target first; repeated when there are too few."""
    order = rng.permutation(len(visible))
    seen = visible[order, 0] & visible[order, -1]
    order = np.concatenate((order[seen], order[~seen]))
    return np.resize(order, count)


def stack(examples: Sequence[Example]) -> Batch:
    """Examples side by side."""
    frames, points, visible = zip(*examples, strict=True)
    return Batch(np.stack(frames), np.stack(points), np.stack(visible))
