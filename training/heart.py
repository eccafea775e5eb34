"""A kinematic apical four-chamber heart: where every material point is at every moment, exactly.

Two frames of reference, both in mm: the HEART frame (x across, positive towards the lateral wall; y along the long
axis, 0 at the apex, growing towards the base and the atria) at end-diastole, and the PROBE frame (x across, z depth,
the probe at the origin). A material point is named by its heart-frame position at end-diastole; `Heart.position`
maps it to the probe frame at a time. The map is smooth and one-to-one, so truth is analytic: nothing is tracked.

Time course: `reference` values of the heart-rate model (QS2 541 - 2.2 HR ms, Chest 1981;80:613), isovolumic
relaxation, early filling, diastasis, atrial kick; diastasis takes all change of the cycle length.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

ISOVOLUMIC_RELAXATION_S = 0.075
EARLY_FILLING_S = 0.16
ATRIAL_KICK_S = 0.11
Q_TO_R_S = 0.04
DIASTASIS_LEAK = 0.06  # share of the excursion that returns slowly during diastasis


@dataclass(frozen=True)
class HeartShape:
    """End-diastolic geometry, mm."""

    length: float = 85.0  # apex to mitral annulus, endocardium
    radius: float = 23.0  # cavity half width at the base
    wall: float = 10.0
    atrium: float = 45.0  # depth of the atria
    right_width: float = 28.0  # right ventricle, across
    right_wall: float = 4.0


@dataclass(frozen=True)
class HeartMotion:
    """How far things move; lengths in mm, times in s."""

    annular_excursion: float = 13.0  # MAPSE
    radial: float = 0.32  # share of the radius by which the axis region contracts
    side_difference: float = -0.15  # lateral against septal excursion, relative
    side_delay_s: float = 0.0  # the lateral wall lags by this
    early_share: float = 0.68  # of the excursion returned by early filling
    swing_deg: float = 3.0  # rotation of the heart in the plane during systole
    elevation: float = 1.5  # out-of-plane shift at end-systole, base against apex
    breathing: float = 2.0  # amplitude
    breathing_hz: float = 0.25
    breathing_phase: float = 0.0
    probe_drift: float = 0.3  # mm per second
    scar: tuple[float, float, float] = (0.0, 0.0, 20.0)  # depth 0..1, centre along the axis, half width


@dataclass(frozen=True)
class Placement:
    """Where the heart sits under the probe."""

    apex_depth: float = 22.0  # mm
    apex_x: float = 0.0
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Rhythm:
    """Times of end-diastole, s, ascending; the first lies at or before the first frame."""

    ed_s: tuple[float, ...]

    @staticmethod
    def regular(rate_bpm: float, duration_s: float, start_s: float = 0.0) -> "Rhythm":
        """Equal beats, enough of them to cover the duration and one more."""
        period = 60.0 / rate_bpm
        count = math.ceil((duration_s - start_s) / period) + 2
        return Rhythm(tuple(start_s + k * period for k in range(count)))

    @staticmethod
    def varying(
        rate_bpm: float, duration_s: float, sd: float, generator: torch.Generator, start_s: float = 0.0
    ) -> "Rhythm":
        """Beats whose length varies by the relative standard deviation `sd`."""
        times = [start_s]
        while times[-1] < duration_s + 60.0 / rate_bpm:
            factor = 1.0 + sd * float(torch.randn((), generator=generator).clamp(-2.5, 2.5))
            times.append(times[-1] + 60.0 / rate_bpm * factor)
        return Rhythm(tuple(times))

    def beat_at(self, time_s: float) -> tuple[int, float, float]:
        """Index of the beat, its start and its length, s."""
        index = 0
        while index + 2 < len(self.ed_s) and self.ed_s[index + 1] <= time_s:
            index += 1
        return index, self.ed_s[index], self.ed_s[index + 1] - self.ed_s[index]


def systole_s(period_s: float) -> float:
    """End-diastole (R) to aortic valve closure."""
    return (541.0 - 2.2 * min(60.0 / period_s, 150.0)) / 1000.0 - Q_TO_R_S


def diastasis_window(period_s: float) -> tuple[float, float]:
    """Start and end of diastasis as fractions of the beat; end <= start when there is none."""
    start = systole_s(period_s) + ISOVOLUMIC_RELAXATION_S + EARLY_FILLING_S
    return start / period_s, (period_s - ATRIAL_KICK_S) / period_s


def _rise(t: float, start: float, duration: float) -> float:
    """Raised cosine from 0 to 1."""
    u = min(max((t - start) / duration, 0.0), 1.0)
    return 0.5 - 0.5 * math.cos(math.pi * u)


def contraction(t_s: float, period_s: float, early_share: float) -> float:
    """State of contraction at `t_s` after end-diastole: 0 at end-diastole, 1 at end-systole.

    Short beats squeeze diastole: when diastasis is gone the early and the atrial wave overlap and simply add.
    """
    systole = min(systole_s(period_s), 0.55 * period_s)
    early_start = systole + ISOVOLUMIC_RELAXATION_S
    early = min(EARLY_FILLING_S, max(period_s - early_start, 0.05))
    kick = min(ATRIAL_KICK_S, 0.5 * max(period_s - early_start, 0.05))
    state = _rise(t_s, 0.015, systole - 0.015)
    state -= early_share * _rise(t_s, early_start, early)
    state -= DIASTASIS_LEAK * min(max((t_s - early_start) / (period_s - early_start), 0.0), 1.0)
    state -= (1.0 - early_share - DIASTASIS_LEAK) * _rise(t_s, period_s - kick, kick)
    return state


@dataclass(frozen=True)
class Heart:
    """Shape, motion, placement and rhythm together."""

    rhythm: Rhythm
    shape: HeartShape = field(default_factory=HeartShape)
    motion: HeartMotion = field(default_factory=HeartMotion)
    placement: Placement = field(default_factory=Placement)

    def state(self, time_s: float, delay_s: float = 0.0) -> float:
        """State of contraction at an absolute time, `delay_s` behind the septum."""
        _, start, period = self.rhythm.beat_at(time_s - delay_s)
        return contraction(time_s - delay_s - start, period, self.motion.early_share)

    def position(self, points: Tensor, time_s: float) -> Tensor:
        """Material points (N, 2), heart frame at end-diastole, to (N, 2) x, z in the probe frame, mm."""
        return self._to_probe(self._deform(points, time_s), time_s)

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        """Shift out of the plane (N,), mm: base and apex turn in opposite directions, as twist does."""
        along = points[:, 1] / self.shape.length
        return self.motion.elevation * self.state(time_s) * (1.6 * along - 0.6).clamp(-1.0, 1.5)

    def _deform(self, points: Tensor, time_s: float) -> Tensor:
        """Contraction in the heart frame."""
        motion = self.motion
        x, y = points[:, 0], points[:, 1]
        side = torch.tanh(x / 12.0)
        septal = self.state(time_s)
        lateral = self.state(time_s, motion.side_delay_s)
        state = septal + (lateral - septal) * (0.5 + 0.5 * side)
        depth, centre, width = motion.scar
        state = state * (1.0 - depth * torch.exp(-(((y - centre) / width) ** 2)) * (0.5 + 0.5 * side))
        pull = motion.annular_excursion * (1.0 + motion.side_difference * side) * state
        new_y = y - pull * self._longitudinal_weight(y)
        squeeze = motion.radial * state * self._radial_weight(x, y)
        return torch.stack((x * (1.0 - squeeze), new_y), 1)

    def _longitudinal_weight(self, y: Tensor) -> Tensor:
        """0 at the apex, 1 at the annulus, back to 0 at the atrial roof; smooth."""
        length, atrium = self.shape.length, self.shape.atrium
        below = (y / length).clamp(0.0, 1.0)
        ventricle = 0.35 * below + 0.65 * below**2 * (3.0 - 2.0 * below)
        beyond = ((y - length) / (atrium + 15.0)).clamp(0.0, 1.0)
        return ventricle * (1.0 - beyond**2 * (3.0 - 2.0 * beyond))

    def _radial_weight(self, x: Tensor, y: Tensor) -> Tensor:
        """Largest at the long axis, so that the wall thickens as it moves inwards; little at apex and atria."""
        across = torch.exp(-((x / (1.3 * self.shape.radius)) ** 2))
        u = y / self.shape.length
        along = torch.exp(-(((u - 0.6) / 0.42) ** 2))
        return across * along

    def _to_probe(self, points: Tensor, time_s: float) -> Tensor:
        """Swing about the apex, place under the probe, breathe and drift."""
        motion, place = self.motion, self.placement
        angle = math.radians(place.tilt_deg + motion.swing_deg * self.state(time_s))
        cos, sin = math.cos(angle), math.sin(angle)
        breath = motion.breathing * math.sin(2 * math.pi * motion.breathing_hz * time_s + motion.breathing_phase)
        x = cos * points[:, 0] - sin * points[:, 1] + place.apex_x + motion.probe_drift * time_s
        z = sin * points[:, 0] + cos * points[:, 1] + place.apex_depth + breath
        return torch.stack((x, z), 1)

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        """Left-ventricular contour (n_points, 2) at end-diastole: septal base, apex, lateral base; heart frame.

        depth  0 endocardium, 0.5 mid-wall, 1 epicardium
        """
        theta = torch.linspace(math.pi, 0.0, n_points)
        grow = depth * self.shape.wall
        x = (self.shape.radius + grow) * torch.cos(theta)
        y = self.shape.length - (self.shape.length - self.shape.wall + grow) * torch.sin(theta)
        return torch.stack((x, y), 1)
