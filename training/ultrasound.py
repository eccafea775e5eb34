"""From moving scatterers to a B-mode image, in polar geometry.

Each scatterer drops its amplitude, turned by the carrier phase of its range, onto a range-angle grid (complex IQ); a
separable Gaussian point-spread function is laid over it; envelope, log compression, gray map and scan conversion
follow. Because the phase is exact below the sample spacing there is no flicker between grid positions.
Sources: convolution-based simulation (COLE, Gao 2009); parameter ranges in the clinical reference of the project.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FWHM_TO_SIGMA = 1.0 / 2.3548


@dataclass(frozen=True)
class Imaging:
    """Settings of the simulated scanner."""

    depth_mm: float = 150.0
    sector_deg: float = 75.0
    wavelength_mm: float = 0.453
    axial_fwhm_mm: float = 0.65
    lateral_fwhm_deg: float = 1.6
    elevation_fwhm_mm: float = 4.0
    dynamic_range_db: float = 58.0
    gain_db: float = 0.0
    noise_db: float = -42.0  # of the electronic noise against mean tissue
    gray_gamma: float = 1.0  # exponent of the gray map
    smoothing_px: float = 0.5
    persistence: float = 0.1  # share of the previous displayed frame
    haze_db: float = -22.0  # stationary near-field clutter against mean tissue
    size_px: int = 384  # square output

    @property
    def mm_per_px(self) -> float:
        """Pixels are square; the sector fills the image from its top edge."""
        width = 2.0 * self.depth_mm * math.sin(math.radians(min(self.sector_deg, 179.0) / 2))
        return max(width, self.depth_mm) / (self.size_px - 4)

    def to_pixels(self, points_mm: Tensor) -> Tensor:
        """Probe-frame (N, 2) x, z in mm to image pixels (N, 2), centres at integers."""
        scale = 1.0 / self.mm_per_px
        return torch.stack((points_mm[:, 0] * scale + (self.size_px - 1) / 2, points_mm[:, 1] * scale + 1.0), 1)

    def to_mm(self, points_px: Tensor) -> Tensor:
        """The way back."""
        scale = self.mm_per_px
        return torch.stack(((points_px[:, 0] - (self.size_px - 1) / 2) * scale, (points_px[:, 1] - 1.0) * scale), 1)

    def in_sector(self, points_mm: Tensor, margin_mm: float = 3.0) -> Tensor:
        """True for each probe-frame point that is imaged."""
        radius = torch.hypot(points_mm[:, 0], points_mm[:, 1])
        angle = torch.atan2(points_mm[:, 0], points_mm[:, 1]).abs()
        inside = angle < math.radians(self.sector_deg / 2) - margin_mm / radius.clamp(min=1.0)
        return inside & (radius > 5.0) & (radius < self.depth_mm - margin_mm)


class Scanner:
    """Renders scatterers with one `Imaging`; keeps grids, kernels and the persistence of the display."""

    RANGE_STEP_MM = 0.2
    ANGLE_STEP_DEG = 0.45

    def __init__(self, imaging: Imaging, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        self.imaging = imaging
        self.device = torch.device(device)
        self.n_range = math.ceil(imaging.depth_mm / self.RANGE_STEP_MM)
        self.n_angle = math.ceil(imaging.sector_deg / self.ANGLE_STEP_DEG)
        self._range_kernel = _gaussian(imaging.axial_fwhm_mm * FWHM_TO_SIGMA / self.RANGE_STEP_MM).to(device)
        self._angle_kernel = _gaussian(imaging.lateral_fwhm_deg * FWHM_TO_SIGMA / self.ANGLE_STEP_DEG).to(device)
        self._sampling, self._outside = self._scan_conversion()
        self._generator = generator
        self._static_gain = self._shading()
        self._haze = self._stationary_clutter()
        self._shown: Tensor | None = None

    def iq(self, points_mm: Tensor, amplitude: Tensor) -> Tensor:
        """Complex IQ as (2, n_range, n_angle) of scatterers at (N, 2) x, z mm with real amplitude (N,)."""
        radius = torch.hypot(points_mm[:, 0], points_mm[:, 1])
        angle = torch.atan2(points_mm[:, 0], points_mm[:, 1])
        row = radius / self.RANGE_STEP_MM
        column = torch.rad2deg(angle) / self.ANGLE_STEP_DEG + (self.n_angle - 1) / 2
        keep = (row >= 0) & (row < self.n_range - 1) & (column >= 0) & (column < self.n_angle - 1)
        row, column, radius = row[keep], column[keep], radius[keep]
        phase = (4.0 * math.pi / self.imaging.wavelength_mm) * radius
        value = amplitude[keep] * torch.stack((torch.cos(phase), -torch.sin(phase)))
        grid = torch.zeros(2, self.n_range * self.n_angle, device=self.device)
        r0, c0 = row.floor(), column.floor()
        fr, fc = row - r0, column - c0
        base = (r0 * self.n_angle + c0).long()
        for offset, weight in (
            (0, (1 - fr) * (1 - fc)),
            (1, (1 - fr) * fc),
            (self.n_angle, fr * (1 - fc)),
            (self.n_angle + 1, fr * fc),
        ):
            grid.index_add_(1, base + offset, value * weight)
        return self._blur(grid.view(2, self.n_range, self.n_angle))

    def envelope(self, points_mm: Tensor, amplitude: Tensor) -> Tensor:
        """Magnitude (n_range, n_angle) with shading, haze and electronic noise, tissue mean near 1."""
        iq = self.iq(points_mm, amplitude) * self._static_gain + self._haze
        noise = torch.randn(iq.shape, generator=self._generator, device=self.device)
        iq = iq + noise * 10 ** (self.imaging.noise_db / 20)
        return torch.hypot(iq[0], iq[1])

    def display(self, envelope: Tensor) -> Tensor:
        """Envelope (n_range, n_angle) to the displayed image (H, W) in [0, 1]; persistence carries over frames."""
        imaging = self.imaging
        level = 20.0 * torch.log10(envelope.clamp(min=1e-6)) + imaging.gain_db
        polar = ((level + imaging.dynamic_range_db - 20.0) / imaging.dynamic_range_db).clamp(0.0, 1.0)
        image = F.grid_sample(polar[None, None], self._sampling, mode="bilinear", align_corners=True)[0, 0]
        image = image.clamp(0.0, 1.0) ** imaging.gray_gamma
        if imaging.smoothing_px > 0.2:
            image = _separable(image[None], _gaussian(imaging.smoothing_px).to(self.device))[0]
        image = image.masked_fill(self._outside, 0.0)
        if self._shown is not None:
            image = (1 - imaging.persistence) * image + imaging.persistence * self._shown
        self._shown = image
        return image

    def _blur(self, iq: Tensor) -> Tensor:
        """The separable point-spread function, of unit sum; `Phantom` sets the level of its scatterers for it."""
        out = F.conv2d(iq[:, None], self._range_kernel[None, None, :, None], padding=(len(self._range_kernel) // 2, 0))
        return F.conv2d(out, self._angle_kernel[None, None, None], padding=(0, len(self._angle_kernel) // 2))[:, 0]

    def _scan_conversion(self) -> tuple[Tensor, Tensor]:
        """Sampling grid (1, H, W, 2) of the polar image for each pixel, and the mask of pixels outside the sector."""
        size = self.imaging.size_px
        v, u = torch.meshgrid(
            torch.arange(size, dtype=torch.float32), torch.arange(size, dtype=torch.float32), indexing="ij"
        )
        mm = self.imaging.to_mm(torch.stack((u.flatten(), v.flatten()), 1))
        radius, angle = torch.hypot(mm[:, 0], mm[:, 1]), torch.rad2deg(torch.atan2(mm[:, 0], mm[:, 1]))
        gx = angle / self.ANGLE_STEP_DEG / ((self.n_angle - 1) / 2)
        gy = radius / self.RANGE_STEP_MM / ((self.n_range - 1) / 2) - 1.0
        outside = (gx.abs() > 1) | (gy > 1) | (radius < 2.0) | (mm[:, 1] < 0)
        grid = torch.stack((gx, gy), 1).view(1, size, size, 2)
        return grid.to(self.device), outside.view(size, size).to(self.device)

    def _smooth_noise(self, rows: int, columns: int) -> Tensor:
        """Slowly varying field (n_range, n_angle), mean 0, about unit variance."""
        coarse = torch.randn(1, 1, rows, columns, generator=self._generator, device=self.device)
        return F.interpolate(coarse, (self.n_range, self.n_angle), mode="bicubic", align_corners=True)[0, 0]

    def _shading(self) -> Tensor:
        """Fixed gain over the sector: uneven contact, ribs, TGC; 0 to -20 dB, worst at the edges."""
        ripple = 3.0 * self._smooth_noise(4, 6)
        column = torch.linspace(-1, 1, self.n_angle, device=self.device)
        edge = -7.0 * column.abs() ** 4
        return 10 ** ((ripple + edge[None]).clamp(-22.0, 6.0) / 20)

    def _stationary_clutter(self) -> Tensor:
        """Haze that does not move with the heart, strongest near the probe: what pulls trackers to a standstill."""
        noise = torch.randn(2, self.n_range, self.n_angle, generator=self._generator, device=self.device)
        pattern = self._blur(noise)
        pattern = pattern / pattern.square().sum(0).mean().sqrt()
        radius = torch.arange(self.n_range, device=self.device) * self.RANGE_STEP_MM
        profile = torch.exp(-radius / 30.0) + 0.12
        patchy = 10 ** (4.0 * self._smooth_noise(5, 6) / 20)
        return pattern * patchy * profile[:, None] * 10 ** (self.imaging.haze_db / 20)


def _gaussian(sigma: float) -> Tensor:
    """Odd Gaussian kernel of unit sum, three sigmas to each side."""
    reach = max(math.ceil(3.0 * sigma), 1)
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    return kernel / kernel.sum()


def _separable(image: Tensor, kernel: Tensor) -> Tensor:
    """Blur (1, H, W) along both axes."""
    pad = len(kernel) // 2
    out = F.conv2d(image[:, None], kernel[None, None, :, None], padding=(pad, 0))
    return F.conv2d(out, kernel[None, None, None], padding=(0, pad))[:, 0]
