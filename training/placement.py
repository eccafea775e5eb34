"""Where the subject sits under the probe, and how it moves as a whole: swing, heave, breathing, a hand that wanders."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PROBE_PERIOD_S = 20.0  # the hand goes there and back; the full range lies within ten seconds


@dataclass(frozen=True)
class Placement:
    """Where the origin of the heart frame (the apex; in short axis the middle of the ventricle) lies."""

    apex_depth: float = 22.0  # mm
    apex_x: float = 0.0
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class GlobalMotion:
    """Rigid motion; lengths in mm, angles in degrees."""

    swing_deg: float = 3.0  # rotation of the heart in the plane at full contraction
    heave: tuple[float, float] = (0.0, 0.0)  # shift across and deep at full contraction
    breathing: float = 4.0  # from breathing out to breathing in
    breathing_hz: float = 0.25
    breathing_phase: float = 0.0
    breathing_deg: float = 0.0  # direction: 0 deep, 90 across
    probe_shift: float = 0.0  # range of the wandering of the probe along the skin within ten seconds
    probe_turn_deg: float = 0.0  # range of its tilting
    probe_phase: float = 0.0

    def breath(self, time_s: float) -> float:
        """Displacement by breathing, mm, around 0."""
        return 0.5 * self.breathing * math.sin(2 * math.pi * self.breathing_hz * time_s + self.breathing_phase)


STILL = GlobalMotion(swing_deg=0.0, breathing=0.0)


def to_probe(points: Tensor, place: Placement, motion: GlobalMotion, state: float, time_s: float) -> Tensor:
    """Heart frame (N, 2), already deformed, to the probe frame (N, 2): swing, heave, place, breathe, wander; rigid."""
    wander = 2 * math.pi * time_s / PROBE_PERIOD_S + motion.probe_phase
    turn = math.radians(0.5 * motion.probe_turn_deg * math.sin(wander))
    angle = math.radians(place.tilt_deg + motion.swing_deg * state) + turn
    breath, direction = motion.breath(time_s), math.radians(motion.breathing_deg)
    x0 = place.apex_x + breath * math.sin(direction) + motion.heave[0] * state
    z0 = place.apex_depth + breath * math.cos(direction) + motion.heave[1] * state
    shift = 0.5 * motion.probe_shift * math.cos(wander)
    dx = math.cos(turn) * x0 - math.sin(turn) * z0 + shift
    dz = math.sin(turn) * x0 + math.cos(turn) * z0
    x, y = points[:, 0], points[:, 1]
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack((cos * x - sin * y + dx, sin * x + cos * y + dz), 1)


def to_heart(probe_points: Tensor, place: Placement) -> Tensor:
    """Probe frame (N, 2) back to the heart frame, as if nothing moved."""
    angle = math.radians(place.tilt_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    x, z = probe_points[:, 0] - place.apex_x, probe_points[:, 1] - place.apex_depth
    return torch.stack((cos * x + sin * z, -sin * x + cos * z), 1)
