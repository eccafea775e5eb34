"""What training of the network minimises: weighted L1 of positions, and the log-likelihood that makes evidence honest.

The evidence is read as the stream reads it (rt/measure.py): of the anchor and of recent frames, each point alone and
pooled with its neighbours, around a place that is wrong as the stream's expectation is wrong.

The weights of the L1 (the paper says "weighted" and no more): a point counts where it is visible in both frames and
its true position lies in the searched square; pooled positions count twice as much as single ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.rt.measure import FAR_UNITS, NEAR_UNITS, SIGMA_UNITS
from specktrack.training.head import evidence, inside, log_prior, positions_around, soft_argmax, templates_at
from specktrack.training.specknet import STRIDES


@dataclass(frozen=True)
class StreamNoise:
    """How wrong the stream is when it asks; ranges of standard deviations, units (pixels of 256 across)."""

    shift: tuple[float, float] = (0.0, 2.5)  # of a whole piece of wall
    bend: float = 0.5  # how much that differs from place to place, per 64 units
    own: tuple[float, float] = (0.1, 1.2)  # of each point


@dataclass(frozen=True)
class Losses:
    """Terms and figures of one step."""

    total: Tensor
    single_px: float  # mean L1 of points alone
    fused_px: float  # of the anchor pooled with neighbours
    likelihood: float

    def values(self) -> list[float]:
        """What a run writes down: total, single_px, fused_px, nll."""
        return [self.total.item(), self.single_px, self.fused_px, self.likelihood]


def cross_entropy(log_weight: Tensor, centre: Tensor, truth: Tensor) -> Tensor:
    """-log probability (...,) at truth (..., 2), pixels, read bilinearly from log_weight (..., S, S) around centre."""
    side = log_weight.shape[-1]
    log_p = F.log_softmax(log_weight.flatten(-2), -1)
    cell = (truth - centre + side // 2).clamp(0, side - 1.001)
    low = cell.floor().long()
    fx, fy = (cell - low).unbind(-1)
    base = low[..., 1] * side + low[..., 0]
    total = torch.zeros_like(fx)
    for offset, weight in (
        (0, (1 - fx) * (1 - fy)),
        (1, fx * (1 - fy)),
        (side, (1 - fx) * fy),
        (side + 1, fx * fy),
    ):
        total = total - weight * log_p.gather(-1, (base + offset)[..., None])[..., 0].clamp(min=-30.0)
    return total


def stream_losses(
    maps: Sequence[Tensor],
    points: Tensor,
    visible: Tensor,
    noise: StreamNoise,
    side: int,
    generator: torch.Generator,
) -> Losses:
    """Losses of one batch, target last among the F frames, the anchor first.

    maps     per scale (B * F, C_i, h_i, w_i) of all frames
    points   (B, F, N, 2) pixels, finite also where not visible; visible (B, F, N)
    generator  on the CPU, so that a run draws the same noise on every device
    """
    batch, n_frames, n_points = visible.shape
    scale = maps[0].shape[-1] * STRIDES[0] / 256.0
    first_image = torch.arange(batch, device=points.device) * n_frames
    truth = points[:, -1]
    error = scale * stream_error(truth / scale, noise, generator)
    # Recent templates are taken at places that are off by the same error: they can only lead back to such places.
    asked = [points[:, k] + (error if k else 0.0) for k in range(n_frames - 1)]
    goals = torch.stack([truth + (error if k else 0.0) for k in range(n_frames - 1)], 2)
    own = scale * noise.own[1] * torch.randn(batch, n_points, 2, generator=generator).to(points.device)
    centre = truth + error + own * torch.rand(batch, 1, 1, generator=generator).to(points.device)
    queries = [templates_at(maps, first_image + k, asked[k]) for k in range(n_frames - 1)]
    stacked = [torch.stack([q[s] for q in queries], 2) for s in range(len(STRIDES))]
    log_c = evidence(maps, first_image + n_frames - 1, stacked, centre, side)  # (B, N, K, S, S)
    cells = positions_around(centre, side)
    height = maps[0].shape[-2] * STRIDES[0]
    outside = ~inside(cells, height, maps[0].shape[-1] * STRIDES[0])[:, :, None]
    prior = log_prior(cells, centre, torch.full_like(centre[..., 0], SIGMA_UNITS * scale))[:, :, None]
    is_near = (goals - centre[:, :, None]).abs().amax(-1) < side // 2 - 1
    valid = torch.stack([visible[:, k] & visible[:, -1] for k in range(n_frames - 1)], 2)
    counts = valid & is_near
    pools = [pooled(log_c, points[:, 0] / scale, valid, reach) for reach in (NEAR_UNITS, FAR_UNITS)]
    terms = [
        _terms(volume.masked_fill(outside, -1e4), prior, cells, centre, goals, counts) for volume in (log_c, *pools)
    ]
    (single_l1, single_nll), *together = terms
    pooled_l1 = sum((l1 for l1, _ in together), torch.zeros((), device=points.device))
    pooled_nll = sum((nll for _, nll in together), torch.zeros((), device=points.device))
    total = single_l1 + 0.5 * single_nll + 2.0 * pooled_l1 + 0.5 * pooled_nll
    far = _mean_l1(pools[1][:, :, :1].masked_fill(outside, -1e4), prior, cells, goals[:, :, :1], counts[:, :, :1])
    return Losses(total, float(single_l1.detach()), float(far.detach()), float(pooled_nll.detach()))


def stream_error(points: Tensor, noise: StreamNoise, generator: torch.Generator) -> Tensor:
    """Errors (B, N, 2) of expected positions that neighbours share: a random affine map of points (B, N, 2), units."""
    batch = len(points)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator).to(points.device)

    low, high = noise.shift
    size = low + (high - low) * torch.rand(batch, 1, 1, generator=generator).to(points.device)
    middle = points.mean(1, keepdim=True)
    return size * (normal(1, 2) + noise.bend * (points - middle) / 64.0 @ normal(2, 2))


def pooled(log_c: Tensor, points: Tensor, valid: Tensor, reach: float) -> Tensor:
    """Evidence (B, N, K, S, S) multiplied over neighbours as rt/position.py does; points (B, N, 2), units.

    valid (B, N, K): a point that is not says nothing.
    """
    squared = (points[:, :, None] - points[:, None]).square().sum(-1)
    near = torch.exp(-0.5 * squared / reach**2)[..., None] * valid[:, None]  # (B, N, M, K)
    near = near / near.sum(2, keepdim=True).clamp(min=1e-6).sqrt()
    return torch.einsum("bnmk,bmkyx->bnkyx", near, log_c)


def _terms(
    log_weight: Tensor, prior: Tensor, cells: Tensor, centre: Tensor, goal: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean L1 distance under the prior and mean negative log-likelihood without it, over the points that count."""
    nll = cross_entropy(log_weight, centre[:, :, None], goal) * counts
    return _mean_l1(log_weight, prior, cells, goal, counts), nll.sum() / counts.sum().clamp(min=1)


def _mean_l1(log_weight: Tensor, prior: Tensor, cells: Tensor, goal: Tensor, counts: Tensor) -> Tensor:
    position, _ = soft_argmax(log_weight + prior, cells[:, :, None])
    return ((position - goal).abs().sum(-1) * counts).sum() / counts.sum().clamp(min=1)
