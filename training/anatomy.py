"""What lies where in the apical views: the tracked ventricle, the one beside it, atria, aortic root, pericardium.

Everything is a function of the end-diastolic heart-frame position (x across, positive to the right of the image; y
along the long axis, 0 at the apex, growing towards the base), so brightness moves with the tissue.

    a4c  septum left, lateral wall right; right heart on the left
    a2c  inferior wall left, anterior wall right
    a3c  inferolateral wall left, anteroseptal wall right; right ventricle and aortic root on the right
    rv   RV free wall left, septum right; the left ventricle on the right
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from specktrack.training.valves import Leaflet, on_leaflets

BLOOD, TISSUE, WALL, PERICARDIUM, VALVE = 0, 1, 2, 3, 4
TRACKABLE = (TISSUE, WALL, PERICARDIUM)  # classes on which a point may be asked for

APICAL_VIEWS = ("a4c", "a2c", "a3c", "rv")
NEIGHBOUR_SIDE = {"a4c": -1, "a2c": 0, "a3c": 1, "rv": 1}
PERICARDIUM_SIDES = {"a4c": (1,), "a2c": (-1, 1), "a3c": (-1,), "rv": (-1,)}
WIDEST = 0.62  # where the ventricle is widest, along its length
PERICARDIUM_MM = 3.0
ATRIAL_WALL_MM = 2.5


@dataclass(frozen=True)
class HeartShape:
    """End-diastolic geometry of an apical view, mm."""

    view: str = "a4c"
    length: float = 85.0  # outer apex to the plane of the valve
    radius: float = 23.0  # cavity half width where it is widest
    walls: tuple[float, float] = (10.0, 10.0)  # left and right in the image
    annulus: float = 0.86  # half width at the valve, of the radius
    atrium: float = 45.0  # depth of the atria
    neighbour_width: float = 28.0  # the other ventricle, across
    neighbour_wall: float = 4.0
    neighbour_top: float = 0.28  # where it begins, along the length

    @property
    def widest(self) -> float:
        """Position along the axis where the ventricle is widest."""
        return WIDEST * self.length

    @property
    def apex_wall(self) -> float:
        """Thickness at the apex, where walls are thinner."""
        return 0.4 * sum(self.walls)

    @property
    def taper(self) -> float:
        """Semi-axis of the ellipse by which walls converge from the widest place to the valve."""
        return (self.length - self.widest) / math.sqrt(1.0 - self.annulus**2)

    @property
    def side(self) -> int:
        """-1 when the other ventricle is on the left of the image, 1 on the right, 0 not in view."""
        return NEIGHBOUR_SIDE[self.view]

    @property
    def reach(self) -> float:
        """Distance of the other ventricle's cavity wall from the axis."""
        return self.radius + self.walls[1 if self.side > 0 else 0] + self.neighbour_width


def wall_coordinate(points: Tensor, shape: HeartShape) -> Tensor:
    """Depth (N,) in the tracked wall, along rays from the middle of the cavity: 0 endocardium, 1 epicardium."""
    wall = torch.where(points[:, 0] < 0, *shape.walls)
    inner = _bullet(points, shape.radius, shape.apex_wall, shape)
    outer = _bullet(points, shape.radius + wall, 0.0, shape)
    to_inner, to_outer = 1.0 - 1.0 / inner.clamp(min=0.05), 1.0 / outer.clamp(min=0.05) - 1.0
    return to_inner / (to_inner + to_outer).clamp(min=1e-3)


def is_tracked_wall(points: Tensor, shape: HeartShape) -> Tensor:
    """Which points (N,) lie in the wall of the tracked ventricle, valve leaflets left out."""
    depth = wall_coordinate(points, shape)
    return (depth >= 0) & (depth <= 1) & (points[:, 1] < shape.length) & ~on_leaflets(points, leaflets(shape))


def classify(points: Tensor, shape: HeartShape) -> Tensor:
    """Class (N,) int64 of material points (N, 2); later lines cover earlier ones."""
    x, y = points[:, 0], points[:, 1]
    depth = wall_coordinate(points, shape)
    is_above = y < shape.length
    label = torch.full_like(x, TISSUE, dtype=torch.int64)
    _paint_neighbour(label, points, depth, shape)
    for centre, half in _atria(shape):
        size = torch.hypot((x - centre) / half, (y - shape.length) / (0.5 * shape.atrium) - 1.0)
        is_below = y > shape.length - 2.0
        label[(size < 1.0 + ATRIAL_WALL_MM / half) & is_below & (label == TISSUE)] = WALL
        label[(size < 1.0) & is_below] = BLOOD
    if shape.view == "a3c":
        _paint_aortic_root(label, points, shape)
    beyond = (depth - 1.0) * torch.where(x < 0, *shape.walls)
    for side in PERICARDIUM_SIDES[shape.view]:
        label[(beyond > 0) & (beyond < PERICARDIUM_MM) & is_above & (side * x > -0.3 * shape.radius)] = PERICARDIUM
    label[(depth >= 0) & (depth <= 1) & is_above] = WALL
    label[(depth < 0) & is_above] = BLOOD
    label[on_leaflets(points, leaflets(shape))] = VALVE
    return label


