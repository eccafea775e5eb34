"""A scanner in polar geometry: scatterers become complex IQ on a range-angle grid, blurred by the pulse and the beam.

    splat    every scatterer adds its amplitude and phase to the four cells around it
    blur     separable point-spread function, wider near the probe than at the focus
    clutter  artefacts.py: uneven gain, shadows, haze, bands, reverberation; then electronic noise
    display  display.py: logarithm, gray map, scan conversion, persistence, compression

The phase of a scatterer is exact (two way path over wavelength); only its place on the grid is interpolated, and with a
point-spread function a few cells wide there is no flicker between grid positions. The same torch code runs on a CPU and
a GPU. Sources: convolution-based simulation (COLE, Gao 2009); ranges in the project's clinical reference.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.artefacts import Clutter
from specktrack.training.display import Display
from specktrack.training.filters import gaussian
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging

FWHM_TO_SIGMA = 1.0 / 2.3548
NEAR_FIELD_MM = 45.0  # where the beam has narrowed halfway to its width at the focus


class Scanner:
    """Renders scatterers with one `Imaging`; keeps grids, kernels and the persistence of the display."""

    def __init__(self, imaging: Imaging, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        self.imaging = imaging
        self.grid = PolarGrid(imaging.depth_mm, imaging.sector_deg)
        self._generator = generator
        sigma = imaging.lateral_fwhm_deg * FWHM_TO_SIGMA / self.grid.ANGLE_STEP_DEG
        self._pulse = gaussian(imaging.axial_fwhm_mm * FWHM_TO_SIGMA / self.grid.RANGE_STEP_MM).to(device)
        self._beams = gaussian(sigma).to(device), gaussian(sigma * imaging.near_widening).to(device)
        radius = torch.arange(self.grid.n_range, device=device) * self.grid.RANGE_STEP_MM
        self._near = torch.sigmoid((NEAR_FIELD_MM - radius) / 12.0)[:, None]
        self._clutter = Clutter(imaging, self.grid, self._blur, generator, device)
        self._display = Display(imaging, self.grid, device)

    def iq(self, points_mm: Tensor, amplitude: Tensor, own_phase: Tensor | None = None) -> Tensor:
        """Complex IQ as (2, n_range, n_angle) of scatterers at (N, 2) x, z mm with real amplitude and phase (N,)."""
        grid = self.grid
        radius = torch.hypot(points_mm[:, 0], points_mm[:, 1])
        row, column = grid.cells(radius, torch.atan2(points_mm[:, 0], points_mm[:, 1]))
        keep = (row >= 0) & (row < grid.n_range - 1) & (column >= 0) & (column < grid.n_angle - 1)
        row, column, radius = row[keep], column[keep], radius[keep]
        phase = (4.0 * math.pi / self.imaging.wavelength_mm) * radius
        if own_phase is not None:
            phase = phase + own_phase[keep]
        value = amplitude[keep] * torch.stack((torch.cos(phase), -torch.sin(phase)))
        cells = torch.zeros(2, grid.n_range * grid.n_angle, device=points_mm.device)
        r0, c0 = row.floor(), column.floor()
        fr, fc = row - r0, column - c0
        base = (r0 * grid.n_angle + c0).long()
        for offset, weight in (
            (0, (1 - fr) * (1 - fc)),
            (1, (1 - fr) * fc),
            (grid.n_angle, fr * (1 - fc)),
            (grid.n_angle + 1, fr * fc),
        ):
            cells.index_add_(1, base + offset, value * weight)
        return self._blur(cells.view(2, grid.n_range, grid.n_angle))

    def envelope(self, points_mm: Tensor, amplitude: Tensor, own_phase: Tensor | None = None) -> Tensor:
        """Magnitude (n_range, n_angle) with clutter and electronic noise, tissue mean near 1."""
        iq = self._clutter.add(self.iq(points_mm, amplitude, own_phase))
        noise = torch.randn(iq.shape, generator=self._generator, device=iq.device)
        iq = iq + noise * 10 ** (self.imaging.noise_db / 20)
        return torch.hypot(iq[0], iq[1])

    def display(self, envelope: Tensor) -> Tensor:
        """Envelope (n_range, n_angle) to the displayed image (H, W) in [0, 1]; persistence carries over frames."""
        return self._display.show(envelope)

    def _blur(self, iq: Tensor) -> Tensor:
        """The point-spread function, of unit sum; `scatterers.py` sets the level of tissue for it."""
        focus, near = self._beams
        out = F.conv2d(iq[:, None], self._pulse[None, None, :, None], padding=(len(self._pulse) // 2, 0))
        at_focus = F.conv2d(out, focus[None, None, None], padding=(0, len(focus) // 2))[:, 0]
        at_probe = F.conv2d(out, near[None, None, None], padding=(0, len(near) // 2))[:, 0]
        return at_focus + self._near * (at_probe - at_focus)
