"""Follows points from frame to frame: motion prior, anchor templates, recent templates, one product.

Each point has two anchors: `identity`, the template of the frame it was set on, frozen; and `appearance`, that of the
latest diastasis. Templates of the last frames join them. The prior is centred on the last position moved by optical
flow, or on the last position for an engine that wants no flow.

Neighbours: optical flow drifts for a whole piece of wall together, while the errors of matches are each point's own.
So the corrections that matches make to the flow are averaged over neighbouring points, the surer ones counting more.

Zeroing: the soft argmax is a mean, and over asymmetric speckle a mean is a little off its peak. Each template
therefore remembers what it answers in its own frame, where the truth is known, and that offset is taken out of later
answers. Without it a still picture drifts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine import Engine, Factor, Features, Matched, Prior, Template
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.motion import PointFlow, Step

LEAST_SIGMA_PX = 0.3  # no match is surer than this
LEAST_CONFIDENCE = 0.05


@dataclass(frozen=True)
class _Zeroed:
    """Templates of one frame and how far off they answer in it."""

    template: Template
    offset: FloatArray  # (N, 2) engine pixels


class PointTracker:
    """State of the points of one stream; coordinates are engine pixels."""

    def __init__(self, engine: Engine, config: MatchConfig) -> None:
        self._engine = engine
        self._config = config
        self._flow = PointFlow()
        self._scale = engine.input_size[1] / 256.0
        self.reset()

    def reset(self) -> None:
        """Forget points and images."""
        self._flow.reset()
        self.points: FloatArray = np.zeros((0, 2), np.float32)
        self.confidence: FloatArray = np.zeros(0, np.float32)
        self._trust: FloatArray = np.zeros(0, np.float32)  # confidence, averaged over the last frames
        self._is_relocalising = False
        self._identity: _Zeroed | None = None
        self._appearance: _Zeroed | None = None
        self._recent: list[_Zeroed] = []  # of the last frames, newest last
        self._closeness: FloatArray = np.zeros((0, 0), np.float32)
        self._loop_offset: FloatArray = np.zeros((0, 2), np.float32)
        self._pending: FloatArray = np.zeros((0, 2), np.float32)  # drift found, not yet taken out

    def start(self, features: Features, points: FloatArray, image: NDArray[np.uint8]) -> None:
        """Begin at points (N, 2) of the frame with these features; earlier points are forgotten."""
        self.reset()
        self.points = points.astype(np.float32)
        self._flow.update(image, self.points)
        self.confidence = np.ones(len(points), np.float32)
        self._trust = self.confidence.copy()
        self._closeness = closeness(self.points, self._config.neighbour_px * self._scale)
        self._identity = self._zeroed(features, self.points)
        self._loop_offset = np.nan_to_num(self._ask_identity(features, self.points).points - self.points)
        self._pending = np.zeros_like(self.points)
        self._remember(self._identity)

    @property
    def is_lost(self) -> NDArray[np.bool_]:
        """(N,) points that cannot be told from their surroundings any more; they are still followed, to be regained."""
        return ~is_known(self.points) | (self._trust < self._config.lost_below)

    def relocalise(self) -> None:
        """Frames are missing: for the next one trust neither flow nor recent templates, and search widely."""
        self._flow.reset()
        self._recent = []
        self._is_relocalising = True

    def re_anchor(self, features: Features, points: FloatArray) -> None:
        """Take the appearance templates from a frame of the window where the points (N, 2) were found."""
        self._appearance = self._zeroed(features, points)

    def close_loop(self, features: Features, points: FloatArray) -> None:
        """The heart is where it was when the points were set: ask the identity templates how far points have drifted.

        points (N, 2) were found in the frame of these features. A sure point goes by its own answer, an unsure one by
        its neighbours'; the drift is taken out over the next few frames, so that no point jumps.
        """
        answer = self._ask_identity(features, points)
        own = np.asarray(answer.points - self._loop_offset - points, np.float32)
        trust = answer.confidence[:, None]
        sigma = np.asarray(answer.sigma / np.maximum(answer.confidence, LEAST_CONFIDENCE), np.float32)
        drift = trust * own + (1 - trust) * shared(own, sigma, self._closeness)
        self._pending = np.nan_to_num(drift)

    def look_ahead(self, image: NDArray[np.uint8]) -> None:
        """Start on what needs only the next image, while the engine encodes it."""
        if self._identity is not None and self._engine.uses_flow:
            self._flow.begin(image)

    def update(self, features: Features, image: NDArray[np.uint8]) -> Matched:
        """Find the points in the next frame; raises RuntimeError before `start`."""
        flow = self._flow.update(image, self.points) if self._engine.uses_flow else None
        prior, chosen = self._prior(flow), self._choose(has_flow=flow is not None)
        factors = [Factor(zeroed.template, weight, is_anchor) for zeroed, weight, is_anchor in chosen]
        matched = self._engine.match(features, factors, prior)
        self._is_relocalising = False
        total = sum(weight for _, weight, _ in chosen)
        offset = sum(zeroed.offset * (weight / total)[:, None] for zeroed, weight, _ in chosen)
        correction = np.asarray(matched.points - offset - prior.centre, np.float32)
        if flow is not None:
            correction = shared(correction, matched.sigma, self._closeness)
        taken_out = self._config.loop_rate * self._pending
        self._pending = self._pending - taken_out
        self.points = prior.centre + correction + taken_out
        self.confidence = matched.confidence
        self._trust += self._config.trust_rate * (self.confidence - self._trust)
        if self._engine.recent_weights:
            self._remember(self._zeroed(features, self.points))
        return Matched(self.points, matched.sigma, matched.confidence)

    def _ask_identity(self, features: Features, points: FloatArray) -> Matched:
        """Where the identity templates alone see the points, searched widely around points (N, 2)."""
        assert self._identity is not None
        ones = np.ones(len(points), np.float32)
        factor = Factor(self._identity.template, self._engine.anchor_weight * ones, True)
        return self._engine.match(features, [factor], Prior(points, self._config.loop_sigma_px * self._scale * ones))

    def _prior(self, flow: Step | None) -> Prior:
        if flow is None:
            sigma_px = self._config.lost_sigma_px if self._is_relocalising else self._config.still_sigma_px
            return Prior(self.points, np.full(len(self.points), sigma_px * self._scale, np.float32))
        speed = np.nan_to_num(np.hypot(*flow.displacement.T))
        doubt = np.nan_to_num(flow.disagreement)
        sigma = self._config.flow_sigma_px * self._scale + self._config.flow_sigma_per_px * speed
        sigma += self._config.flow_doubt * doubt
        return Prior(self.points + flow.displacement, sigma.astype(np.float32))

    def _choose(self, has_flow: bool) -> list[tuple[_Zeroed, FloatArray, bool]]:
        """Templates, weights and whether each is an anchor; two anchors share the anchor's weight.

        Errors of the same anchor are alike from frame to frame, so beside flow it counts less than its weight says.
        """
        if self._identity is None:
            raise RuntimeError("no points were set")
        ones = np.ones(len(self.points), np.float32)
        anchor = self._engine.anchor_weight * (self._config.anchor_gain if has_flow else 1.0) * ones
        share = self._config.identity_share if self._appearance is not None else 1.0
        chosen = [(self._identity, share * anchor, True)]
        if self._appearance is not None:
            chosen.append((self._appearance, (1 - share) * anchor, True))
        for lag, gain in self._engine.recent_weights.items():
            if lag <= len(self._recent):
                chosen.append((self._recent[-lag], gain * self._config.recent_gain * ones, False))
        return chosen

    def _zeroed(self, features: Features, points: FloatArray) -> _Zeroed:
        """Templates at points (N, 2), and what they answer there under the weight and the prior of a point at rest."""
        template = self._engine.templates(features, points)
        weight = self._engine.anchor_weight * (self._config.anchor_gain if self._engine.uses_flow else 1.0)
        weight += sum(self._engine.recent_weights.values()) * self._config.recent_gain
        sigma_px = self._config.flow_sigma_px if self._engine.uses_flow else self._config.still_sigma_px
        ones = np.ones(len(points), np.float32)
        answer = self._engine.match(
            features, [Factor(template, weight * ones, True)], Prior(points, sigma_px * self._scale * ones)
        )
        return _Zeroed(template, np.nan_to_num(answer.points - points))

    def _remember(self, newest: _Zeroed) -> None:
        self._recent.append(newest)
        del self._recent[: -max(self._engine.recent_weights, default=1)]


def closeness(points: FloatArray, reach_px: float) -> FloatArray:
    """How much (N, N) each of the points (N, 2) has to say about each other: a Gaussian of their distance."""
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-0.5 * squared / reach_px**2), np.float32)


def shared(correction: FloatArray, sigma: FloatArray, near: FloatArray) -> FloatArray:
    """Corrections (N, 2) averaged over neighbours.

    sigma  (N,) standard deviation of each match, pixels
    near   (N, N) from `closeness`
    A lost (NaN) point tells its neighbours nothing and stays lost.
    """
    known = is_known(correction)
    certainty = np.where(known, 1.0 / np.maximum(sigma, LEAST_SIGMA_PX) ** 2, 0.0).astype(np.float32)
    weight = near * np.nan_to_num(certainty)[None]
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    mean = weight @ np.where(known[:, None], correction, 0.0).astype(np.float32) / total
    return np.asarray(np.where(known[:, None], mean, np.nan), np.float32)
