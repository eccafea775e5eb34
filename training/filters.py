"""Gaussian blurs of the simulated scanner."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian(sigma: float) -> Tensor:
    """Odd kernel of unit sum, three sigmas to each side."""
    reach = max(math.ceil(3.0 * sigma), 1)
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def blurred(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(H, W) blurred along its rows' axis by one kernel and along its columns' axis by the other."""
    out = F.conv2d(image[None, None], rows[None, None, :, None], padding=(len(rows) // 2, 0))
    return F.conv2d(out, columns[None, None, None], padding=(0, len(columns) // 2))[0, 0]
