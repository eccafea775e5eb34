"""Follows points from frame to frame: motion prior, anchor templates, recent templates, one product.

Each point has two anchors: `identity`, the template of the frame it was set on, frozen; and `appearance`, that of the
latest diastasis. Templates of the last frames join them. The prior is centred on the last position moved by optical
flow, or on the last position for an engine that wants no flow.
"""

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine import Engine, Factor, Features, Matched, Prior, Template
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.motion import FrameFlow, flow_at


class PointTracker:
    """State of the points of one stream; coordinates are engine pixels."""

    def __init__(self, engine: Engine, config: MatchConfig) -> None:
        self._engine = engine
        self._config = config
        self._flow = FrameFlow()
        self.reset()

    def reset(self) -> None:
        """Forget points and images."""
        self._flow.reset()
        self.points: FloatArray = np.zeros((0, 2), np.float32)
        self.confidence: FloatArray = np.zeros(0, np.float32)
        self._trust: FloatArray = np.zeros(0, np.float32)  # confidence, averaged over the last frames
        self._is_relocalising = False
        self._identity: Template = None
        self._appearance: Template = None
        self._recent: list[Template] = []  # of the last frames, newest last

    def start(self, features: Features, points: FloatArray, image: NDArray[np.uint8]) -> None:
        """Begin at points (N, 2) of the frame with these features; earlier points are forgotten."""
        self._flow.reset()
        self._flow.update(image)
        self.points = points.astype(np.float32)
        self.confidence = np.ones(len(points), np.float32)
        self._trust = self.confidence.copy()
        self._identity = self._engine.templates(features, self.points)
        self._appearance = None
        self._recent = []
        self._remember(features)

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
        self._appearance = self._engine.templates(features, points)

    def update(self, features: Features, image: NDArray[np.uint8]) -> Matched:
        """Find the points in the next frame."""
        flow = self._flow.update(image) if self._engine.uses_flow else None
        matched = self._engine.match(features, self._factors(), self._prior(flow))
        self._is_relocalising = False
        self.points, self.confidence = matched.points, matched.confidence
        self._trust += self._config.trust_rate * (self.confidence - self._trust)
        self._remember(features)
        return matched

    def _prior(self, flow: FloatArray | None) -> Prior:
        scale = self._engine.input_size[1] / 256.0
        if flow is None:
            sigma_px = self._config.lost_sigma_px if self._is_relocalising else self._config.still_sigma_px
            return Prior(self.points, np.full(len(self.points), sigma_px * scale, np.float32))
        step = flow_at(flow, self.points)
        speed = np.nan_to_num(np.hypot(step[:, 0], step[:, 1]))
        sigma = self._config.flow_sigma_px * scale + self._config.flow_sigma_per_px * speed
        return Prior(self.points + step, sigma.astype(np.float32))

    def _factors(self) -> list[Factor]:
        """Templates with their weights; the anchor's weight is shared when there are two anchors."""
        ones = np.ones(len(self.points), np.float32)
        weight = self._engine.anchor_weight * self._config.anchor_gain
        if self._appearance is None:
            chosen = [Factor(self._identity, weight * ones, True)]
        else:
            share = self._config.identity_share
            chosen = [
                Factor(self._identity, share * weight * ones, True),
                Factor(self._appearance, (1 - share) * weight * ones, True),
            ]
        for lag, gain in self._engine.recent_weights.items():
            if lag <= len(self._recent):
                chosen.append(Factor(self._recent[-lag], gain * self._config.recent_gain * ones, False))
        return chosen

    def _remember(self, features: Features) -> None:
        lags = self._engine.recent_weights
        if not lags:
            return
        self._recent.append(self._engine.templates(features, self.points))
        del self._recent[: -max(lags)]
