"""What EchoTracker and PIPs++ compare: templates of a point against 7x7 places around it, at four scales.

Choices for speed; none changes the result beyond rounding:
- Features lie in memory with channels last, so that a place is one row.
- The 7x7 places share one fraction of a cell: 8x8 whole cells are read once for all templates and dotted with them;
  only dot products (not channels) are interpolated. No correlation map of a whole frame is ever made.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.in_parts import in_parts

LEVELS = 4
RADIUS = 3
SIDE = 2 * RADIUS + 1
PLACES = LEVELS * SIDE * SIDE  # of one template
TEMPLATE_LAGS = (2, 4)  # frames back of the templates that follow the point
ROWS_AT_ONCE = 128  # points times frames: what is read for them stays in the processor's cache

Pyramid = list[Tensor]  # a level: (T, H, W, C), averaged over 2^level x 2^level cells


def build_pyramid(features: Tensor) -> Pyramid:
    """Features (T, C, H, W) to LEVELS maps with channels last."""
    levels = [features]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return [level.permute(0, 2, 3, 1).contiguous() for level in levels]


def read_template(level: Tensor, positions: Tensor, frames: Tensor) -> Tensor:
    """Features (..., C) at positions (..., 2) x, y, in cells, of frames (...) int64 of a level (T, H, W, C).

    Bilinear with the weights of the position as it is; cells outside are those of the border.
    """
    _, height, width, _ = level.shape
    whole = positions.floor()
    fraction = positions - whole
    x, y = whole.long().unbind(-1)
    found = level.new_zeros(())
    for dx in (0, 1):
        for dy in (0, 1):
            value = _cells(level, frames, (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1))
            weight = _part(fraction[..., 0], dx) * _part(fraction[..., 1], dy)
            found = found + weight[..., None] * value
    return found


def templates_at(level: Tensor, positions: Tensor, first: Tensor) -> Tensor:
    """The three templates (N, T, 3, C) of each frame: the first one (N, C), and those 2 and 4 frames back.

    positions (N, T, 2) in cells; before the window begins its first frame stands in.
    """
    n, t = positions.shape[:2]
    found = [first[:, None].expand(n, t, -1)]
    for lag in TEMPLATE_LAGS:
        frames = (torch.arange(t, device=positions.device) - lag).clamp(min=0)
        found.append(read_template(level, positions[:, frames], frames.expand(n, t)))
    return torch.stack(found, 2)


def correlate(pyramid: Pyramid, positions: Tensor, templates: Tensor) -> Tensor:
    """Dot products (N, T, K * 196) of K templates (N, T, K, C) with the places around positions (N, T, 2), in cells.

    Template-major, then level, then the shift in x, then that in y; zero outside the image; divided by the root of C.
    """
    n, t, k, c = templates.shape
    frames = torch.arange(t, device=positions.device).expand(n, t).flatten()
    flat, rows = positions.reshape(-1, 2), templates.reshape(-1, k, c)
    parts = []
    for places, at, seen in in_parts(ROWS_AT_ONCE, flat, frames, rows):
        levels = [_around(level, places / 2**z, at, seen) for z, level in enumerate(pyramid)]
        parts.append(torch.stack(levels, 2).flatten(1))
    return torch.cat(parts).reshape(n, t, k * PLACES) / c**0.5


def _around(level: Tensor, positions: Tensor, frames: Tensor, templates: Tensor) -> Tensor:
    """(R, K, 49) for R positions (R, 2), in cells of the level, with templates (R, K, C)."""
    _, height, width, _ = level.shape
    whole = positions.floor()
    steps = torch.arange(-RADIUS, RADIUS + 2, device=positions.device)
    x, y = whole[:, :1].long() + steps, whole[:, 1:].long() + steps  # (R, 8)
    is_in = ((x >= 0) & (x < width))[:, :, None] & ((y >= 0) & (y < height))[:, None, :]
    cells = _cells(level, frames[:, None, None], y.clamp(0, height - 1)[:, None, :], x.clamp(0, width - 1)[:, :, None])
    products = torch.bmm(templates, cells.flatten(1, 2).transpose(1, 2)) * is_in.flatten(1)[:, None]
    products = products.reshape(*products.shape[:2], SIDE + 1, SIDE + 1)
    fx, fy = (positions - whole)[:, :, None, None, None].unbind(1)
    along = products[..., :-1, :] * (1 - fx) + products[..., 1:, :] * fx
    return (along[..., :-1] * (1 - fy) + along[..., 1:] * fy).flatten(2)


def _cells(level: Tensor, frames: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Features (..., C) of whole cells, which are on the map; as rows of a table they are copied fastest."""
    _, height, width, c = level.shape
    rows = (frames * height + y) * width + x
    return level.reshape(-1, c).index_select(0, rows.flatten()).reshape(*rows.shape, c)


def _part(fraction: Tensor, step: int) -> Tensor:
    return fraction if step else 1 - fraction


def motion_encoding(positions: Tensor, n_channels: int) -> Tensor:
    """Displacement to the next frame at positions (N, T, 2), the last repeated, with its waves: (N, T, n_channels + 2).

    n_channels / 4 frequencies; sines and cosines of x, then of y, then the displacement itself.
    """
    step = positions.diff(dim=1)
    step = torch.cat((step, step[:, -1:]), 1)
    n = n_channels // 4
    exponents = torch.arange(n, dtype=positions.dtype, device=positions.device) / (n - 1)
    waves = step[..., None] * torch.pow(torch.full_like(exponents, 10000.0), -exponents)  # (N, T, 2, n)
    return torch.cat(
        (waves[..., 0, :].sin(), waves[..., 0, :].cos(), waves[..., 1, :].sin(), waves[..., 1, :].cos(), step), -1
    )
