"""Plain tissue that deforms: a random, divergence-free field of a few slow waves, beating with a rhythm.

The displacement is the curl of a stream function, so area is kept to first order; its gradient is bounded well below 1,
so the map is one-to-one whatever was drawn.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from specktrack.training import placement
from specktrack.training.anatomy import BLOOD, TISSUE, WALL
from specktrack.training.dice import Dice
from specktrack.training.placement import GlobalMotion, Placement
from specktrack.training.rhythm import Rhythm

STEEPEST = 0.7  # bound of the displacement gradient (spectral norm); at 1 tissue could fold
DEPTH_MM = 110.0


@dataclass(frozen=True)
class Wave:
    """One wave of the stream function: amplitude * sin(k . p + phase); its displacement is across k."""

    k: tuple[float, float]  # rad / mm
    displacement: float  # peak, mm
    phase: float
    is_loop: bool  # out and back by another way: follows the half beat instead of contraction

    @property
    def steepness(self) -> float:
        """Bound of the gradient of its displacement."""
        return abs(self.displacement) * math.hypot(*self.k)


STANDARD_WAVES = (
    Wave((0.045, 0.012), 5.5, 0.3, is_loop=False),
    Wave((-0.01, 0.05), 4.0, 1.7, is_loop=False),
    Wave((0.04, -0.04), 1.5, 4.0, is_loop=True),
)


def random_waves(dice: Dice, gradient: float) -> tuple[Wave, ...]:
    """Five waves, 60-250 mm long, whose gradients add up to `gradient` at most."""
    waves = []
    for index in range(5):
        length, direction = dice.between(60.0, 250.0), dice.between(0.0, 2 * math.pi)
        k = 2 * math.pi / length
        share = gradient * dice.between(0.7, 1.0) / 5.0
        vector = (k * math.cos(direction), k * math.sin(direction))
        waves.append(Wave(vector, share / k, dice.between(0.0, 2 * math.pi), is_loop=index >= 3))
    return tuple(waves)


@dataclass(frozen=True)
class TissueBlock:
    """A subject (see subject.py) without a heart in it; its frame is the probe's, moved by the placement."""

    rhythm: Rhythm
    waves: tuple[Wave, ...] = STANDARD_WAVES
    vessels: tuple[tuple[float, float, float], ...] = ((-20.0, 35.0, 6.0), (25.0, 70.0, 9.0))  # x, y, radius
    slide: float = 1.5  # out-of-plane shift at full contraction, mm
    placement: Placement = field(default_factory=lambda: Placement(apex_depth=0.0))
    whole: GlobalMotion = field(default_factory=lambda: GlobalMotion(swing_deg=0.0))

    def __post_init__(self) -> None:
        steepness = sum(wave.steepness for wave in self.waves)
        if steepness > STEEPEST:
            raise ValueError(
                f"waves: gradients add up to {steepness:.2f}, at most {STEEPEST} keeps tissue from folding"
            )

    @property
    def view(self) -> str:
        """Name of the view."""
        return "tissue"

    @property
    def depth_mm(self) -> float:
        """Depth of an image of it."""
        return DEPTH_MM

    def state(self, time_s: float) -> float:
        """Deformation: 0 at the start of a beat, 1 at its most."""
        return self.rhythm.state(time_s)

    def position(self, points: Tensor, time_s: float) -> Tensor:
        """Material points (N, 2) to (N, 2) x, z in the probe frame, mm."""
        moved = points + self._displacement(points, time_s)
        return placement.to_probe(moved, self.placement, self.whole, self.state(time_s), time_s)

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        """Shift out of the plane (N,), mm: more on one side than on the other."""
        return self.slide * self.state(time_s) * torch.sin(points[:, 0] / 40.0 + 0.5)

    def classify(self, points: Tensor) -> Tensor:
        """Class (N,) int64: tissue with bands of muscle, and vessels."""
        x, y = points[:, 0], points[:, 1]
        is_muscle = torch.sin(y / 9.0 + torch.sin(x / 23.0) * 1.5) > 0.4
        label = torch.where(is_muscle, WALL, TISSUE)
        label[self._is_vessel(points)] = BLOOD
        return label

    def wall_coordinate(self, points: Tensor) -> Tensor:
        """0.5 (N,) everywhere: tissue has no layers."""
        return torch.full_like(points[:, 0], 0.5)

    def is_tracked_wall(self, points: Tensor) -> Tensor:
        """All but vessels (N,)."""
        return ~self._is_vessel(points)

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        """A straight line (n_points, 2) across the middle; `depth` moves it by 10 mm from 0 to 1."""
        x = torch.linspace(-25.0, 25.0, n_points)
        return torch.stack((x, torch.full_like(x, 0.5 * DEPTH_MM + 10.0 * (depth - 0.5))), 1)

    def to_heart(self, probe_points: Tensor) -> Tensor:
        """Probe frame (N, 2) back to the frame of the block at rest."""
        return placement.to_heart(probe_points, self.placement)

    def _displacement(self, points: Tensor, time_s: float) -> Tensor:
        loop = math.sin(math.pi * self.rhythm.phase(time_s)) ** 2
        size = [wave.displacement * (loop if wave.is_loop else self.state(time_s)) for wave in self.waves]
        k = points.new_tensor([wave.k for wave in self.waves])
        swell = torch.cos(points @ k.T + points.new_tensor([wave.phase for wave in self.waves]))
        across = torch.stack((k[:, 1], -k[:, 0]), 1) / k.norm(dim=1, keepdim=True)
        return swell @ (points.new_tensor(size)[:, None] * across)

    def _is_vessel(self, points: Tensor) -> Tensor:
        inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for x, y, radius in self.vessels:
            inside |= torch.hypot(points[:, 0] - x, points[:, 1] - y) < radius
        return inside
