"""CoTracker3: an independent implementation of the tracker of arXiv 2410.11831, built from a description.

All points of a clip are refined together: each iteration correlates the patch around every query with the patch
around its present position in every frame, and a transformer corrects positions, visibility and confidence.
Positions are counted in cells of the feature map, 4 pixels each, with no half-pixel term. State of N points in T
frames: (N, T, 4) float32: x, y in cells, visibility logit, confidence logit.

Parameter names are those of the official checkpoints, whose offline and online files differ in `time_emb` alone.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specktrack.training.cotracker_correlation import (
    EMBEDDING,
    LEVELS,
    CorrelationMlp,
    Pyramid,
    build_pyramid,
    embed,
    read_support,
)
from specktrack.training.cotracker_transformer import UpdateFormer
from specktrack.training.residual_encoder import ResidualEncoder, encoded, scaled

STRIDE = 4
NOMINAL_CELLS = (128.0, 96.0)  # motion is divided by the map of a 512 x 384 image, whatever the image
OCTAVES = 10
N_MOTION = 4 * (1 + 2 * OCTAVES)
N_TOKEN = 2 + LEVELS * EMBEDDING + N_MOTION
ONLINE_WINDOW = 16
OFFLINE_WINDOW = 60


@dataclass(frozen=True)
class Trajectories:
    """N points in T frames."""

    positions_px: Tensor  # (N, T, 2) float32 x, y
    visibility: Tensor  # (N, T) float32, a probability
    confidence: Tensor  # (N, T) float32, a probability: is the position right?


class CoTracker(nn.Module):
    """Encoder, correlation and transformer; `forward` is one iteration of refinement."""

    time_emb: Tensor

    def __init__(self, window_len: int) -> None:
        super().__init__()
        self.window_len = window_len
        self.fnet = ResidualEncoder(3, (64, 96, 128, 128), 256, 128, STRIDE)
        self.updateformer = UpdateFormer(N_TOKEN)
        self.corr_mlp = CorrelationMlp()
        self.register_buffer("time_emb", time_embedding(window_len))

    def encode(self, frames: Tensor) -> Pyramid:
        """Feature maps of frames (T, 3, H, W), RGB 0..255; H and W multiples of 4. Each frame is encoded by itself."""
        return build_pyramid(encoded(self.fnet, scaled(frames)))

    def read_support(self, pyramid: Pyramid, queries: Tensor) -> list[Tensor]:
        """What queries (N, 3), each frame, x, y in pixels, look like: a patch (N, 49, C) for every level."""
        return read_support(pyramid, queries[:, 1:] / STRIDE, queries[:, 0].long())

    def forward(self, pyramid: Pyramid, support: list[Tensor], state: Tensor) -> Tensor:
        """The state after one more iteration."""
        return state + self.updateformer(self.tokens(pyramid, support, state))

    def tokens(self, pyramid: Pyramid, support: list[Tensor], state: Tensor) -> Tensor:
        """What the transformer is told of each point and frame: (N, T, 1110)."""
        positions, logits = state[..., :2], state[..., 2:]
        correlation = embed(self.corr_mlp, pyramid, positions, support)
        return torch.cat([logits, correlation, motion_encoding(positions)], -1) + self._times(state.shape[1])

    def _times(self, n_frames: int) -> Tensor:
        """The time embedding (1, T, 1110), stretched when T is not the window."""
        if n_frames == self.window_len:
            return self.time_emb
        stretched = F.interpolate(self.time_emb.transpose(1, 2), n_frames, mode="linear", align_corners=False)
        return stretched.transpose(1, 2)


@torch.no_grad()
def track_offline(network: CoTracker, frames: Tensor, queries: Tensor, iterations: int) -> Trajectories:
    """Follow queries (N, 3), each frame, x, y in pixels, through all frames (T, 3, H, W) at once, backward too."""
    pyramid = network.encode(frames)
    support = network.read_support(pyramid, queries)
    state = state_at_queries(queries, len(frames))
    for _ in range(iterations):
        state = network(pyramid, support, state)
    return trajectories(state)


def state_at_queries(queries: Tensor, n_frames: int) -> Tensor:
    """Nothing known: points stay where queries (N, 3) set them, even odds."""
    cells = queries[:, 1:] / STRIDE
    return F.pad(cells, (0, 2))[:, None].repeat(1, n_frames, 1)


def trajectories(state: Tensor) -> Trajectories:
    """Pixels and probabilities."""
    return Trajectories(STRIDE * state[..., :2], state[..., 2].sigmoid(), state[..., 3].sigmoid())


def motion_encoding(positions: Tensor) -> Tensor:
    """Displacements to the next and from the last frame at positions (N, T, 2): (N, T, 84); zero past the ends."""
    steps = positions.diff(dim=1)
    to_next, from_last = F.pad(-steps, (0, 0, 0, 1)), F.pad(steps, (0, 0, 1, 0))
    relative = torch.cat([to_next, from_last], -1) / positions.new_tensor(NOMINAL_CELLS * 2)
    octaves = 2.0 ** torch.arange(OCTAVES, dtype=positions.dtype, device=positions.device)
    phases = (relative[..., None, :] * octaves[:, None]).flatten(2)
    return torch.cat([relative, phases.sin(), (phases + math.pi / 2).sin()], -1)


def time_embedding(n_frames: int) -> Tensor:
    """Sines, then cosines of frames 0..T-1 at 555 frequencies: (1, T, 1110), worked out in double precision."""
    half = N_TOKEN // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    phases = torch.arange(n_frames, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([phases.sin(), phases.cos()], -1).float()[None]