def contour(shape: HeartShape, n_points: int, depth: float) -> Tensor:
    """Line (n_points, 2) at a depth of the tracked wall: left base, apex, right base; evenly spaced."""
    angle = np.linspace(-math.asin((shape.length - shape.widest) / shape.taper), math.pi / 2, 1000)
    top = shape.widest - (1.0 - depth) * shape.apex_wall
    y = shape.widest - np.where(angle < 0, shape.taper, top) * np.sin(angle)
    left, right = (shape.radius + depth * wall for wall in shape.walls)
    x = np.concatenate((-left * np.cos(angle), right * np.cos(angle[::-1])))
    return evenly_spaced(np.stack((x, np.concatenate((y, y[::-1]))), 1), n_points)


def evenly_spaced(line: np.ndarray[tuple[int, ...], np.dtype[np.float64]], n_points: int) -> Tensor:
    """The line (M, 2) in (n_points, 2) steps of equal length, float32."""
    at = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))))
    wanted = np.linspace(0.0, at[-1], n_points)
    return torch.from_numpy(np.stack([np.interp(wanted, at, line[:, k]) for k in range(2)], 1)).float()


def leaflets(shape: HeartShape) -> tuple[Leaflet, ...]:
    """Valve leaflets, shut: as they are at end-diastole."""
    base, ring = shape.length, shape.annulus * shape.radius
    if shape.view == "a3c":
        curtain = (0.2 * shape.radius, base)  # where mitral and aortic valve hang together
        meeting = (-0.35 * shape.radius, base - 4.0)
        return (Leaflet((-ring, base), meeting, 55.0), Leaflet(curtain, meeting, 75.0), *_aortic_cusps(shape))
    meeting = (0.15 * ring, base - 5.0)
    own = (Leaflet((-ring, base), meeting, 65.0), Leaflet((ring, base), meeting, 60.0))
    if shape.side == 0:
        return own
    near = shape.side * (shape.radius + shape.walls[1 if shape.side > 0 else 0]) * (shape.annulus + 0.06)
    far = shape.side * shape.reach * 0.9
    middle = (0.5 * (near + far), base - 6.0)
    return (*own, Leaflet((near, base - 3.0), middle, 60.0), Leaflet((far, base), middle, 65.0))


def _bullet(points: Tensor, half_width: Tensor | float, top: float, shape: HeartShape) -> Tensor:
    """Size (N,) of the point in a ventricle: below 1 inside; an elliptic tip, walls that converge to the valve."""
    up = shape.widest - points[:, 1]
    return torch.hypot(points[:, 0] / half_width, up / torch.where(up > 0, shape.widest - top, shape.taper))


def _paint_neighbour(label: Tensor, points: Tensor, depth: Tensor, shape: HeartShape) -> None:
    """The other ventricle: a crescent beside the septum that ends before the apex."""
    if shape.side == 0:
        return
    top, wall = shape.neighbour_top * shape.length, shape.neighbour_wall
    is_here = (shape.side * points[:, 0] > 0) & (points[:, 1] < shape.length) & (depth > 1)
    around = _bullet(points, shape.reach + wall + PERICARDIUM_MM, top - wall - PERICARDIUM_MM, shape)
    label[is_here & (around <= 1)] = PERICARDIUM
    label[is_here & (_bullet(points, shape.reach + wall, top - wall, shape) <= 1)] = WALL
    label[is_here & (_bullet(points, shape.reach, top, shape) <= 1)] = BLOOD


def _atria(shape: HeartShape) -> tuple[tuple[float, float], ...]:
    """Centre across and half width of each atrium."""
    own = (0.05 * shape.radius, 0.95 * shape.radius)
    beside = shape.side * (shape.reach - 0.5 * shape.neighbour_width), 0.55 * shape.neighbour_width
    return {"a4c": (own, beside), "rv": (own, beside), "a3c": ((-0.35 * shape.radius, 0.75 * shape.radius),)}.get(
        shape.view, (own,)
    )


AORTA_LEAN = math.radians(18.0)  # away from the long axis


def _along_aorta(x: Tensor, y: Tensor, shape: HeartShape) -> tuple[Tensor, Tensor]:
    """Distance along the aortic root from its valve, and across it from its axis."""
    dx, dy = x - 0.6 * shape.radius, y - shape.length
    sin, cos = math.sin(AORTA_LEAN), math.cos(AORTA_LEAN)
    return sin * dx + cos * dy, cos * dx - sin * dy


def _paint_aortic_root(label: Tensor, points: Tensor, shape: HeartShape) -> None:
    along, across = _along_aorta(points[:, 0], points[:, 1], shape)
    half = 0.4 * shape.radius * (1.0 + 0.18 * torch.exp(-(((along - 9.0) / 7.0) ** 2)))  # sinuses bulge
    is_here = (along > -3.0) & (along < 1.2 * shape.atrium)
    label[is_here & (across.abs() < half + ATRIAL_WALL_MM)] = WALL
    label[is_here & (across.abs() < half)] = BLOOD


def _aortic_cusps(shape: HeartShape) -> tuple[Leaflet, ...]:
    half, start = 0.4 * shape.radius, 4.0
    sin, cos = math.sin(AORTA_LEAN), math.cos(AORTA_LEAN)

    def at(along: float, across: float) -> tuple[float, float]:
        return 0.6 * shape.radius + sin * along + cos * across, shape.length + cos * along - sin * across

    tip = at(start + 3.0, 0.0)
    return tuple(Leaflet(at(start, side * half), tip, 65.0, is_outflow=True) for side in (-1.0, 1.0))
