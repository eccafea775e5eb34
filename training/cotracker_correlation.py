"""CoTracker3's 4-D correlation: the patch around a query against the patch around the point in every frame.

Choices for speed; none changes the result beyond rounding:
- Feature maps lie in memory with channels last, so a patch is a gather of whole rows.
- The 7x7 positions of a patch share one fraction of a cell: 8x8 whole cells are read, dotted with the query's patch,
  and only the dot products (49 a cell, not 128 channels) are interpolated.
- A few points at a time: their patches stay in the processor's cache.
"""

import torch
from torch import Tensor, nn

from specktrack.training.in_parts import in_parts

LEVELS = 4
RADIUS = 3
SIDE = 2 * RADIUS + 1
PATCH = SIDE * SIDE
EMBEDDING = 256
ROWS_AT_ONCE = 512  # points times frames

Pyramid = list[Tensor]  # a level: (T, H, W, C), unit features averaged over 2^level x 2^level cells


def build_pyramid(features: Tensor) -> Pyramid:
    """Features (T, C, H, W), normalised here, to LEVELS maps with channels last."""
    unit = features * features.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()
    levels = [unit]
    for _ in range(LEVELS - 1):
        levels.append(nn.functional.avg_pool2d(levels[-1], 2))
    return [level.permute(0, 2, 3, 1).contiguous() for level in levels]


def read_support(pyramid: Pyramid, positions: Tensor, frames: Tensor) -> list[Tensor]:
    """The patches (N, 49, C) of every level around positions (N, 2), in cells, of frames (N,) int64.

    Row 7 i + j lies at (i - 3, j - 3) from the position: its slow index shifts x.
    """
    found = []
    for k, level in enumerate(pyramid):
        cells, fraction = _read_cells(level, positions / 2**k, frames)
        found.append(_interpolate(cells, fraction).flatten(1, 2))
    return found


def correlate(level: Tensor, centres: Tensor, support: Tensor) -> Tensor:
    """Dot products (N, T, 2401) of patches around centres (N, T, 2), in cells of the level, with support (N, 49, C).

    Row-major over the patch in the frame, then over the support.
    """
    n, t = centres.shape[:2]
    frames = torch.arange(t, device=centres.device).expand(n, t)
    cells, fraction = _read_cells(level, centres, frames)
    products = torch.bmm(cells.flatten(1, 3), support.transpose(1, 2))
    return _interpolate(products.reshape(*cells.shape[:-1], PATCH), fraction).flatten(2)


class CorrelationMlp(nn.Module):
    """Correlation of one level, point and frame to 256 numbers; the same network for all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(PATCH * PATCH, 384)
        self.fc2 = nn.Linear(384, EMBEDDING)

    def forward(self, correlation: Tensor) -> Tensor:
        """(..., 2401) to (..., 256)."""
        said: Tensor = self.fc2(nn.functional.gelu(self.fc1(correlation)))
        return said


def embed(mlp: CorrelationMlp, pyramid: Pyramid, positions: Tensor, support: list[Tensor]) -> Tensor:
    """What the correlations say at positions (N, T, 2), in cells: (N, T, LEVELS * 256).

    A support of zeros, of a query yet to come, correlates with nothing anywhere: worked out once for all of them.
    """
    if torch.compiler.is_exporting():  # a graph has no shapes that depend on values
        return _embed_known(mlp, pyramid, positions, support)
    known = torch.stack([patches.flatten(1).any(1) for patches in support]).any(0)
    nothing = mlp(positions.new_zeros(PATCH * PATCH)).repeat(LEVELS)
    found = nothing.repeat(*positions.shape[:2], 1)
    found[known] = _embed_known(mlp, pyramid, positions[known], [patches[known] for patches in support])
    return found


def _embed_known(mlp: CorrelationMlp, pyramid: Pyramid, positions: Tensor, support: list[Tensor]) -> Tensor:
    at_once = max(1, ROWS_AT_ONCE // positions.shape[1])
    levels = []
    for k, level in enumerate(pyramid):
        parts = in_parts(at_once, positions / 2**k, support[k])
        levels.append(torch.cat([mlp(correlate(level, centres, patches)) for centres, patches in parts]))
    return torch.cat(levels, -1)


def _read_cells(level: Tensor, positions: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """The 8x8 cells about positions (..., 2): (..., 8, 8, C), x slow; and the fraction of a cell (..., 2) beyond them.

    Beyond the border lies what lies on it: clamped indices give what clamped positions would.
    """
    height, width = level.shape[1:3]
    corner = positions.floor()
    offsets = torch.arange(-RADIUS, RADIUS + 2, device=level.device)
    x = (corner[..., 0, None].long() + offsets).clamp(0, width - 1)
    y = (corner[..., 1, None].long() + offsets).clamp(0, height - 1)
    cells = (frames[..., None, None] * height + y[..., None, :]) * width + x[..., :, None]
    rows = level.reshape(-1, level.shape[-1])
    return rows.index_select(0, cells.flatten()).reshape(*cells.shape, rows.shape[1]), positions - corner


def _interpolate(cells: Tensor, fraction: Tensor) -> Tensor:
    """(..., 8, 8, C) at fraction (..., 2) of a cell: (..., 7, 7, C)."""
    x, y = fraction[..., 0, None, None, None], fraction[..., 1, None, None, None]
    along_x = torch.lerp(cells[..., :-1, :, :], cells[..., 1:, :, :], x)
    return torch.lerp(along_x[..., :-1, :], along_x[..., 1:, :], y)
