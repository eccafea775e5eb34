"""What the renderer asks of anything it can image: a heart in one of its views, or a block of tissue.

Two frames of reference, both in mm. The HEART frame is the end-diastolic subject at rest (its axes are the subject's
own business); a material point is named by its place there for ever. The PROBE frame has the probe at its origin,
x across and z deep. `position` takes one to the other at a time. It is analytic, smooth and one-to-one, so truth is
exact; only valve leaflets are exempt, which swing through blood.
"""

from typing import Protocol

from torch import Tensor

from specktrack.training.rhythm import Rhythm


class Subject(Protocol):
    """Something under the probe. Tensors are made on the device of the points given."""

    @property
    def view(self) -> str:
        """One of views.VIEWS."""
        ...

    @property
    def rhythm(self) -> Rhythm:
        """When beats begin, and how each goes."""
        ...

    @property
    def depth_mm(self) -> float:
        """Depth of an image that shows the subject well."""
        ...

    def state(self, time_s: float) -> float:
        """Contraction: 0 at end-diastole, 1 at the end-systole of a full beat."""
        ...

    def position(self, points: Tensor, time_s: float) -> Tensor:
        """Material points (N, 2), heart frame, to (N, 2) x, z in the probe frame, mm."""
        ...

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        """Shift out of the image plane (N,), mm."""
        ...

    def classify(self, points: Tensor) -> Tensor:
        """Class (N,) int64: BLOOD, TISSUE, WALL, PERICARDIUM or VALVE of anatomy.py."""
        ...

    def wall_coordinate(self, points: Tensor) -> Tensor:
        """Depth (N,) in the tracked wall: 0 endocardium, 1 epicardium; below 0 the cavity, above 1 outside."""
        ...

    def is_tracked_wall(self, points: Tensor) -> Tensor:
        """Which points (N,) bool lie in the wall that strain is measured on."""
        ...

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        """Line (n_points, 2) along the tracked wall at end-diastole, heart frame, evenly spaced.

        Apical views: base, apex, base, from the left of the image; the RV view starts at the free wall. Short axis:
        the ring, last point equal to the first. Tissue: a straight line.
        depth  0 endocardium, 0.5 mid-wall, 1 epicardium
        """
        ...

    def to_heart(self, probe_points: Tensor) -> Tensor:
        """Probe frame (N, 2) back to the heart frame, undeformed and without global motion."""
        ...
