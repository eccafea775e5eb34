"""Fine-tuning of trackers of others by `train-tracker`, with the recipe of train.py: `model: echotracker` and so on.

An example is a window of frames, turned, sheared, mirrored and run backwards as any other (data.py), so that no
direction of motion is a useful guess; points are set in its first frame. Weights come from the user's checkpoint
(`init_from`), and network.pt is opened wherever such a checkpoint is (point_tracker.py).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specktrack.training.baseline_losses import Answer, TrackLosses, track_losses
from specktrack.training.cotracker import STRIDE, CoTracker, state_at_queries
from specktrack.training.data import ExampleSettings
from specktrack.training.echotracker import EchoTracker
from specktrack.training.loader import Plan
from specktrack.training.official_checkpoint import load_official
from specktrack.training.pips import Pips
from specktrack.training.point_tracker import TRACKERS
from specktrack.training.train import Trainer


class Follow(nn.Module):
    """A tracker in training: windows and points of their first frames in, what each refinement says out."""

    def __init__(self, network: nn.Module, iterations: int) -> None:
        super().__init__()
        self.network, self._iterations = network, iterations

    def forward(self, videos: Tensor, points: Tensor) -> list[Answer]:
        """Of each window of videos (B, T, H, W), 0..255, with points (B, N, 2) in pixels."""
        return [self._follow(video[:, None], asked) for video, asked in zip(videos, points, strict=True)]

    def _follow(self, video: Tensor, points: Tensor) -> Answer:
        network = self.network
        if isinstance(network, EchoTracker):
            return Answer(network(network.encode(video), points, self._iterations))
        colour = video.expand(-1, 3, -1, -1)
        if isinstance(network, Pips):
            still = points[:, None].repeat(1, len(video), 1)
            return Answer(network(network.encode(colour), still, self._iterations).before_lock[:-1])
        assert isinstance(network, CoTracker)
        return self._follow_cotracker(network, colour, points)

    def _follow_cotracker(self, network: CoTracker, video: Tensor, points: Tensor) -> Answer:
        queries = torch.cat((torch.zeros_like(points[:, :1]), points), 1)
        pyramid = network.encode(video)
        support, state = network.read_support(pyramid, queries), state_at_queries(queries, len(video))
        states = []
        for _ in range(self._iterations):
            state = network(pyramid, support, state)
            states.append(state)
        said = torch.stack(states)
        return Answer(STRIDE * said[..., :2], said[..., 2], said[..., 3])


class BaselineTrainer(Trainer):
    """A run of train.py for another tracker."""

    figures = ("total", "first_px", "last_px", "likelihood")
    headline = "last_px"
    clip_norm = 10.0  # of EchoTracker's authors: its loss is in pixels, ours of some ten pixels

    def _build(self) -> nn.Module:
        return TRACKERS[self.config.model][0]()

    def initialise(self) -> None:
        """The user's checkpoint, official or of an earlier run."""
        if self.config.init_from:
            load_official(self.network, Path(self.config.init_from), self.config.model)
            self.average.restart()

    def plan(self) -> Plan:
        """Windows in place of anchor, recent frames and target."""
        config = self.config
        examples = ExampleSettings(
            config.size,
            config.n_points,
            affine=config.affine,
            appearance=config.appearance,
            query=config.query,
            window=config.window_frames,
        )
        return Plan(config.seed, config.batch, config.data, examples, self.fabric.global_rank)

    def _set_up(self) -> tuple[Any, Any]:
        follow = Follow(self.network, self.config.iterations)
        return self.fabric.setup(follow, self.optimizer, _reapply_compile=False)

    def _losses(self, network: Any, frames: Tensor, points: Tensor, visible: Tensor) -> TrackLosses:
        answers = network(255 * frames, points[:, 0])
        truth, seen = points.transpose(1, 2), (visible & visible[:, :1]).transpose(1, 2)
        with torch.autocast(self.fabric.device.type, enabled=False):
            return track_losses(answers, truth, seen)
