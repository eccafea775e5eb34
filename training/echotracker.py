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


@dataclass(frozen=True)
class Told:
    """What every refinement of N points is told, beside where they are."""

    differences: Tensor  # (T, 3000) of frames
    start: Tensor  # (N, 2) cells, where the query is seen
    first: Tensor  # (N, C) what it looks like there


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

    def forward(
        self, features: EchoFeatures, points: Tensor, iterations: int = ITERATIONS, query: int | Tensor = 0
    ) -> Tensor:
        """Positions (iterations + 1, N, T, 2), pixels; the last is the answer, the first the coarse look.

        points (N, 2) pixels of frame `query`, which "2024" wants to be 0.
        """
        found, told = self.place(features, points, query)
        answers = [found]
        for _ in range(iterations):
            answers.append(self.refine(features.fine, answers[-1], told))
        return torch.stack(answers)

    def place(self, features: EchoFeatures, points: Tensor, query: int | Tensor = 0) -> tuple[Tensor, Told]:
        """The coarse look: positions (N, T, 2), pixels, and what every refinement of them is told."""
        frame = torch.as_tensor(query, dtype=torch.long, device=points.device).reshape(1)
        differences = frame_differences(features.small)
        cells = (points / COARSE)[:, None].repeat(1, len(features.small), 1)
        move = self.delta_block_spatial(*self.coarse_input(features, cells, differences, frame))
        found = (cells + move) * COARSE
        if self.variant == "ptecho":
            is_query = torch.arange(len(features.small), device=points.device) == frame
            found = torch.where(is_query[:, None], points[:, None], found)
        start = found.index_select(1, frame)[:, 0] / FINE
        first = read_template(features.fine[0], start, frame.expand(start.shape[0]))
        return found, Told(differences, start, first)

    def refine(self, fine: Pyramid, found: Tensor, told: Told) -> Tensor:
        """Positions (N, T, 2), pixels, after one more refinement."""
        cells = found / FINE
        move = self.delta_block_temporal(*self.fine_input(fine, cells, told.first, told.start, told.differences))
        return (cells + move) * FINE

    def coarse_input(
        self, features: EchoFeatures, cells: Tensor, differences: Tensor, frame: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the first head is told: of each point, of each frame, of each point; frame (1,) int64 of the query."""
        start = cells.index_select(1, frame)[:, 0]
        template = read_template(features.coarse, start, frame.expand(start.shape[0]))
        seen = torch.einsum("nc,tcp->ntp", template, features.overview.flatten(2)) / CHANNELS**0.5
        return seen, differences, _motion_and_start(cells, start)

    def fine_input(
        self, fine: Pyramid, cells: Tensor, first: Tensor, start: Tensor, differences: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the second head is told in one refinement; first (N, C) template, start (N, 2) cells."""
        seen = self.linear(self.fine_correlation(fine, cells, first))
        return seen, differences, _motion_and_start(cells, start)

    def fine_correlation(self, fine: Pyramid, cells: Tensor, first: Tensor) -> Tensor:
        """(N, T, 588)."""
        return correlate(fine, cells, templates_at(fine[0], cells, first))


def frame_differences(small: Tensor) -> Tensor:
    """(T, 3000): each frame minus the one before; the first is told the last frame itself, as the original does."""
    return torch.cat((small[-1:], small.diff(dim=0)))


def _overview(level: Tensor) -> Tensor:
    return F.interpolate(level, (OVERVIEW, OVERVIEW), mode="bilinear", align_corners=True)


def _motion_and_start(cells: Tensor, start: Tensor) -> Tensor:
    return torch.cat((motion_encoding(cells, CHANNELS), start[:, None].expand_as(cells)), -1)
