"""A heart in short axis: a ring that contracts, thickens and twists, the crescent of the right ventricle beside it.

Heart frame: origin in the middle of the left ventricle, x to the right, y down; the right ventricle lies towards -x.
The motion is a chain of one-to-one steps: the right ventricle's free wall moves towards the septum (along x only),
every ray from the middle shrinks (along the ray only), every circle turns (along the circle only).
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from specktrack.training import placement
from specktrack.training.anatomy import BLOOD, PERICARDIUM, PERICARDIUM_MM, TISSUE, WALL, evenly_spaced
from specktrack.training.placement import GlobalMotion, Placement
from specktrack.training.rhythm import Rhythm

Segments = tuple[float, float, float, float, float, float]  # around the ring from +x, clockwise in the image
NONE: Segments = (0.0,) * 6

FADE = 0.25  # where in the wall, from endo- to epicardium, half of the cavity's shrinking is left
MIDDLE_MM = 6.0  # within this of the middle, directions blend


@dataclass(frozen=True)
class RingShape:
    """End-diastolic geometry, mm and degrees."""

    radius: float = 23.0
    wall: float = 10.0
    papillary: float = 0.24  # radius of the papillary muscles, of the cavity's
    papillary_deg: tuple[float, float] = (-20.0, 100.0)  # from +x, clockwise in the image
    right_width: float = 26.0  # right ventricle, from the septum to its free wall
    right_wall: float = 4.0

    @property
    def outer(self) -> float:
        """Epicardial radius."""
        return self.radius + self.wall


@dataclass(frozen=True)
class RingMotion:
    """How the ring deforms."""

    shrink: Segments = (0.54, 0.54, 0.52, 0.48, 0.50, 0.54)  # of a ray at the middle, at end-systole; < 1
    delay_s: Segments = NONE
    post_systolic: Segments = NONE
    twist_deg: float = 9.0  # positive: clockwise in the image
    right_inward: float = 6.0  # mm, free wall of the right ventricle
    through_plane: float = 5.0  # mm at end-systole: the base comes down through the plane
    breath_across: float = 0.0  # out-of-plane share of breathing


@dataclass(frozen=True)
class ShortAxisHeart:
    """A subject (see subject.py) in short axis at the level of the papillary muscles."""

    rhythm: Rhythm
    shape: RingShape = field(default_factory=RingShape)
    motion: RingMotion = field(default_factory=RingMotion)
    placement: Placement = field(default_factory=lambda: Placement(apex_depth=65.0, apex_x=8.0, tilt_deg=20.0))
    whole: GlobalMotion = field(default_factory=lambda: GlobalMotion(swing_deg=0.0))

    @property
    def view(self) -> str:
        """Name of the view."""
        return "psax"

    @property
    def depth_mm(self) -> float:
        """Depth that shows the ring and something behind it."""
        return self.placement.apex_depth + self.shape.outer + 25.0

    def state(self, time_s: float) -> float:
        """Contraction of muscle without delay: 0 at end-diastole, 1 at end-systole of a full beat."""
        return self.rhythm.state(time_s)

    def position(self, points: Tensor, time_s: float) -> Tensor:
        """Material points (N, 2), heart frame at end-diastole, to (N, 2) x, z in the probe frame, mm."""
        state = self.state(time_s)
        moved = self._shrink(self._pull_free_wall(points, state), self._shrink_now(time_s))
        return placement.to_probe(self._turn(moved, state), self.placement, self.whole, state, time_s)

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        """Shift out of the plane (N,), mm: the base comes down, least at the free walls' outside; breathing."""
        near = 1.0 / (1.0 + (points.norm(dim=1) / (1.5 * self.shape.outer)) ** 4)
        breath = self.motion.breath_across * self.whole.breath(time_s)
        return self.motion.through_plane * self.state(time_s) * near + breath

    def classify(self, points: Tensor) -> Tensor:
        """Class (N,) int64 of material points; later lines cover earlier ones."""
        shape = self.shape
        depth = self.wall_coordinate(points)
        label = torch.full_like(points[:, 0], TISSUE, dtype=torch.int64)
        is_behind = points[:, 0] > -0.3 * shape.outer
        label[(depth > 1) & ((depth - 1.0) * shape.wall < PERICARDIUM_MM) & is_behind] = PERICARDIUM
        for grow, kind in ((shape.right_wall + PERICARDIUM_MM, PERICARDIUM), (shape.right_wall, WALL), (0.0, BLOOD)):
            label[(depth > 1) & self._is_in_crescent(points, grow)] = kind
        label[(depth >= 0) & (depth <= 1)] = WALL
        label[depth < 0] = BLOOD
        size = shape.papillary * shape.radius
        for angle in (math.radians(a) for a in shape.papillary_deg):
            centre = points.new_tensor([math.cos(angle), math.sin(angle)]) * (shape.radius - 0.7 * size)
            label[(points - centre).norm(dim=1) < size] = WALL
        return label

    def wall_coordinate(self, points: Tensor) -> Tensor:
        """Depth (N,) in the ring: 0 endocardium, 1 epicardium."""
        return (points.norm(dim=1) - self.shape.radius) / self.shape.wall

    def is_tracked_wall(self, points: Tensor) -> Tensor:
        """Which points (N,) lie in the ring, papillary muscles left out."""
        depth = self.wall_coordinate(points)
        return (depth >= 0) & (depth <= 1)

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        """The ring (n_points, 2) at end-diastole from the septum, clockwise; the last point is the first."""
        angle = np.linspace(math.pi, 3 * math.pi, 721)
        radius = self.shape.radius + depth * self.shape.wall
        return evenly_spaced(radius * np.stack((np.cos(angle), np.sin(angle)), 1), n_points)

    def to_heart(self, probe_points: Tensor) -> Tensor:
        """Probe frame (N, 2) back to the heart frame, undeformed."""
        return placement.to_heart(probe_points, self.placement)

    def _is_in_crescent(self, points: Tensor, grow: float) -> Tensor:
        outer = self.shape.outer
        half = 0.4 * outer + self.shape.right_width + grow
        return torch.hypot((points[:, 0] + 0.6 * outer) / half, points[:, 1] / (outer + grow)) < 1.0

    def _shrink_now(self, time_s: float) -> list[float]:
        """Shrinking of each segment at a time."""
        motion, rhythm = self.motion, self.rhythm
        pieces = zip(motion.shrink, motion.delay_s, motion.post_systolic, strict=True)
        return [s * rhythm.state(time_s, d) + p * rhythm.post_systole(time_s, d) for s, d, p in pieces]

    def _pull_free_wall(self, points: Tensor, state: float) -> Tensor:
        shape = self.shape
        width = 0.5 * (shape.right_width + shape.right_wall)
        away = (-points[:, 0] - shape.outer - width) / width  # -1 at the septum, 1 at the free wall
        hump = torch.exp(-(((away - 1.0) / 1.2) ** 2)) * torch.exp(-((points[:, 1] / (1.2 * shape.outer)) ** 2))
        return torch.stack((points[:, 0] + self.motion.right_inward * state * hump, points[:, 1]), 1)

    def _shrink(self, points: Tensor, shrink: list[float]) -> Tensor:
        """Every point towards the middle; less and less through the wall, which thickens it."""
        shape = self.shape
        square = (points * points).sum(1)
        unit = points / torch.sqrt(square + MIDDLE_MM**2)[:, None]
        cos, sin = unit[:, 0], unit[:, 1]
        angles = [math.radians(60.0 * k) for k in range(6)]
        mean = sum(shrink) / 6.0
        waves = [
            [sum(s * f(m * a) for s, a in zip(shrink, angles, strict=True)) / 3.0 for f in (math.cos, math.sin)]
            for m in (1, 2)
        ]
        around = (
            waves[0][0] * cos + waves[0][1] * sin + waves[1][0] * (cos * cos - sin * sin) + waves[1][1] * 2 * cos * sin
        )
        far = square / (shape.radius + FADE * shape.wall) ** 2
        return points * (1.0 - (mean + around) / (1.0 + far * far * far))[:, None]

    def _turn(self, points: Tensor, state: float) -> Tensor:
        """Every circle about the middle; the surroundings hardly."""
        far = (points * points).sum(1) / (self.shape.outer + 10.0) ** 2
        angle = math.radians(self.motion.twist_deg) * state / (1.0 + far * far * far)
        cos, sin = torch.cos(angle), torch.sin(angle)
        x, y = points[:, 0], points[:, 1]
        return torch.stack((cos * x - sin * y, sin * x + cos * y), 1)
