"""EchoTracker: an independent implementation of the tracker of arXiv 2405.08587, built from a description.

A coarse look at whole frames places the points, then a few refinements on features of half resolution correct them.
Official parameter names; the same parameters serve two forward passes, so the one they were trained with must be
named: "2024" (points of frame 0) or "ptecho" (points of any frame, held there). N points, T frames.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specktrack.training.residual_encoder import ResidualEncoder, encoded, scaled
from specktrack.training.temporal_head import TemporalHead
from specktrack.training.window_correlation import (
    LEVELS,
    Pyramid,
    build_pyramid,
    correlate,
    motion_encoding,
    read_template,
    templates_at,
)

Variant = Literal["2024", "ptecho"]
COARSE, FINE = 8, 2  # strides
CHANNELS = 64
ITERATIONS = 4
OVERVIEW = 14  # cells across of the coarse correlation
SMALL = (50, 60)  # rows, columns of frame differences


@dataclass(frozen=True)
class EchoFeatures:
    """What is known of T frames; each frame's part depends on that frame alone."""

    overview: Tensor  # (T, C, 14, 14) coarse features, all scales averaged
    coarse: Tensor  # (T, H / 8, W / 8, C)
    fine: Pyramid
    small: Tensor  # (T, 3000) the frame itself


class EchoTracker(nn.Module):
    """Frames 0..255 in, positions in pixels out."""

    def __init__(self, variant: Variant = "2024") -> None:
        super().__init__()
        self.variant = variant
        self.fnet = ResidualEncoder(1, (32, 48, 64, 64), 128, CHANNELS, COARSE)
        self.fnet_fine = ResidualEncoder(1, (32, 48, 64, 64), 128, CHANNELS, FINE)
        around = SMALL[0] * SMALL[1] + CHANNELS + 4
        self.delta_block_spatial = TemporalHead(OVERVIEW**2 + around, 64)
        self.delta_block_temporal = TemporalHead(392 + around, 64)
        self.linear = nn.Linear(588, 392)

    def encode(self, frames: Tensor) -> EchoFeatures:
        """Features of frames (T, 1, H, W) 0..255."""
        images = scaled(frames)
        coarse, fine = encoded(self.fnet, images), encoded(self.fnet_fine, images)
        levels, overview = coarse, _overview(coarse)
        for _ in range(LEVELS - 1):
            levels = F.avg_pool2d(levels, 2)
            overview = overview + _overview(levels)
        small = F.interpolate(images, SMALL, mode="bilinear", align_corners=False).flatten(1)
        return EchoFeatures(overview / LEVELS, coarse.permute(0, 2, 3, 1).contiguous(), build_pyramid(fine), small)

    def forward(self, features: EchoFeatures, points: Tensor, iterations: int = ITERATIONS, query: int = 0) -> Tensor:
        """Positions (iterations + 1, N, T, 2), pixels; the last is the answer, the first the coarse look.

        points (N, 2) pixels of frame `query`, which "2024" wants to be 0.
        """
        differences = frame_differences(features.small)
        found = [self._place(features, points, differences, query)]
        if self.variant == "ptecho":
            held = found[0].clone()
            held[:, query] = points
            found = [held]
        cells = found[0] / FINE
        start = cells[:, query]
        first = read_template(features.fine[0], start, torch.full_like(start[:, 0], query, dtype=torch.long))
        for _ in range(iterations):
            cells = cells + self.delta_block_temporal(*self.fine_input(features, cells, first, start, differences))
            found.append(cells * FINE)
        return torch.stack(found)

    def _place(self, features: EchoFeatures, points: Tensor, differences: Tensor, query: int) -> Tensor:
        n_frames = len(features.small)
        cells = (points / COARSE)[:, None].repeat(1, n_frames, 1)
        move = self.delta_block_spatial(*self.coarse_input(features, cells, differences, query))
        return (cells + move) * COARSE

    def coarse_input(
        self, features: EchoFeatures, cells: Tensor, differences: Tensor, query: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the first head is told: of each point, of each frame, of each point."""
        frames = torch.full_like(cells[:, 0, 0], query, dtype=torch.long)
        template = read_template(features.coarse, cells[:, query], frames)
        seen = torch.einsum("nc,tcp->ntp", template, features.overview.flatten(2)) / CHANNELS**0.5
        return seen, differences, _motion_and_start(cells, cells[:, query])

    def fine_input(
        self, features: EchoFeatures, cells: Tensor, first: Tensor, start: Tensor, differences: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the second head is told in one refinement; first (N, C) template, start (N, 2) cells."""
        seen = self.linear(self.fine_correlation(features, cells, first))
        return seen, differences, _motion_and_start(cells, start)

    def fine_correlation(self, features: EchoFeatures, cells: Tensor, first: Tensor) -> Tensor:
        """(N, T, 588)."""
        return correlate(features.fine, cells, templates_at(features.fine[0], cells, first))


def frame_differences(small: Tensor) -> Tensor:
    """(T, 3000): each frame minus the one before; the first is told the last frame itself, as the original does."""
    return torch.cat((small[-1:], small.diff(dim=0)))


def _overview(level: Tensor) -> Tensor:
    return F.interpolate(level, (OVERVIEW, OVERVIEW), mode="bilinear", align_corners=True)


def _motion_and_start(cells: Tensor, start: Tensor) -> Tensor:
    return torch.cat((motion_encoding(cells, CHANNELS), start[:, None].expand_as(cells)), -1)
