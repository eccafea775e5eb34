"""Settings of the simulated scanner, and where on the display a millimetre lies."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shadow:
    """A dark sector that stands still before the heart: a rib, or lost contact."""

    angle_deg: float
    width_deg: float
    depth_db: float


@dataclass(frozen=True)
class Imaging:
    """One scanner with one set of knobs; levels are against mean wall tissue."""

    depth_mm: float = 150.0
    sector_deg: float = 75.0
    wavelength_mm: float = 0.453
    axial_fwhm_mm: float = 0.65
    lateral_fwhm_deg: float = 1.6
    near_widening: float = 1.4  # of the lateral beam near the probe, times that at the focus
    elevation_fwhm_mm: float = 4.0
    sweep_s: float = 0.0  # from the first line to the last: a frame is not one moment
    dynamic_range_db: float = 58.0
    gain_db: float = 0.0
    deep_loss_db: float = 0.0  # what the depth gain leaves uncompensated at the bottom
    noise_db: float = -42.0  # electronic
    gray_gamma: float = 1.0  # exponent of the gray map
    gray_bend: float = 0.0  # 0 straight, 1 S-shaped
    speckle_filter: float = 0.0  # share of the smoothed image in the one shown, before scan conversion
    smoothing_px: float = 0.5
    persistence: float = 0.1  # share of the previous displayed frame
    haze_db: float = -22.0  # stationary near-field clutter
    edge_loss_db: float = 7.0  # at the edges of the sector
    uneven_db: float = 3.0  # SD of the slow variation of gain over the sector
    reverberation_db: float = -100.0  # of the tissue's own delayed copy
    reverberation_mm: float = 30.0  # its delay
    bands_db: float = -100.0  # of bright bands that stand still in the near field
    shadows: tuple[Shadow, ...] = ()
    jpeg_quality: int = 0  # 0: no compression
    size_px: int = 384  # square output

    @property
    def mm_per_px(self) -> float:
        """Pixels are square; the sector fills the image from its top edge."""
        width = 2.0 * self.depth_mm * math.sin(math.radians(min(self.sector_deg, 179.0) / 2))
        return max(width, self.depth_mm) / (self.size_px - 4)

    def to_pixels(self, points_mm: Tensor) -> Tensor:
        """Probe-frame (..., 2) x, z in mm to image pixels (..., 2), centres at integers."""
        scale = 1.0 / self.mm_per_px
        return torch.stack((points_mm[..., 0] * scale + (self.size_px - 1) / 2, points_mm[..., 1] * scale + 1.0), -1)

    def to_mm(self, points_px: Tensor) -> Tensor:
        """The way back."""
        scale = self.mm_per_px
        return torch.stack(
            ((points_px[..., 0] - (self.size_px - 1) / 2) * scale, (points_px[..., 1] - 1.0) * scale), -1
        )

    def line_delay_s(self, points_mm: Tensor) -> Tensor:
        """When (N,) the line through each probe-frame point is fired, from the middle of the sweep."""
        angle = torch.rad2deg(torch.atan2(points_mm[:, 0], points_mm[:, 1]))
        return self.sweep_s * (angle / self.sector_deg).clamp(-0.6, 0.6)

    def in_sector(self, points_mm: Tensor, margin_mm: float = 3.0) -> Tensor:
        """True for each probe-frame point that is imaged."""
        radius = torch.hypot(points_mm[:, 0], points_mm[:, 1])
        angle = torch.atan2(points_mm[:, 0], points_mm[:, 1]).abs()
        inside = angle < math.radians(self.sector_deg / 2) - margin_mm / radius.clamp(min=1.0)
        return inside & (radius > 5.0) & (radius < self.depth_mm - margin_mm)
