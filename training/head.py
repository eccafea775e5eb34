"""The matching head of the paper: cost volumes, power, upsampling, intersection, soft argmax.

    C_final = up(C_1^gamma) * up(C_2^gamma) * up(C_3^gamma)        (arXiv 2507.10127)

`literal_position` writes this down as it stands. Everything else works on its logarithm, in FP32:
log C_final = sum_i log up(C_i^gamma), and the soft argmax is a softmax over it, so nothing underflows and further
factors (other templates, the motion prior) simply add. Similarities are cosines mapped to (0, 1] by (1 + c) / 2: a
clamp at zero would stop gradients of half of all pairs.

The maps are upsampled to the pixels of the image. `evidence` reads the same continuous volume only in a square around
a prior. It is what runs in the stream (rt/correlation.py is its twin in numba).

Letters: B batch, N points, K templates, C channels, S side of the square, pixels.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.specknet import CELL_OFFSET_PX, STRIDES, unit

GAMMA = 15.0
SIMILARITY_FLOOR = 0.01  # 0.01^15 = 1e-30 still exists in FP32
POWER_FLOOR = 1e-36  # a larger gamma lifts the floor so far that its power still exists


def similarity(cosine: Tensor, floor: float = SIMILARITY_FLOOR) -> Tensor:
    """Cosine in [-1, 1] to (0, 1]."""
    return (0.5 + 0.5 * cosine).clamp(min=floor)


def sample(features: Tensor, images: Tensor, points: Tensor, stride: int) -> Tensor:
    """Unit features (B, N, C) at points (B, N, 2), pixels, of the images (B,) of a map (M, C, h, w)."""
    cells = (points - CELL_OFFSET_PX) / stride
    first = cells.floor().long()
    corners = _gather(features, images, first, 2)  # (B, N, 2, 2, C)
    fx, fy = (cells - first).unbind(-1)
    rows = torch.stack((1 - fy, fy), -1)
    columns = torch.stack((1 - fx, fx), -1)
    return F.normalize(torch.einsum("bny,bnx,bnyxc->bnc", rows, columns, corners), dim=-1)


def templates_at(maps: Sequence[Tensor], images: Tensor, points: Tensor) -> list[Tensor]:
    """Query features of all scales, each (B, N, C_i), at points (B, N, 2), pixels, of the images (B,)."""
    return [sample(m, images, points, s) for m, s in zip(maps, STRIDES, strict=True)]


def upsample(volume: Tensor, stride: int) -> Tensor:
    """Bilinear to pixels: pixel x reads cell (x - 0.5) / stride, borders repeat. (M, h, w) to (M, h * s, w * s)."""
    height, width = volume.shape[-2] * stride, volume.shape[-1] * stride
    rows = (torch.arange(height, device=volume.device) - CELL_OFFSET_PX) / stride
    columns = (torch.arange(width, device=volume.device) - CELL_OFFSET_PX) / stride
    return _interpolate(_interpolate(volume, rows, 1), columns, 2)


def _interpolate(volume: Tensor, at: Tensor, dim: int) -> Tensor:
    floor = at.floor()
    last = volume.shape[dim] - 1
    low = floor.long().clamp(0, last)
    high = (floor.long() + 1).clamp(0, last)
    shape = [1] * volume.dim()
    shape[dim] = -1
    fraction = (at - floor).view(shape)
    return volume.index_select(dim, low) * (1 - fraction) + volume.index_select(dim, high) * fraction


def literal_position(maps: Sequence[Tensor], templates: Sequence[Tensor], gamma: float = GAMMA) -> Tensor:
    """The formula of the paper, word for word and slow: soft argmax (N, 2), pixels, over the whole image.

    maps       per scale (C_i, H / s_i, W / s_i); use float64, or gamma 15 underflows
    templates  per scale (N, C_i)
    """
    product = torch.ones((), dtype=maps[0].dtype)
    for features, template, stride in zip(maps, templates, STRIDES, strict=True):
        volume = similarity(torch.einsum("nc,chw->nhw", template, features)) ** gamma
        product = product * upsample(volume, stride)
    weight = product / product.sum((1, 2), keepdim=True)
    y, x = torch.meshgrid(torch.arange(weight.shape[1]), torch.arange(weight.shape[2]), indexing="ij")
    return torch.stack(((weight * x).sum((1, 2)), (weight * y).sum((1, 2))), 1)


def full_log_volume(maps: Sequence[Tensor], templates: Sequence[Tensor], gamma: float = GAMMA) -> Tensor:
    """log C_final (N, H, W) over the whole image; maps and templates as in `literal_position`."""
    total = torch.zeros((), device=maps[0].device)
    for features, template, stride in zip(maps, templates, STRIDES, strict=True):
        volume = similarity(torch.einsum("nc,chw->nhw", template, features)) ** gamma
        total = total + upsample(volume, stride).log()
    return total


def evidence(
    maps: Sequence[Tensor],
    images: Tensor,
    templates: Sequence[Tensor],
    centre: Tensor,
    side: int,
    gamma: float = GAMMA,
) -> Tensor:
    """log C_final (B, N, K, S, S) of K templates a point, one pixel apart in a square around centre (B, N, 2).

    The square is centred on the prior, not on a cell: a narrow prior read on a fixed lattice would be pulled towards
    the nearest cell.

    maps       per scale (M, C_i, H / s_i, W / s_i), unit features or not yet normalised
    images     (B,) which of the M images each row of points is sought in
    templates  per scale (B, N, K, C_i), unit
    Beyond the border the border repeats; mask it with `inside`.
    """
    total = torch.zeros((), device=maps[0].device)
    for log_c in scale_logs(maps, images, templates, centre, side, gamma):
        total = total + log_c
    return total


def scale_logs(
    maps: Sequence[Tensor],
    images: Tensor,
    templates: Sequence[Tensor],
    centre: Tensor,
    side: int,
    gamma: float | Tensor = GAMMA,
) -> Iterator[Tensor]:
    """log up(C_i^gamma), (B, N, K, S, S), scale by scale: what `evidence` adds up. Arguments as there."""
    exponent = float(gamma.detach()) if isinstance(gamma, Tensor) else gamma
    floor = max(SIMILARITY_FLOOR, POWER_FLOOR ** (1.0 / exponent))
    steps = torch.arange(side, device=centre.device) - side // 2
    for features, template, stride in zip(maps, templates, STRIDES, strict=True):
        at = (centre[..., None] + steps - CELL_OFFSET_PX) / stride  # (B, N, 2, S) cells
        first = at[..., 0].floor().long()
        patch = _gather(features, images, first, (side - 1) // stride + 3)  # (B, N, n, n, C)
        powered = similarity(torch.einsum("bnkc,bnyxc->bnkyx", template, patch), floor) ** gamma
        at = at - first[..., None]
        powered = _interpolate_each(_interpolate_each(powered, at[:, :, 1], 3), at[:, :, 0], 4)
        yield powered.log()


def _gather(features: Tensor, images: Tensor, first: Tensor, n_cells: int) -> Tensor:
    """Unit features (B, N, n, n, C) of squares that start at cell first (B, N, 2); borders repeat.

    Normalising only what is gathered spares training most of the work; unit maps stay as they are.
    """
    _, channels, height, width = features.shape
    steps = torch.arange(n_cells, device=features.device)
    x = (first[..., 0, None] + steps).clamp(0, width - 1)
    y = (first[..., 1, None] + steps).clamp(0, height - 1)
    index = y[..., :, None] * width + x[..., None, :]
    index = index + (images * height * width).view(-1, 1, 1, 1)
    rows = features.permute(0, 2, 3, 1).reshape(-1, channels)
    return unit(F.embedding(index, rows), -1)


def _interpolate_each(volume: Tensor, at: Tensor, dim: int) -> Tensor:
    """Linear along `dim` (3 rows, 4 columns) of (B, N, K, n, n) at positions (B, N, S), one set for each point."""
    low = at.floor().long()
    fraction = at - low
    high = (low + 1).clamp(max=volume.shape[dim] - 1)
    shape = (*at.shape[:2], 1, -1, 1) if dim == 3 else (*at.shape[:2], 1, 1, -1)
    target = list(volume.shape)
    target[dim] = at.shape[-1]
    low, high, fraction = low.view(shape).expand(target), high.view(shape).expand(target), fraction.view(shape)
    return volume.gather(dim, low) * (1 - fraction) + volume.gather(dim, high) * fraction


def positions_around(centre: Tensor, side: int) -> Tensor:
    """Pixels (B, N, S, S, 2) of the squares around centre (B, N, 2)."""
    steps = torch.arange(side, device=centre.device) - side // 2
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    return centre[:, :, None, None] + torch.stack((dx, dy), -1)


def inside(positions: Tensor, height: int, width: int) -> Tensor:
    """True for positions (..., 2) that lie on the image."""
    x, y = positions[..., 0], positions[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def log_prior(positions: Tensor, centre: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian motion prior (B, N, S, S) at positions (B, N, S, S, 2): centre (B, N, 2), sigma (B, N), pixels."""
    squared = (positions - centre[:, :, None, None]).square().sum(-1)
    return -0.5 * squared / sigma[:, :, None, None].square()


def soft_argmax(log_weight: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Expected position (..., 2) and probabilities (..., S, S) under exp(log_weight); positions broadcast to it."""
    probability = F.softmax(log_weight.flatten(-2), -1).view_as(log_weight)
    return (probability[..., None] * positions).sum((-3, -2)), probability
