"""What stands between the heart and its picture: uneven gain, shadows, haze, bands, reverberation.

All of it but the reverberation stands still while the heart moves, which is what pulls trackers to a standstill.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging

SHADOW_FROM_MM = 8.0


class Clutter:
    """The artefacts of one clip, drawn once."""

    def __init__(
        self,
        imaging: Imaging,
        grid: PolarGrid,
        blur: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        device: torch.device | str,
    ) -> None:
        self._imaging, self._grid, self._blur = imaging, grid, blur
        self._generator, self._device = generator, device
        self._radius = torch.arange(grid.n_range, device=device) * grid.RANGE_STEP_MM
        self._gain = self._uneven_gain()
        self._still = self._haze() + self._bands()
        self._delay = round(imaging.reverberation_mm / grid.RANGE_STEP_MM)

    def add(self, iq: Tensor) -> Tensor:
        """IQ (2, n_range, n_angle) of the heart to what reaches the receiver."""
        level = self._imaging.reverberation_db
        if level > -60.0 and self._delay < self._grid.n_range:
            echo = torch.zeros_like(iq)
            echo[:, self._delay :] = iq[:, : self._grid.n_range - self._delay]
            iq = iq + echo * 10 ** (level / 20)
        return iq * self._gain + self._still

    def _uneven_gain(self) -> Tensor:
        """Contact, ribs, depth gain: amplitude factors (n_range, n_angle)."""
        imaging, grid = self._imaging, self._grid
        patches = [grid.smooth_noise(*cells, self._generator, self._device) for cells in ((4, 6), (10, 12))]
        level = imaging.uneven_db * (0.78 * patches[0] + 0.62 * patches[1])
        across = torch.linspace(-1, 1, grid.n_angle, device=self._device)
        level = level - imaging.edge_loss_db * across.abs() ** 4
        level = level - imaging.deep_loss_db * (self._radius / imaging.depth_mm)[:, None] ** 2
        angle = across * imaging.sector_deg / 2
        begin = torch.sigmoid((self._radius - SHADOW_FROM_MM) / 3.0)[:, None]
        for shadow in imaging.shadows:
            profile = torch.exp(-(((angle - shadow.angle_deg) / (0.6 * shadow.width_deg)) ** 4))
            level = level - shadow.depth_db * begin * profile
        return 10 ** (level.clamp(-40.0, 8.0) / 20)

    def _pattern(self) -> Tensor:
        """Speckle (2, n_range, n_angle) of unit mean square that belongs to no tissue."""
        shape = (2, self._grid.n_range, self._grid.n_angle)
        pattern = self._blur(torch.randn(shape, generator=self._generator, device=self._device))
        return pattern / pattern.square().sum(0).mean().sqrt()

    def _haze(self) -> Tensor:
        """Side lobes and clutter, strongest near the probe."""
        profile = torch.exp(-self._radius / 30.0) + 0.12
        patchy = 10 ** (4.0 * self._grid.smooth_noise(5, 6, self._generator, self._device) / 20)
        return self._pattern() * patchy * profile[:, None] * 10 ** (self._imaging.haze_db / 20)

    def _bands(self) -> Tensor:
        """Echoes between the probe and the ribs: bands of constant range, fading with depth."""
        g, spacing = self._generator, 6.0 + 9.0 * float(torch.rand((), generator=self._generator, device=self._device))
        ripple = torch.cos(2 * math.pi * self._radius / spacing).clamp(min=0.0) ** 4 * torch.exp(-self._radius / 28.0)
        extent = torch.sigmoid(3.0 * self._grid.smooth_noise(2, 4, g, self._device))
        return self._pattern() * ripple[:, None] * extent * 10 ** (self._imaging.bands_db / 20)
