"""The scatterers of one heart: where they lie, how strongly they answer, and how their speckle changes.

Scatterers are named by their heart-frame position at end-diastole. They lie evenly in range and angle, so that every
cell of the scanner's grid holds the same number, near the probe and far from it.

Speckle changes for four reasons: tissue slides through the slice (each scatterer has a place across it), scatterers
of a cell move against each other while the wall deforms (their phases turn with the beat, and come back with it), their
phases jitter, and blood is new in every frame. So what is lost at end-systole is there again at the next end-diastole.
What the tissue looks like on a larger scale changes with the slide, too: textures turn over, and because borders,
fibres and layers run obliquely through the slice, their picture moves in the plane although no tissue does.
That false motion is what misleads trackers most in real clips; only the speckle itself tells the true one.
"""

import math

import torch
from torch import Tensor

from specktrack.training.anatomy import BLOOD, VALVE
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging
from specktrack.training.subject import Subject
from specktrack.training.tissue_map import TissueLook, TissueMap
from specktrack.training.ultrasound import FWHM_TO_SIGMA

COUNT_PER_MM_RAD = 900.0  # about fifteen in a resolution cell, slice profile counted
MARGIN_DEG, MARGIN_MM = 12.0, 15.0  # beyond the sector, for what moves into it
NEAREST_MM = 3.0
SLICE_HALF = 1.2  # of the populated slab, in widths of the slice at half maximum
OBLIQUE_CELLS_MM = ((45.0, 0.8), (20.0, 0.6))  # size of regions whose structures slope alike


class Scatterers:
    """Positions and answers of all scatterers of a subject in one scanner's view."""

    def __init__(
        self,
        subject: Subject,
        imaging: Imaging,
        look: TissueLook,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        self._subject, self._look = subject, look
        self._generator, self._device = generator, torch.device(device)
        points = subject.to_heart(self._place(imaging))
        self._map = TissueMap(subject, look, points, generator)
        label = self._map.label_at(points)
        keep = (label != BLOOD) | (self._uniform(len(label)) < 0.3)
        self.points, self.label = points[keep], label[keep]
        self.is_blood = self.label == BLOOD
        self.is_followable = ~self.is_blood & (self.label != VALVE)  # tissue a user would set a point on
        self._slope = look.oblique * torch.stack([self._map.noise(self.points, OBLIQUE_CELLS_MM) for _ in range(2)], 1)
        is_bright = ~self.is_blood & (self._uniform(len(self.points)) < look.bright_share)
        self._unit = _unit_level(imaging) * torch.where(is_bright, 10.0, 1.0)
        self._phase = self._uniform(len(self.points)) * 2 * math.pi
        self._turning = [self._normal() * most for most in look.turning]
        self._jitter = self._normal() * look.jitter
        self._time_s: float | None = None
        self._sigma_mm = imaging.elevation_fwhm_mm * FWHM_TO_SIGMA
        self._half_mm = SLICE_HALF * imaging.elevation_fwhm_mm
        self._across_mm = (self._uniform(len(self.points)) * 2 - 1) * self._half_mm

    def answer(self, time_s: float) -> tuple[Tensor, Tensor]:
        """Amplitude and phase (N,) in the frame at a time; frames are asked for in order."""
        look, beat = self._look, self._beat(time_s)
        slide = self._subject.elevation(self.points, time_s)
        slide = slide + sum(most * part for most, part in zip(look.slide_mm, beat, strict=True))
        # The slab is endless: a scatterer that leaves it on one side stands for one that enters on the other.
        across = torch.remainder(self._across_mm - slide + self._half_mm, 2 * self._half_mm) - self._half_mm
        level = self._map.level_db(self.points + slide[:, None] * self._slope, slide / look.turnover_mm)
        amplitude = self._unit * torch.exp(-0.5 * (across / self._sigma_mm) ** 2) * 10 ** (level / 20)
        phase = self._phase + self._next_jitter(time_s)
        for turning, part in zip(self._turning, beat, strict=True):
            phase = phase + part * turning
        fresh = self._uniform(len(phase)) * 2 * math.pi
        return amplitude, torch.where(self.is_blood, fresh, phase)

    def _beat(self, time_s: float) -> tuple[float, float]:
        """Contraction, and a loop that is 0 at end-diastole and 1 in the middle of the beat: there and back differ."""
        return self._subject.state(time_s), math.sin(math.pi * self._subject.rhythm.phase(time_s)) ** 2

    def _next_jitter(self, time_s: float) -> Tensor:
        """Deviation of the phases (N,), rad: stationary, forgotten within `jitter_s`, whatever the frame rate."""
        if self._time_s is not None and self._look.jitter > 0.0:
            kept = math.exp(-abs(time_s - self._time_s) / self._look.jitter_s)
            self._jitter = kept * self._jitter + math.sqrt(1.0 - kept * kept) * self._look.jitter * self._normal()
        self._time_s = time_s
        return self._jitter

    def _normal(self) -> Tensor:
        return torch.randn(len(self.points), generator=self._generator, device=self._device)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._generator, device=self._device)

    def _place(self, imaging: Imaging) -> Tensor:
        """Probe-frame places (N, 2) that fill the sector and a margin."""
        deepest = imaging.depth_mm + MARGIN_MM
        half = math.radians(imaging.sector_deg / 2 + MARGIN_DEG)
        count = int(COUNT_PER_MM_RAD * (deepest - NEAREST_MM) * 2 * half)
        radius = NEAREST_MM + (deepest - NEAREST_MM) * self._uniform(count)
        angle = half * (2 * self._uniform(count) - 1)
        return torch.stack((radius * torch.sin(angle), radius * torch.cos(angle)), 1)


def _unit_level(imaging: Imaging) -> float:
    """Amplitude of one scatterer that makes homogeneous wall tissue appear with mean square 1 per quadrature pair."""
    sigma_range = imaging.axial_fwhm_mm * FWHM_TO_SIGMA / PolarGrid.RANGE_STEP_MM
    sigma_angle = imaging.lateral_fwhm_deg * FWHM_TO_SIGMA / PolarGrid.ANGLE_STEP_DEG
    per_cell = COUNT_PER_MM_RAD * PolarGrid.RANGE_STEP_MM * math.radians(PolarGrid.ANGLE_STEP_DEG)
    energy = 1.0 / (4.0 * math.pi * sigma_range * sigma_angle)  # sum of the squared kernel of unit sum
    slab = math.sqrt(math.pi) * FWHM_TO_SIGMA / (2.0 * SLICE_HALF)  # mean squared slice profile over the slab
    return 1.0 / math.sqrt(per_cell * energy * slab)
