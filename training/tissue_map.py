"""How strongly each place of a heart scatters: class, borders, texture, patches, as maps over the heart frame.

Maps are drawn once and read bilinearly at any place in any frame, so the picture of the tissue may move against the
tissue itself (scatterers.py says why).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.anatomy import BLOOD, PERICARDIUM, TISSUE, VALVE, WALL
from specktrack.training.subject import Subject

STEP_MM = 0.5  # of the maps
SCATTERING_DB = {TISSUE: -9.0, WALL: 0.0, PERICARDIUM: 6.0, VALVE: 5.0}
TEXTURE_CELLS_MM = ((14.0, 0.6), (5.0, 0.6), (2.2, 0.8))  # cell and weight of each octave
BORDER_CELLS_MM = ((7.0, 0.9), (3.0, 0.45))  # of the irregular borders of walls
PATCH_CELLS_MM = ((32.0, 1.0),)  # of dark and bright regions around the heart

Octaves = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class TissueLook:
    """How the tissue of one heart looks and how its speckle changes."""

    blood_db: float = -30.0  # against mean wall tissue
    texture_db: float = 4.0  # SD of the brightness attached to the tissue
    surroundings_texture: float = 2.2  # how much patchier tissue around the heart is than its walls
    patches_db: float = 3.0  # SD of the regions around the heart
    lining_db: float = 2.0  # brighter borders of the wall
    bright_share: float = 0.0  # of scatterers in tissue that answer ten times as strongly
    irregular_mm: float = 0.4  # SD of the distance of the borders of walls from smooth curves
    turnover_mm: float = 5.0  # slide across the slice that replaces the texture
    oblique: float = 0.0  # SD of the false motion in the plane per slide across it: the slope of structures
    slide_mm: tuple[float, float] = (0.0, 0.0)  # of the whole heart across the slice: with contraction, with the loop
    turning: tuple[float, float] = (0.0, 0.0)  # SD in rad of the turn of phases: with contraction, with the loop
    jitter: float = 0.0  # SD in rad of their deviation from it
    jitter_s: float = 0.1  # time within which a deviation is forgotten


class TissueMap:
    """Levels of one subject over the region that its scatterers fill."""

    def __init__(self, subject: Subject, look: TissueLook, points: Tensor, generator: torch.Generator) -> None:
        """points (N, 2), heart frame: what must be covered."""
        self._generator, self._device = generator, points.device
        self._low = points.amin(0) - 2 * STEP_MM
        self._span = points.amax(0) + 2 * STEP_MM - self._low
        columns, rows = (int(s / STEP_MM) + 1 for s in self._span.tolist())
        y = self._low[1] + self._span[1] * torch.linspace(0, 1, rows, device=self._device)
        x = self._low[0] + self._span[0] * torch.linspace(0, 1, columns, device=self._device)
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)
        bent = places + look.irregular_mm * torch.stack([self.noise(places, BORDER_CELLS_MM) for _ in range(2)], 1)
        label = subject.classify(bent)
        base = self._base_db(subject, look, label, bent) + self._patches_db(look, label, places)
        contrast = torch.where(label == TISSUE, look.surroundings_texture, 1.0) * (label != BLOOD)
        textures = [look.texture_db * contrast * self.noise(places, TEXTURE_CELLS_MM) for _ in range(2)]
        self._levels = torch.stack((base, *textures)).view(1, 3, rows, columns)
        self._labels = label.view(1, 1, rows, columns).float()

    def label_at(self, points: Tensor) -> Tensor:
        """Class (N,) int64 of points (N, 2), borders irregular."""
        return self._read(self._labels, points, "nearest")[0].long()

    def level_db(self, points: Tensor, turn: Tensor) -> Tensor:
        """Level (N,), dB against mean wall tissue, at points (N, 2) whose texture has turned by (N,) rad."""
        base, first, second = self._read(self._levels, points, "bilinear")
        return base + torch.cos(turn) * first + torch.sin(turn) * second

    def noise(self, points: Tensor, octaves: Octaves) -> Tensor:
        """Slow random field (N,) over the region: octaves of interpolated noise, about unit variance; new each call."""
        total = torch.zeros(len(points), device=self._device)
        for cell_mm, weight in octaves:
            columns, rows = (max(int(s / cell_mm), 2) for s in self._span.tolist())
            coarse = torch.randn(1, 1, rows, columns, generator=self._generator, device=self._device)
            total += weight * self._read(coarse, points, "bicubic")[0]
        return total

    def _read(self, maps: Tensor, points: Tensor, mode: str) -> Tensor:
        where = ((points - self._low) / self._span * 2 - 1)[None, None]
        return F.grid_sample(maps, where, mode=mode, padding_mode="border", align_corners=True)[0, :, 0]

    def _base_db(self, subject: Subject, look: TissueLook, label: Tensor, bent: Tensor) -> Tensor:
        """Class and bright linings of the wall."""
        level = torch.zeros(len(label), device=self._device)
        for kind, decibel in {**SCATTERING_DB, BLOOD: look.blood_db}.items():
            level[label == kind] = decibel
        depth = subject.wall_coordinate(bent)
        lining = torch.exp(-((depth / 0.15) ** 2)) + torch.exp(-(((depth - 1.0) / 0.15) ** 2))
        return level + look.lining_db * lining * (label == WALL)

    def _patches_db(self, look: TissueLook, label: Tensor, places: Tensor) -> Tensor:
        around = (label == TISSUE) | (label == PERICARDIUM)
        return look.patches_db * around * self.noise(places, PATCH_CELLS_MM)
