"""Ways to bring the volumes of three scales together: the paper multiplies, the studies ask whether that matters.

    product  C_1 x C_2 x C_3: a false match must score at every scale to survive (a logical AND)
    sum      C_1 + C_2 + C_3: one scale is enough (OR)
    learned  a 1x1 convolutional net over the three maps, the most general of the three: it could become the product

All work on logarithms, C_i being the upsampled volume after the power.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["product", "sum", "learned"]

HIDDEN = 16  # channels of the learned net
LOG_UNIT = 10.0  # log C of a random match at gamma 15: brings the net's input and output to the order of 1


class Combination(nn.Module):
    """log C_final of some of the scales (0 fine, 1 middle, 2 coarse)."""

    def __init__(self, kind: Kind, scales: Sequence[int]) -> None:
        super().__init__()
        self.kind = kind
        self.scales = list(scales)
        self.net: nn.Module | None = None
        if kind == "learned":
            self.net = nn.Sequential(nn.Conv2d(len(self.scales), HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, 1, 1))

    def forward(self, logs: Tensor) -> Tensor:
        """log C_i (..., 3, S, S) to log C_final (..., S, S), up to a constant."""
        chosen = logs[..., self.scales, :, :]
        if self.net is not None:
            flat = chosen.reshape(-1, *chosen.shape[-3:]) / LOG_UNIT
            return (self.net(flat) * LOG_UNIT).reshape(*chosen.shape[:-3], *chosen.shape[-2:])
        return torch.logsumexp(chosen, -3) if self.kind == "sum" else chosen.sum(-3)


def plant_false_peak(logs: Tensor, scale: int, at: Tensor, gamma: float, sigma_px: float, height: float) -> Tensor:
    """The same volumes with a second, round peak in one scale only.

    logs      (B, N, 3, S, S) log C_i
    at        (B, N, 2) column and row of the peak in the square
    sigma_px  of the peak before the power
    height    similarity at its top, 0..1; where the true volume is higher it stays
    """
    steps = torch.arange(logs.shape[-1], device=logs.device)
    x, y = (steps - at[..., axis, None] for axis in (0, 1))  # (B, N, S)
    squared = y.square()[..., :, None] + x.square()[..., None, :]
    peak = gamma * (torch.log(torch.tensor(height)) - 0.5 * squared / sigma_px**2)
    planted = logs.clone()
    planted[:, :, scale] = torch.maximum(logs[:, :, scale], peak)
    return planted
