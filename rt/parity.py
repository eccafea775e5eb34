"""How far an engine is from the network it came from: in pixels of the points it finds, and in points of strain.

Two figures of the same contour of 61 points:

- read: each frame by itself. Both are asked where the first frame's templates are, around the same places. This is the
  file alone.
- followed: the tracker of the stream, flow and fusion included, each on its own. What one frame answers decides where
  the next one looks, so differences of rounding live on from frame to frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig, StrainConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.engine import Engine, Features, Template
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.position import inside, soft_argmax
from specktrack.rt.preprocess import preprocess
from specktrack.rt.still_picture import without_still_picture
from specktrack.rt.strain import StrainMeter
from specktrack.rt.tracker import PointTracker

UNIT_PX = 256.0  # figures are pixels of an image this wide
N_POINTS = StrainConfig().query_points
READ_PX = {"fp32": 0.002, "fp16": 0.05, "bf16": 0.05}  # all points of all frames, each frame by itself
FOLLOWED_PX = 0.05  # 99 of 100 points, through the whole clip; the lively gains of a user's fusion may amplify rounding
STRAIN_POINTS = 0.1
READ_SIDE, READ_SIGMA_PX = 21, 3.0


@dataclass(frozen=True)
class VerifyClip:
    """A clip that engines are compared on."""

    name: str
    frames: NDArray[np.uint8]  # (T, H, W)
    contour: FloatArray  # (K, 2) x, y on the first frame, pixels of the frames


@dataclass(frozen=True)
class Followed:
    """Where an engine's points were."""

    points: FloatArray  # (T, N, 2) where the tracker was, pixels of an image UNIT_PX wide
    read: FloatArray  # (T, N, 2) where each frame by itself has them
    strain_percent: FloatArray  # (T,) of the contour, since the first frame


@dataclass(frozen=True)
class Deviation:
    """One row of the parity table: an engine against the network on a clip."""

    clip: str
    engine: str
    precision: str
    n_frames: int
    read_px: float  # farthest point of any frame by itself
    median_px: float  # followed
    p99_px: float
    max_px: float
    strain_points: float

    @property
    def is_within(self) -> bool:
        """Whether the precision costs no more than it may."""
        return (
            self.read_px <= READ_PX[self.precision]
            and self.p99_px <= FOLLOWED_PX
            and self.strain_points <= STRAIN_POINTS
        )

    def complaint(self) -> str:
        """Why not, in one sentence."""
        return (
            f"{self.engine} {self.precision} on {self.clip}: {self.read_px:.4f} px in a frame, {self.p99_px:.4f} px "
            f"followed (p99) and {self.strain_points:.3f} strain points from the network; allowed "
            f"{READ_PX[self.precision]}, {FOLLOWED_PX} and {STRAIN_POINTS}; not usable"
        )


def arch(height: int, width: int) -> FloatArray:
    """From one base over the apex to the other (15, 2), in the middle of the image."""
    angle = np.linspace(np.pi, 0, 15)
    x, y = 0.5 + 0.2 * np.cos(angle), 0.75 - 0.5 * np.sin(angle)
    return np.stack((x * width, y * height), 1).astype(np.float32)


def follow(engine: Engine, clip: VerifyClip, around: FloatArray | None = None) -> Followed:
    """Follow the clip's contour from its first frame to its last; a lost point is followed on, to be compared.

    around  (T, N, 2) where each frame is read, pixels of an image UNIT_PX wide; absent: where the tracker is
    """
    tracker = PointTracker(engine, MatchConfig())
    units = np.float32(UNIT_PX / engine.input_size[1])
    found, seen = [], []
    template = None
    pairs = [preprocess(frame, engine.input_size) for frame in clip.frames]
    scale = pairs[0][1]
    for k, image in enumerate(without_still_picture([image for image, _ in pairs], engine, MatchConfig())):
        tracker.look_ahead(image)
        features = engine.encode(image)
        if template is None:
            start = scale.forward(resample_contour(clip.contour, N_POINTS))
            template = engine.templates(features, start)
            tracker.start(features, start, image)
        else:
            tracker.update(features, image)
        found.append(tracker.points * units)
        at = found[k] if around is None else around[k]
        seen.append(read(engine, features, template, at / units) * units)
    points = np.stack(found)
    return Followed(points, np.stack(seen), _strain(points))


def compare(clip: VerifyClip, reference: Followed, engine: Engine, name: str) -> Deviation:
    """How far an engine's points lie from the reference's; `name` is what the table calls it."""
    found = follow(engine, clip, reference.points)
    px = _distance(found.points, reference.points)[1:]
    strain = np.abs(found.strain_percent - reference.strain_percent)
    return Deviation(
        clip.name,
        name,
        engine.precision,
        len(clip.frames),
        float(_distance(found.read, reference.read).max()),
        float(np.median(px)),
        float(np.percentile(px, 99)),
        float(px.max()),
        float(strain.max()),
    )


def read(engine: Engine, features: Features, template: Template, at: FloatArray) -> FloatArray:
    """Where one frame by itself has the points (N, 2), looking around `at` (N, 2); pixels of the engine's image."""
    evidence = engine.evidence(features, [template], at, READ_SIDE)[0]
    return at + soft_argmax(evidence, READ_SIGMA_PX, inside(at, READ_SIDE, engine.input_size)).px


def _distance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Between points (T, N, 2); none where both are lost."""
    apart = np.asarray(np.hypot(*np.moveaxis(a - b, -1, 0)))
    return np.where((np.isnan(a) & np.isnan(b)).any(-1), np.float32(0), apart)


def refuse_far(rows: Sequence[Deviation]) -> None:
    """Raise InputError for the first row beyond its bound; NaN is beyond every bound."""
    for row in rows:
        if not row.is_within:
            raise InputError(row.complaint())


def _strain(points: FloatArray) -> FloatArray:
    """Lagrangian strain (T,) of the smoothed contour (T, N, 2) since the first frame, percent."""
    meter = StrainMeter(StrainConfig(), points.shape[1])
    sure = np.ones(points.shape[1], np.float32)
    lengths = np.array([meter.length(p, sure) or np.nan for p in points])
    return 100.0 * (lengths / lengths[0] - 1.0)
