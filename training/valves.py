"""Valve leaflets: thin, bright, swinging about their hinges through blood.

The only discontinuous part of a heart's motion, as in life; no point is ever tracked on a leaflet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

HALF_THICKNESS_MM = 0.8
MARGIN_MM = 1.2  # blood that goes with a leaflet, so that all of an irregular one moves
ROOT_MM = 1.0  # beside the hinge everything belongs to the annulus


@dataclass(frozen=True)
class Leaflet:
    """A leaflet in its shut position, heart frame at end-diastole, mm."""

    hinge: tuple[float, float]
    tip: tuple[float, float]
    open_deg: float  # how far the tip swings; inflow leaflets into the ventricle, outflow cusps out of it
    is_outflow: bool = False

    @property
    def length(self) -> float:
        """Hinge to tip."""
        return math.dist(self.hinge, self.tip)

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector from hinge to tip."""
        return (self.tip[0] - self.hinge[0]) / self.length, (self.tip[1] - self.hinge[1]) / self.length

    @property
    def turn(self) -> float:
        """Sign of the rotation that opens it: the base is at positive y."""
        to_right = self.tip[0] > self.hinge[0]
        return 1.0 if to_right == self.is_outflow else -1.0


def on_leaflets(points: Tensor, leaflets: Sequence[Leaflet], margin: float = 0.0) -> Tensor:
    """Which points (N,) lie on a shut leaflet or within `margin` mm of one."""
    found = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for leaflet in leaflets:
        found |= _is_on(leaflet, points, margin)
    return found


def swing(points: Tensor, leaflets: Sequence[Leaflet], inflow: float, outflow: float) -> Tensor:
    """Points (N, 2), those on leaflets turned about their hinges (0 shut, 1 open), all others as given."""
    if not leaflets or max(inflow, outflow) <= 0.0:
        return points
    near = torch.nonzero(_in_box(points, leaflets)).squeeze(1)
    some = points[near]
    turned = some
    for leaflet in leaflets:
        opening = outflow if leaflet.is_outflow else inflow
        turned = torch.where(_is_on(leaflet, some, MARGIN_MM)[:, None], _turned(leaflet, some, opening), turned)
    return points.index_copy(0, near, turned)


def _in_box(points: Tensor, leaflets: Sequence[Leaflet]) -> Tensor:
    """Which points (N,) are worth looking at."""
    ends = [end for leaflet in leaflets for end in (leaflet.hinge, leaflet.tip)]
    low, high = (torch.tensor(pick, dtype=points.dtype, device=points.device) for pick in _corners(ends))
    return ((points > low) & (points < high)).all(1)


def _corners(ends: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    margin = HALF_THICKNESS_MM + MARGIN_MM
    columns = list(zip(*ends, strict=True))
    return [min(c) - margin for c in columns], [max(c) + margin for c in columns]


def _is_on(leaflet: Leaflet, points: Tensor, margin: float) -> Tensor:
    dx, dy = points[:, 0] - leaflet.hinge[0], points[:, 1] - leaflet.hinge[1]
    ux, uy = leaflet.direction
    along, across = dx * ux + dy * uy, dy * ux - dx * uy
    return (along > ROOT_MM) & (along < leaflet.length + margin) & (across.abs() < HALF_THICKNESS_MM + margin)


def _turned(leaflet: Leaflet, points: Tensor, opening: float) -> Tensor:
    """Points (N, 2) turned about the hinge; the tip further than the root, so that the leaflet bows."""
    dx, dy = points[:, 0] - leaflet.hinge[0], points[:, 1] - leaflet.hinge[1]
    ux, uy = leaflet.direction
    share = 0.8 + 0.2 * (dx * ux + dy * uy) / leaflet.length
    angle = leaflet.turn * math.radians(leaflet.open_deg) * opening * share
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack((cos * dx - sin * dy + leaflet.hinge[0], sin * dx + cos * dy + leaflet.hinge[1]), 1)
