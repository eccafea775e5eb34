"""What training minimises: weighted L1 of positions, and the log-likelihood that makes confidence honest.

The weights of the L1 (the paper says "weighted" and no more): a point counts where it is visible in both frames and
its true position lies in the searched square; fused positions count twice as much as those of single templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specktrack.training.head import (
    evidence,
    inside,
    log_prior,
    positions_around,
    soft_argmax,
    templates_at,
)
from specktrack.training.specknet import STRIDES


@dataclass(frozen=True)
class StreamNoise:
    """How wrong the stream is when it asks: errors of the last position and of the flow added to it, pixels."""

    drift: tuple[float, float] = (0.0, 2.5)  # range of the SD of the error shared by prior and recent templates
    flow: tuple[float, float] = (0.2, 3.0)  # range of the SD of the prior around that, per frame


class FactorWeights(nn.Module):
    """How much each template's evidence counts in the product: anchor first, then recent frames by falling lag."""

    def __init__(self, n_templates: int) -> None:
        super().__init__()
        start = torch.full((n_templates,), 1.0 / n_templates)
        self.raw = nn.Parameter(torch.log(torch.expm1(start)))

    def forward(self) -> Tensor:
        """Positive weights (K,)."""
        return F.softplus(self.raw)


@dataclass(frozen=True)
class Losses:
    """Terms and figures of one step."""

    total: Tensor
    single_px: float
    fused_px: float
    likelihood: float


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
    factor_weights: Tensor,
    noise: StreamNoise,
    side: int,
    generator: torch.Generator,
) -> Losses:
    """Losses of one batch, target last among the F frames.

    maps     per scale (B * F, C_i, h_i, w_i) of all frames
    points   (B, F, N, 2) pixels, finite also where not visible; visible (B, F, N)
    generator  on the CPU, so that a run draws the same noise on every device
    """
    batch, n_frames, n_points = visible.shape
    first_image = torch.arange(batch, device=points.device) * n_frames
    truth = points[:, -1]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, generator=generator).to(points.device)

    def normal() -> Tensor:
        return torch.randn(batch, n_points, 2, generator=generator).to(points.device)

    drift = normal() * uniform(*noise.drift)[..., None]
    flow_sigma = uniform(*noise.flow).expand(batch, n_points)
    asked = [points[:, k] + (drift if k else 0.0) for k in range(n_frames - 1)]
    queries = [templates_at(maps, first_image + k, asked[k]) for k in range(n_frames - 1)]
    stacked = [torch.stack([q[s] for q in queries], 2) for s in range(len(STRIDES))]
    centre = truth + drift + normal() * flow_sigma[..., None]
    log_c = evidence(maps, first_image + n_frames - 1, stacked, centre, side)  # (B, N, K, S, S)
    cells = positions_around(centre, side)
    height = maps[0].shape[-2] * STRIDES[0]
    outside = ~inside(cells, height, maps[0].shape[-1] * STRIDES[0])
    log_c = log_c.masked_fill(outside[:, :, None], -1e4)
    reach = side // 2 - 1
    counts = visible[:, -1] & ((truth - centre).abs().amax(-1) < reach)
    prior = log_prior(cells, centre, (flow_sigma.square() + uniform(*noise.drift).square()).sqrt().clamp(min=0.5))
    fused = (log_c * factor_weights.view(1, 1, -1, 1, 1)).sum(2) + prior
    # Recent templates were taken at drifted places: alone they can only lead back to the drifted place.
    goals = torch.stack([truth + (drift if k else 0.0) for k in range(n_frames - 1)], 2)
    valid = torch.stack([visible[:, k] & counts for k in range(n_frames - 1)], 2)
    single_l1, single_nll = _terms(log_c, cells[:, :, None], centre[:, :, None], goals, valid)
    fused_l1, fused_nll = _terms(fused, cells, centre, truth, counts & visible[:, 0])
    total = single_l1 + 2.0 * fused_l1 + 0.5 * (single_nll + 2.0 * fused_nll)
    return Losses(total, float(single_l1.detach()), float(fused_l1.detach()), float(fused_nll.detach()))


def _terms(log_weight: Tensor, cells: Tensor, centre: Tensor, goal: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean L1 distance and mean negative log-likelihood over the valid points."""
    position, _ = soft_argmax(log_weight, cells)
    count = valid.sum().clamp(min=1)
    l1 = ((position - goal).abs().sum(-1) * valid).sum() / count
    nll = (cross_entropy(log_weight, centre, goal) * valid).sum() / count
    return l1, nll
