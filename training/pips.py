"""PIPs++: an independent implementation of the tracker of PointOdyssey (arXiv 2307.15055), built from a description.

Trajectories, at first standing still, are refined together over all frames of a window; longer clips are chains of
windows. Official parameter names. N points, T frames; positions in cells are pixels / 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from specktrack.training.residual_encoder import ResidualEncoder, encoded, scaled
from specktrack.training.temporal_head import TemporalHead
from specktrack.training.window_correlation import (
    PLACES,
    TEMPLATE_LAGS,
    Pyramid,
    build_pyramid,
    correlate,
    motion_encoding,
    read_template,
    templates_at,
)

STRIDE = 8
CHANNELS = 128
ITERATIONS = 3  # of training's forward pass; the authors' tests use 16
WINDOW = 48  # frames, of the authors' demonstration


@dataclass(frozen=True)
class Refined:
    """What one window gives."""

    before_lock: Tensor  # (iterations + 1, N, T, 2) pixels, frame 0 free; the last one is the answer, frame 0 locked
    locked: Tensor  # (iterations + 2, N, T, 2) pixels: start, each iteration with frame 0 locked, the last one again
    templates: Tensor  # (N, T, 3, C) of the last iteration, to hand over to the next window


class Pips(nn.Module):
    """Frames 0..255 RGB in, positions in pixels out."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = ResidualEncoder(3, (64, 96, 128, 128), 256, CHANNELS, STRIDE)
        n_templates = 1 + len(TEMPLATE_LAGS)
        self.delta_block = TemporalHead(n_templates * PLACES + CHANNELS + 2, CHANNELS)
        self.norm = nn.GroupNorm(1, CHANNELS)  # in the official file, used by nobody

    def encode(self, frames: Tensor) -> Pyramid:
        """Features of frames (T, 3, H, W) 0..255; H and W at least 128."""
        return build_pyramid(encoded(self.fnet, scaled(frames)))

    def forward(
        self,
        pyramid: Pyramid,
        trajectories: Tensor,
        iterations: int = ITERATIONS,
        handed_over: Tensor | None = None,
        beautify: bool = False,
    ) -> Refined:
        """Refine trajectories (N, T, 2), pixels, usually the query repeated.

        handed_over  templates (N, T, 3, C) of the window before: its first template stays the first
        beautify     halve the steps of the last quarter
        """
        cells = trajectories / STRIDE
        start = cells[:, 0]
        templates = self._first_templates(pyramid, start, cells.shape[1]) if handed_over is None else handed_over
        free, locked = [], [cells * STRIDE]
        for k in range(iterations):
            if k:
                templates = templates_at(pyramid[0], cells, templates[:, 0, 0])
            step = self.delta_block(self.head_input(pyramid, cells, templates))
            cells = cells + (0.5 * step if beautify and k > 3 * iterations // 4 else step)
            free.append(cells * STRIDE)
            cells = torch.cat((start[:, None], cells[:, 1:]), 1)
            locked.append(cells * STRIDE)
        last = cells * STRIDE
        return Refined(torch.stack([*free, last]), torch.stack([*locked, last]), templates)

    def head_input(self, pyramid: Pyramid, cells: Tensor, templates: Tensor) -> Tensor:
        """(N, T, 718): correlations, motion."""
        return torch.cat((correlate(pyramid, cells, templates), motion_encoding(cells, CHANNELS)), -1)

    def _first_templates(self, pyramid: Pyramid, start: Tensor, n_frames: int) -> Tensor:
        first = read_template(pyramid[0], start, torch.zeros_like(start[:, 0], dtype=torch.long))
        return first[:, None, None].expand(-1, n_frames, 1 + len(TEMPLATE_LAGS), -1)


def windows_of(n_frames: int, window: int) -> Iterator[tuple[int, int]]:
    """Begin and end (past the last frame) of windows that share a frame; the last is pulled back to the clip's end."""
    begin = 0
    while True:
        end = begin + window
        if end >= n_frames:
            yield max(n_frames - window, 0), n_frames
            return
        yield begin, end
        begin = end - 1


def chain(network: Pips, pyramid: Pyramid, points: Tensor, window: int, iterations: int) -> Tensor:
    """Positions (N, T, 2), pixels, of points (N, 2) of frame 0, through windows of a long clip.

    Each window begins with where the last one ended, and expects the points to stay there.
    """
    n_frames = len(pyramid[0])
    found = points[:, None].repeat(1, n_frames, 1)
    templates: Tensor | None = None
    for begin, end in windows_of(n_frames, window):
        part = [level[begin:end] for level in pyramid]
        handed = None if templates is None else templates[:, : end - begin]
        refined = network(part, found[:, begin:end], iterations, handed)
        templates = refined.templates
        found = torch.cat((found[:, :begin], refined.before_lock[-1]), 1)
        found = torch.cat((found, found[:, -1:].expand(-1, n_frames - end, -1)), 1)
    return found
