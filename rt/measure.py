"""Everything one frame says about where the points are: evidence of anchors and recent frames, patches aligned to it.

Each measurement is an offset from where the point was expected (last position + flow). They err differently: flow and
recent templates are precise and drift, anchors do not drift and are noisy while the speckle has changed. What to make
of them is fusion.py's business. Coordinates are pixels of the engine's image; what is measured is given in units:
pixels of an image 256 across.

Zeroing: the soft argmax is a mean, and over asymmetric speckle a mean is a little off its peak. Each template
therefore remembers what it answers in its own frame, where the truth is known, and that offset is taken out of later
answers. Without it a still picture drifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine import Engine, Features, Template
from specktrack.rt.geometry import FloatArray
from specktrack.rt.motion import Aligned, Patches, align
from specktrack.rt.position import closeness
from specktrack.rt.readout import FAR, NEAR, OWN, Reader, Rows

NEAR_UNITS, FAR_UNITS = 10.0, 28.0  # reach of the neighbours whose evidence is pooled
SIGMA_UNITS = 3.0  # of the prior of each measurement: it bounds the search, fusion.py weighs
REACH_UNITS = 10.0  # half side of the searched square
LAGS = (1, 4)  # frames back of the recent templates

# In this order: the anchor alone, with near and far neighbours; one frame back, four frames back, near and far; the
# anchor's patch and that of four frames back aligned by Lucas-Kanade.
MEASUREMENTS = ("own", "near", "far", "back1", "back4", "back4_far", "patch", "patch_back4")
# Which evidence each is read from: that of the anchors (0), of one frame back (1), of four frames back (2).
READINGS = ((0, OWN), (0, NEAR), (0, FAR), (1, NEAR), (2, NEAR), (2, FAR))
FOLLOWS_POINT = np.array(["back" in name for name in MEASUREMENTS])  # taken at the point's own, drifting positions


@dataclass(frozen=True)
class Neighbourhood:
    """How much the points have to say about each other, from where they were set."""

    near: FloatArray  # (N, N)
    far: FloatArray  # (N, N)

    @cached_property
    def rows(self) -> Rows:
        """What neighbours weigh when evidence is pooled."""
        return Rows.of(self.near, self.far)

    @staticmethod
    def of(points: FloatArray, scale: float) -> "Neighbourhood":
        """points (N, 2); scale: pixels per unit."""
        return Neighbourhood(closeness(points, NEAR_UNITS * scale), closeness(points, FAR_UNITS * scale))


@dataclass(frozen=True)
class Sighting:
    """The points as one frame showed them: its image, their templates, and how far off these answer in it."""

    image: NDArray[np.uint8]
    points: FloatArray  # (N, 2) engine pixels
    template: Template
    own: FloatArray  # (N, 2) engine pixels
    near: FloatArray
    far: FloatArray


@dataclass(frozen=True)
class Measured:
    """Measurements of one frame, in the order of MEASUREMENTS."""

    offset: FloatArray  # (M, N, 2) units from the expected position
    spread: FloatArray  # (M, N) units; of aligned patches, the gray levels they still differ by
    share_own: FloatArray  # (N,) of the anchor's evidence that lies near its answer
    share_near: FloatArray  # (N,) the same with near neighbours


class Measurer:
    """Reads evidence for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scale = engine.input_size[1] / 256.0
        self._side = 2 * round(REACH_UNITS * self._scale) + 1
        self._reader = Reader(self._side, SIGMA_UNITS * self._scale, engine.input_size)
        self._searchers: dict[float, tuple[int, Reader]] = {}  # by the width of their prior

    def sighting(
        self, features: Features, image: NDArray[np.uint8], points: FloatArray, around: Neighbourhood
    ) -> Sighting:
        """The points (N, 2), engine pixels, in the frame of these features."""
        template = self._engine.templates(features, points)
        log_c = self._engine.evidence(features, [template], points, self._side)
        own, near, far = self._reader.read(log_c, READINGS[:3], 0, around.rows, points).offsets.px
        return Sighting(image, points, template, own, near, far)

    def measure(
        self,
        features: Features,
        image: NDArray[np.uint8],
        anchors: Sequence[tuple[Sighting, float]],
        recent: Sequence[Sighting],
        expected: FloatArray,
        around: Neighbourhood,
        patches: Sequence[Aligned] | None = None,
    ) -> Measured:
        """Measure around the expected positions (N, 2).

        anchors  sightings that do not drift, with their weights (sum 1), the identity first
        recent   the sightings LAGS frames back
        patches  those of `aligned_frames` aligned to this image, where that is done already
        """
        if patches is None:
            sources = aligned_frames(anchors[0][0], recent)
            patches = [align(s.image, image, s.points, expected) for s in sources]
        templates = [sighting.template for sighting, _ in anchors] + [sighting.template for sighting in recent]
        log_c = self._engine.evidence(features, templates, expected, self._side)
        stack = _joined(log_c, [weight for _, weight in anchors])
        read = self._reader.read(stack, READINGS, 2, around.rows, expected)
        zero = [
            sum(weight * getattr(sighting, kind) for sighting, weight in anchors) for kind in ("own", "near", "far")
        ]
        zero += [recent[0].near, recent[1].near, recent[1].far]
        offset = np.concatenate((read.offsets.px - np.stack(zero), [patch.offset for patch in patches])) / self._scale
        spread = np.concatenate((read.offsets.spread_px / self._scale, [patch.residual for patch in patches]))
        return Measured(offset.astype(np.float32), spread.astype(np.float32), *read.share)

    def search(
        self,
        features: Features,
        sighting: Sighting,
        centre: FloatArray,
        sigma_px: float,
        around: Neighbourhood,
        is_far: bool = False,
    ) -> tuple[FloatArray, FloatArray]:
        """Where an anchor alone sees the points, widely around centre (N, 2): offsets (N, 2) px and shares (N,).

        is_far  whether far neighbours are heard, or near ones only
        """
        whose, zero = (FAR, sighting.far) if is_far else (NEAR, sighting.near)
        side, reader = self._searcher(sigma_px)
        log_c = self._engine.evidence(features, [sighting.template], centre, side)
        read = reader.read(log_c, ((0, whose),), 1, around.rows, centre)
        return read.offsets.px[0] - zero, read.share[0]

    def _searcher(self, sigma_px: float) -> tuple[int, Reader]:
        """Side of the square and reader for a prior of this width; made when first asked for."""
        if sigma_px not in self._searchers:
            side = 2 * min(int(np.ceil(3.0 * sigma_px)), round(20 * self._scale)) + 1
            self._searchers[sigma_px] = side, Reader(side, sigma_px, self._engine.input_size)
        return self._searchers[sigma_px]


def aligned_frames(identity: Sighting, recent: Sequence[Sighting]) -> tuple[Patches, Patches]:
    """The frames whose patches are measured: the one the points were set on, and the last of LAGS frames back."""
    return Patches(identity.image, identity.points), Patches(recent[-1].image, recent[-1].points)


def _joined(log_c: FloatArray, weights: Sequence[float]) -> FloatArray:
    """Evidence (K, N, S, S) whose first volumes are the anchors': these become one, in place, by their weights."""
    n_anchors = len(weights)
    if n_anchors == 1:
        return log_c
    joined = log_c[n_anchors - 1]
    joined *= weights[-1]
    for k, weight in enumerate(weights[:-1]):
        joined += weight * log_c[k]
    return log_c[n_anchors - 1 :]
