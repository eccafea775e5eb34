"""A kinematic heart in an apical view: where every material point is at every moment, exactly.

The ventricle is cut into lanes across the image (left wall, right wall, the other ventricle's free wall) and levels
along its axis (apical, mid, basal). Each of the nine pieces has its own shortening, delay and post-systolic
shortening. From them follow, in this order:

    1. leaflets swing (valves.py)
    2. walls move inwards and thicken: x' = X(x, y), growing in x
    3. walls shorten: y' = Y(x', y), growing in y; the atria lengthen by what the ventricle gives up
    4. the heart swings, breathes and is looked at by a wandering hand (placement.py)

2 and 3 each change one coordinate and grow with it, so their composition is one-to-one and its determinant is the
product of two positive slopes.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from specktrack.training import anatomy, placement, valves
from specktrack.training.anatomy import HeartShape
from specktrack.training.placement import GlobalMotion, Placement
from specktrack.training.rhythm import Rhythm

Levels = tuple[float, float, float]  # apical, mid, basal
Lanes = tuple[Levels, Levels, Levels]  # left wall, right wall, free wall of the other ventricle
NONE: Lanes = ((0.0,) * 3,) * 3

ROOF_MM = 15.0  # beyond the atria until nothing moves
EDGE_MM = 8.0  # half width of the border between moving heart and resting surroundings
ATRIAL_WIDENING = 0.3  # of what the same lengthening would do in the ventricle
REACH = 1.1  # of the cavity's half width: where inward motion begins to fade


@dataclass(frozen=True)
class HeartMotion:
    """How the heart deforms; strains are shares of the end-diastolic length, positive for shortening."""

    strain: Lanes = ((0.165, 0.17, 0.17), (0.17, 0.18, 0.18), (0.20, 0.22, 0.22))
    delay_s: Lanes = NONE  # of contraction and relaxation; filling by the atria is not late
    post_systolic: Lanes = NONE  # shortening added after aortic valve closure
    inward: tuple[float, float, float] = (2.3, 2.3, 0.0)  # inward motion of each lane per unit of strain
    twist_deg: float = 9.0  # the apex turns by 0.6 of it about the long axis, the base by 0.4 the other way
    through_plane: float = 0.0  # mm by which the base leaves a plane that is not quite the long axis
    breath_across: float = 0.0  # out-of-plane share of breathing


@dataclass(frozen=True)
class Heart:
    """A subject (see subject.py) in one of the apical views."""

    rhythm: Rhythm
    shape: HeartShape = field(default_factory=HeartShape)
    motion: HeartMotion = field(default_factory=HeartMotion)
    placement: Placement = field(default_factory=Placement)
    whole: GlobalMotion = field(default_factory=GlobalMotion)

    @property
    def view(self) -> str:
        """Name of the view."""
        return self.shape.view

    @property
    def depth_mm(self) -> float:
        """Depth that shows most of the atria."""
        return self.placement.apex_depth + self.shape.length + 0.8 * self.shape.atrium

    def state(self, time_s: float) -> float:
        """Contraction of muscle without delay: 0 at end-diastole, 1 at end-systole of a full beat."""
        return self.rhythm.state(time_s)

    def position(self, points: Tensor, time_s: float) -> Tensor:
        """Material points (N, 2), heart frame at end-diastole, to (N, 2) x, z in the probe frame, mm."""
        rhythm = self.rhythm
        leaflets = anatomy.leaflets(self.shape)
        points = valves.swing(points, leaflets, rhythm.inflow_opening(time_s), rhythm.outflow_opening(time_s))
        deformed = self._deform(points, self._strain_now(time_s))
        return placement.to_probe(deformed, self.placement, self.whole, self.state(time_s), time_s)

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        """Shift out of the plane (N,), mm: twist takes the two walls opposite ways; shortening; breathing."""
        motion = self.motion
        along = (points[:, 1] / self.shape.length).clamp(0.0, 1.4)
        near = 1.0 / (1.0 + (points[:, 0] / (2.0 * self.shape.radius)) ** 4)
        twist = math.radians(motion.twist_deg) * points[:, 0] * (0.6 - along)
        breath = motion.breath_across * self.whole.breath(time_s)
        return self.state(time_s) * near * (twist + motion.through_plane * along) + breath

    def classify(self, points: Tensor) -> Tensor:
        """Class (N,) int64 of material points."""
        return anatomy.classify(points, self.shape)

    def wall_coordinate(self, points: Tensor) -> Tensor:
        """Depth (N,) in the tracked wall: 0 endocardium, 1 epicardium."""
        return anatomy.wall_coordinate(points, self.shape)

    def is_tracked_wall(self, points: Tensor) -> Tensor:
        """Which points (N,) lie in the wall of the tracked ventricle."""
        return anatomy.is_tracked_wall(points, self.shape)

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        """Line (n_points, 2) along the tracked wall at end-diastole: left base, apex, right base; heart frame."""
        return anatomy.contour(self.shape, n_points, depth)

    def to_heart(self, probe_points: Tensor) -> Tensor:
        """Probe frame (N, 2) back to the heart frame, undeformed."""
        return placement.to_heart(probe_points, self.placement)

    def _strain_now(self, time_s: float) -> Lanes:
        """Shortening of each piece at a time."""
        motion, rhythm = self.motion, self.rhythm

        def piece(lane: int, level: int) -> float:
            lag_s, after = motion.delay_s[lane][level], motion.post_systolic[lane][level]
            late = after * rhythm.post_systole(time_s, lag_s) if after else 0.0
            return motion.strain[lane][level] * rhythm.state(time_s, lag_s) + late

        left, right, other = ((piece(lane, 0), piece(lane, 1), piece(lane, 2)) for lane in range(3))
        return left, right, other

    def _deform(self, points: Tensor, strain: Lanes) -> Tensor:
        """Steps 2 and 3 in the heart frame."""
        x, y = points[:, 0], points[:, 1]
        start, level = self._levels()
        shape, roof = self.shape, self.shape.atrium + ROOF_MM
        edges = [start, start + level, start + 2 * level, shape.length, shape.length + roof]
        soft = 0.3 * level
        # Lengths along y: what each level, and the atrium, adds to or takes from the one before.
        slopes = [_changes([*lane, -sum(lane) * level / roof]) for lane in strain]
        pull = points.new_tensor(slopes) @ _soft_ramps(y, edges, soft)
        # Widths: the valve ring narrows with the basal wall, only behind it the atrium widens.
        edges[3] += soft
        widths = [_changes([*lane, -ATRIAL_WIDENING * sum(lane) * level / roof]) for lane in strain]
        gain = points.new_tensor(self.motion.inward)[:, None]
        inward = gain * points.new_tensor(widths) @ _soft_steps(y, edges, soft)
        half = shape.radius * (0.55 + 0.45 * _smooth((y - start) / (0.225 * shape.length) - 1.0))
        far = (x / (REACH * half)) ** 2
        new_x = x * (1.0 - (self._lanes(x) * inward).sum(0) / (1.0 + far * far * far))
        new_y = y - (self._lanes(new_x) * pull).sum(0)
        return torch.stack((new_x, new_y), 1)

    def _levels(self) -> tuple[float, float]:
        """Where shortening begins (the tip itself moves nowhere) and the length of a level."""
        start = self.shape.apex_wall
        return start, (self.shape.length - start) / 3.0

    def _lanes(self, x: Tensor) -> Tensor:
        """How much (3, N) each lane has to say at x; the sum falls to 0 outside the heart."""
        shape, side = self.shape, self.shape.side
        gap = 0.5 * shape.neighbour_width
        left = -(shape.radius + shape.walls[0] + (gap if side < 0 else 1.5 * EDGE_MM))
        right = shape.radius + shape.walls[1] + (gap if side > 0 else 1.5 * EDGE_MM)
        far = side * (shape.reach + shape.neighbour_wall + 1.5 * EDGE_MM)
        softness = [0.8 * gap if side < 0 else EDGE_MM, 0.8 * shape.radius, 0.8 * gap if side > 0 else EDGE_MM, EDGE_MM]
        passed = _smooth((x - x.new_tensor([left, 0.0, right, far])[:, None]) / x.new_tensor(softness)[:, None])
        beside = [0.0] * 4 if side == 0 else [-1.0, 0.0, 0.0, 1.0] if side < 0 else [0.0, 0.0, 1.0, -1.0]
        return x.new_tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0], beside]) @ passed


def _smooth(v: Tensor) -> Tensor:
    """From 0 at -1 to 1 at 1."""
    v = v.clamp(-1.0, 1.0)
    return 0.5 + v * (0.75 - 0.25 * v * v)


def _soft_steps(y: Tensor, edges: list[float], half_width: float) -> Tensor:
    """Soft steps (K, N) from 0 to 1 at each edge."""
    return _smooth((y - y.new_tensor(edges)[:, None]) / half_width)


def _soft_ramps(y: Tensor, edges: list[float], half_width: float) -> Tensor:
    """Integrals (K, N) of soft steps: 0 before an edge, growing by 1 mm per mm beyond it."""
    t = (y - y.new_tensor(edges)[:, None]) / half_width
    c = t.clamp(-1.0, 1.0)
    square = c * c
    return half_width * ((t - c).clamp(min=0.0) + 0.1875 + 0.5 * c + square * (0.375 - 0.0625 * square))


def _changes(values: list[float]) -> list[float]:
    """Steps that make a staircase of the values, back to 0 at its end."""
    return [b - a for a, b in zip([0.0, *values], [*values, 0.0], strict=True)]
