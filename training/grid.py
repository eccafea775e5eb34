"""The range-angle grid on which the scanner works."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.imaging import Imaging


class PolarGrid:
    """Rows of equal range, columns of equal angle, the middle column straight down."""

    RANGE_STEP_MM = 0.2
    ANGLE_STEP_DEG = 0.45

    def __init__(self, depth_mm: float, sector_deg: float) -> None:
        self.n_range = math.ceil(depth_mm / self.RANGE_STEP_MM)
        self.n_angle = math.ceil(sector_deg / self.ANGLE_STEP_DEG)

    def cells(self, radius_mm: Tensor, angle_rad: Tensor) -> tuple[Tensor, Tensor]:
        """Fractional row and column of places."""
        column = torch.rad2deg(angle_rad) / self.ANGLE_STEP_DEG + (self.n_angle - 1) / 2
        return radius_mm / self.RANGE_STEP_MM, column

    def sampling(self, imaging: Imaging) -> tuple[Tensor, Tensor]:
        """Where each pixel of the display reads the grid, (1, H, W, 2) for grid_sample, and the pixels outside."""
        steps = torch.arange(imaging.size_px, dtype=torch.float32)
        v, u = torch.meshgrid(steps, steps, indexing="ij")
        mm = imaging.to_mm(torch.stack((u, v), -1))
        radius = torch.hypot(mm[..., 0], mm[..., 1])
        row, column = self.cells(radius, torch.atan2(mm[..., 0], mm[..., 1]))
        gx = column / ((self.n_angle - 1) / 2) - 1.0
        gy = row / ((self.n_range - 1) / 2) - 1.0
        outside = (gx.abs() > 1) | (gy > 1) | (radius < 2.0) | (mm[..., 1] < 0)
        return torch.stack((gx, gy), -1)[None], outside

    def smooth_noise(
        self, rows: int, columns: int, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Slowly varying field (n_range, n_angle), mean 0, about unit variance."""
        coarse = torch.randn(1, 1, rows, columns, generator=generator, device=device)
        return F.interpolate(coarse, (self.n_range, self.n_angle), mode="bicubic", align_corners=True)[0, 0]
