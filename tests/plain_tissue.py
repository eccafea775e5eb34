"""The simplest subject: wall tissue everywhere, that moves as a whole and slides through the slice as it is told."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from specktrack.training.anatomy import WALL
from specktrack.training.imaging import Imaging
from specktrack.training.rhythm import Rhythm
from specktrack.training.tissue_map import TissueLook

PLAIN_LOOK = TissueLook(texture_db=0.0, patches_db=0.0, lining_db=0.0, irregular_mm=0.0)
BARE = Imaging(  # a scanner that adds nothing of its own
    size_px=256,
    noise_db=-200.0,
    haze_db=-200.0,
    bands_db=-200.0,
    edge_loss_db=0.0,
    uneven_db=0.0,
    persistence=0.0,
    smoothing_px=0.0,
)


@dataclass(frozen=True)
class PlainTissue:
    """A subject (training/subject.py); its heart frame is the probe frame."""

    rhythm: Rhythm = field(default_factory=lambda: Rhythm.regular(60.0, 10.0))
    velocity: tuple[float, float] = (0.0, 0.0)  # mm/s in the plane
    slide: float = 0.0  # mm/s across it
    view: str = "tissue"
    depth_mm: float = 120.0
    kind: int = WALL

    def state(self, time_s: float) -> float:
        return self.rhythm.state(time_s)

    def position(self, points: Tensor, time_s: float) -> Tensor:
        return points + time_s * points.new_tensor(self.velocity)

    def elevation(self, points: Tensor, time_s: float) -> Tensor:
        return torch.full_like(points[:, 0], self.slide * time_s)

    def classify(self, points: Tensor) -> Tensor:
        return torch.full_like(points[:, 0], self.kind, dtype=torch.int64)

    def wall_coordinate(self, points: Tensor) -> Tensor:
        return torch.full_like(points[:, 0], 0.5)

    def is_tracked_wall(self, points: Tensor) -> Tensor:
        return torch.ones_like(points[:, 0], dtype=torch.bool)

    def contour(self, n_points: int, depth: float = 0.5) -> Tensor:
        x = torch.linspace(-20.0, 20.0, n_points)
        return torch.stack((x, torch.full_like(x, 60.0)), 1)

    def to_heart(self, probe_points: Tensor) -> Tensor:
        return probe_points


def without_artefacts(imaging: Imaging) -> Imaging:
    """The same beam and display, nothing between the heart and its picture."""
    return replace(
        imaging,
        noise_db=-200.0,
        haze_db=-200.0,
        bands_db=-200.0,
        reverberation_db=-200.0,
        edge_loss_db=0.0,
        uneven_db=0.0,
        deep_loss_db=0.0,
        shadows=(),
        persistence=0.0,
        jpeg_quality=0,
    )


def likeness(first: Tensor, second: Tensor) -> float:
    """Normalised cross-correlation of two real or stacked IQ pictures, phases kept: 1 equal, 0 unrelated."""
    return float((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt())
