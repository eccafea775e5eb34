"""Follows points from frame to frame: optical flow says where they are expected, evidence of templates corrects it.

Each point has two anchors: `identity`, the template of the frame it was set on, frozen; and `appearance`, that of the
latest diastasis. Templates of the last frames join them. What a frame says is measured in measure.py and weighed in
fusion.py. An engine without fusion is a classical matcher: no flow, the anchors alone under a prior at the last place.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig
from specktrack.rt.dense_flow import DenseFlow
from specktrack.rt.engine import Engine, Features
from specktrack.rt.fusion import Context, FusionNet
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.measure import LAGS, Measured, Measurer, Neighbourhood, Sighting, aligned_frames
from specktrack.rt.motion import PointFlow, Step, align
from specktrack.rt.position import closeness, inside, share_near, soft_argmax
from specktrack.rt.wall_shape import NEAR_WALL, neighbours_say, put_back, steady

LOOP_REACH_UNITS = 4.0  # how far alignment may still move a point when the loop is closed
LOOP_RESIDUAL = 20.0  # gray levels; patches that differ by more are not the same
STRAYED_UNITS = 5.0  # off the wall by more, about 3 mm, and unsure: the point goes back to where its neighbours have it


class PointTracker:
    """State of the points of one stream; coordinates are engine pixels."""

    def __init__(self, engine: Engine, config: MatchConfig) -> None:
        self._engine = engine
        self._config = config
        self._flow = PointFlow()
        self._scale = engine.input_size[1] / 256.0
        self._measurer = Measurer(engine)
        self._curve = np.asarray(engine.confidence_curve, np.float64).T
        self.reset()

    def reset(self) -> None:
        """Forget points and images."""
        self._flow.reset()
        self.points: FloatArray = np.zeros((0, 2), np.float32)
        self.steady: FloatArray = self.points  # as they are published, drawn to where surer neighbours have the wall
        self.confidence: FloatArray = np.zeros(0, np.float32)
        self._trust: FloatArray = np.zeros(0, np.float32)  # confidence, averaged over the last frames
        self._is_relocalising = False
        self._identity: Sighting | None = None
        self._appearance: Sighting | None = None
        self._recent: list[Sighting] = []  # of the last frames, newest last
        self._unseen: tuple[Features, NDArray[np.uint8]] | None = None  # the newest frame, until `catch_up`
        self.around = Neighbourhood.of(self.points, self._scale)  # what the points have to say about each other
        self._close: FloatArray = np.zeros((0, 0), np.float32)  # how near the points were to each other
        self._pending: FloatArray = np.zeros((0, 2), np.float32)  # drift found, not yet taken out
        self._state: FloatArray = np.zeros((0, 0), np.float32)  # of the fusion
        self._sure: FloatArray = np.zeros(0, np.float32)  # what the fusion said in the frame before
        self._age = 0
        self.measured: Measured | None = None  # of the last frame; None where only anchors were searched
        self.step: Step | None = None  # optical flow of the last frame

    def start(self, features: Features, points: FloatArray, image: NDArray[np.uint8]) -> None:
        """Begin at points (N, 2) of the frame with these features; earlier points are forgotten."""
        self.reset()
        self.points = points.astype(np.float32)
        self.steady = self.points
        self._flow.update(image, self.points)
        self.confidence = np.ones(len(points), np.float32)
        self._trust = self.confidence.copy()
        self.around = Neighbourhood.of(self.points, self._scale)
        self._close = closeness(self.points, NEAR_WALL.reach * self._scale)
        self._identity = self._measurer.sighting(features, image, self.points, self.around)
        self._pending = np.zeros_like(self.points)
        if self._engine.fusion is not None:
            self._state = self._engine.fusion.start(len(points))
            self._sure = self.confidence.copy()
        self._recent = [self._identity]

    @property
    def is_lost(self) -> NDArray[np.bool_]:
        """(N,) points that cannot be told from their surroundings any more; they are still followed, to be regained."""
        return ~is_known(self.points) | (self._trust < self._config.lost_below)

    def relocalise(self) -> None:
        """Frames are missing: for the next one trust neither flow nor recent templates, and search widely."""
        self._flow.reset()
        self._recent = []
        self._unseen = None
        self._is_relocalising = True

    @property
    def flow(self) -> DenseFlow | None:
        """Dense flow from the frame before to the last one, around the points; None after a gap, or without fusion."""
        return self.step.dense if self.step else None

    @property
    def pending(self) -> FloatArray:
        """Drift (N, 2) that was found and is not yet taken out of `points`."""
        return self._pending

    def re_anchor(self, features: Features, points: FloatArray, image: NDArray[np.uint8]) -> None:
        """Take the appearance templates from a frame of the window where the points (N, 2) were found."""
        self._appearance = self._measurer.sighting(features, image, points, self.around)

    def close_loop(self, features: Features, points: FloatArray, image: NDArray[np.uint8]) -> None:
        """The heart is where it was when the points were set: ask the identity templates how far points have drifted.

        points (N, 2) were found in the frame of these features. A sure point goes by its near neighbours' answer, an
        unsure one by that of the wall farther around; one that is far off goes back to where its neighbours have it.
        The drift is taken out over the next few frames, so that no point jumps. To the fusion the points are as good
        as newly set: it was never shown more than about a beat.
        """
        assert self._identity is not None
        sigma_px = self._config.loop_sigma_px * self._scale
        near, share = self._measurer.search(features, self._identity, points, sigma_px, self.around)
        far, _ = self._measurer.search(features, self._identity, points, sigma_px, self.around, is_far=True)
        drift = share[:, None] * near + (1.0 - share[:, None]) * far
        # At the same phase the very picture of the anchor is there again: aligning it adds what the soft maximum lacks.
        patch = align(self._identity.image, image, self._identity.points, points + drift)
        is_same = (np.hypot(*patch.offset.T) < LOOP_REACH_UNITS * self._scale) & (patch.residual < LOOP_RESIDUAL)
        found = points + drift + np.where(is_same[:, None], patch.offset, 0.0)
        start, found = self._identity.points / self._scale, found / self._scale
        back = put_back(start, found, share * is_same, self.around.far, STRAYED_UNITS) * self._scale
        self._pending = np.nan_to_num(back - points).astype(np.float32)
        if self._engine.fusion is not None:
            self._state = self._engine.fusion.start(len(points))
            self._age = 0

    def catch_up(self) -> None:
        """Look at the points in the last frame, for the next one: nobody who waits for an answer waits for this."""
        if self._unseen is not None:
            features, image = self._unseen
            self._unseen = None
            self._recent.append(self._measurer.sighting(features, image, self.points, self.around))
            del self._recent[: -max(LAGS)]

    @property
    def wanted(self) -> int:
        """Frames wanted together: each is followed by itself."""
        return 1

    def foresee(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Nothing is to be gained from seeing frames together."""

    def look_ahead(self, image: NDArray[np.uint8]) -> None:
        """Start on what needs only the next image, while the engine encodes it."""
        self.catch_up()
        if self._identity is not None and self._engine.fusion is not None:
            self._flow.begin(image, self.points, aligned_frames(self._identity, self._lagging()))

    def update(self, features: Features, image: NDArray[np.uint8], smooth: FloatArray | None = None) -> None:
        """Find the points in the next frame; raises RuntimeError before `start`.

        smooth  (N, 2) how far dense flow moves the points into it, where that is known already
        """
        if self._identity is None:
            raise RuntimeError("no points were set")
        self.catch_up()
        self._age += 1
        fusion = self._engine.fusion
        self.step = None
        if fusion is not None:
            earlier = aligned_frames(self._identity, self._lagging())
            self.step = self._flow.update(image, self.points, earlier, smooth)
        self.measured = None
        if fusion is None:
            self._follow_anchors(features)
        elif self.step is None:
            self._find_again(features)
        else:
            self._fuse(fusion, self.step, features, image)
        taken_out = self._config.loop_rate * self._pending
        self._pending = self._pending - taken_out
        self.points = self.points + taken_out
        self.steady = self._steadied() if fusion is not None and self._config.steady else self.points
        self._is_relocalising = False
        self._trust += self._config.trust_rate * (self.confidence - self._trust)
        if fusion is not None:
            self._unseen = (features, image)

    def _follow_anchors(self, features: Features) -> None:
        """The classical matcher: the anchors alone, each point on its own, around the last place."""
        sigma_px = self._config.lost_sigma_px if self._is_relocalising else self._config.still_sigma_px
        sigma = sigma_px * self._scale
        side = 2 * int(np.ceil(2.4 * sigma)) + 1
        anchors = self._anchors()
        volumes = self._engine.evidence(features, [z.template for z, _ in anchors], self.points, side)
        log_c = sum(weight * volumes[k] for k, (_, weight) in enumerate(anchors))
        is_open = inside(self.points, side, self._engine.input_size)
        answer = soft_argmax(log_c, sigma, is_open).px
        zero = sum(weight * z.own for z, weight in anchors)
        self.confidence = self._calibrated(share_near(log_c, answer, is_open))
        self.points = self.points + answer - zero

    def _find_again(self, features: Features) -> None:
        """After a gap: where the frozen anchors see the wall, neighbours together, around the last place."""
        assert self._identity is not None
        sigma_px = self._config.lost_sigma_px * self._scale
        offset, share = self._measurer.search(features, self._identity, self.points, sigma_px, self.around, is_far=True)
        self.points = self.points + offset
        self.confidence = np.minimum(share, self.confidence)

    def _fuse(self, fusion: FusionNet, flow: Step, features: Features, image: NDArray[np.uint8]) -> None:
        """Expect the points where the flow carries them, measure, weigh, correct."""
        assert self._identity is not None
        expected = self.points + flow.displacement
        recent = self._lagging()
        measured = self._measurer.measure(features, image, self._anchors(), recent, expected, self.around, flow.aligned)
        vectors = np.concatenate(
            (measured.offset, flow.half_difference[None] / self._scale, self._around_says(flow, expected))
        )
        context = self._context(measured, flow)
        fused = fusion.step(vectors, context, self._state, self.around.near)
        self._state, self._sure = fused.state, fused.confidence
        self.points = expected + fused.correction * self._scale
        self.confidence = self._calibrated(fused.confidence)
        self.measured = measured

    def _lagging(self) -> list[Sighting]:
        """The sightings LAGS frames back, or as far back as there are any."""
        assert self._identity is not None
        return [self._recent[-min(lag, len(self._recent))] if self._recent else self._identity for lag in LAGS]

    def _around_says(self, flow: Step, expected: FloatArray) -> FloatArray:
        assert self._identity is not None
        start = self._identity.points
        lengths = (start, flow.displacement, flow.half_difference, expected - start)
        start, step, half_difference, moved = (v / self._scale for v in lengths)
        return neighbours_say(start, step, half_difference, moved, self._sure, self.around.far)

    def _context(self, measured: Measured, flow: Step) -> Context:
        return Context(
            spread=measured.spread,
            share_own=measured.share_own,
            share_near=measured.share_near,
            speed=np.nan_to_num(np.hypot(*flow.displacement.T)) / self._scale,
            age=np.full(len(self.points), self._age, np.float32),
            crowd_near=self.around.near.sum(1),
            crowd_far=self.around.far.sum(1),
        )

    def _anchors(self) -> list[tuple[Sighting, float]]:
        assert self._identity is not None
        if self._appearance is None:
            return [(self._identity, 1.0)]
        share = self._config.identity_share
        return [(self._identity, share), (self._appearance, 1.0 - share)]

    def _steadied(self) -> FloatArray:
        assert self._identity is not None
        start, found = self._identity.points / self._scale, self.points / self._scale
        return steady(start, found, self.confidence, self._close) * self._scale

    def _calibrated(self, raw: FloatArray) -> FloatArray:
        return np.interp(raw, *self._curve).astype(np.float32)
