"""How strongly each material point of the four-chamber heart scatters: walls, blood, pericardium, surroundings.

Everything is a function of the end-diastolic heart-frame position, so brightness moves with the tissue.
"""

import torch
from torch import Tensor

from specktrack.training.heart import HeartShape

BLOOD, TISSUE, WALL, PERICARDIUM = 0, 1, 2, 3


def wall_coordinate(points: Tensor, shape: HeartShape) -> Tensor:
    """Depth (N,) in the left-ventricular wall: 0 endocardium, 1 epicardium, below 0 the cavity."""
    x, y = points[:, 0], points[:, 1]
    up = (shape.length - y).clamp(min=0.0)
    inner = torch.hypot(x / shape.radius, up / (shape.length - shape.wall)) - 1.0
    outer = torch.hypot(x / (shape.radius + shape.wall), up / shape.length) - 1.0
    return inner / (inner - outer).clamp(min=1e-3)


def classify(points: Tensor, shape: HeartShape) -> Tensor:
    """Tissue class (N,) int64 of material points (N, 2), heart frame at end-diastole."""
    x, y = points[:, 0], points[:, 1]
    depth = wall_coordinate(points, shape)
    above = y < shape.length
    cavity = (depth < 0) & above
    wall = (depth >= 0) & (depth <= 1) & above
    pericardium = (depth > 1) & (depth < 1.5) & above & (x > -0.3 * shape.radius)
    right = _right_heart(x, y, depth, shape)
    atria = _atria(x, y, shape)
    label = torch.full_like(x, TISSUE, dtype=torch.int64)
    label[right == 0] = BLOOD
    label[right == 1] = WALL
    label[atria == 0] = BLOOD
    label[atria == 1] = WALL
    label[pericardium] = PERICARDIUM
    label[wall] = WALL
    label[cavity] = BLOOD
    return label


def _right_heart(x: Tensor, y: Tensor, depth: Tensor, shape: HeartShape) -> Tensor:
    """0 cavity, 1 free wall, -1 elsewhere: a crescent on the septal side that ends before the apex."""
    reach = shape.radius + shape.wall + shape.right_width
    top = 0.28 * shape.length
    inner = torch.hypot(x / reach, (shape.length - y).clamp(min=0.0) / (shape.length - top))
    outer = torch.hypot(
        x / (reach + shape.right_wall), (shape.length - y).clamp(min=0.0) / (shape.length - top + shape.right_wall)
    )
    here = (x < 0) & (y < shape.length) & (depth > 1)
    result = torch.full_like(x, -1, dtype=torch.int64)
    result[here & (outer <= 1)] = 1
    result[here & (inner <= 1)] = 0
    return result


def _atria(x: Tensor, y: Tensor, shape: HeartShape) -> Tensor:
    """0 cavity, 1 thin wall or leaflet, -1 elsewhere."""
    result = torch.full_like(x, -1, dtype=torch.int64)
    middle = shape.length + 0.5 * shape.atrium
    left = shape.radius * 1.05
    right_centre = -(shape.radius + 0.5 * shape.wall + 0.55 * shape.right_width)
    for centre, half in ((0.08 * left, left), (right_centre, 0.62 * shape.right_width)):
        inner = torch.hypot((x - centre) / half, (y - middle) / (0.5 * shape.atrium))
        result[(inner < 1.0 + 3.0 / half) & (y > shape.length - 2.0) & (result < 0)] = 1
        result[inner < 1.0] = 0
    return result
