"""The official predictors of CoTracker3: images of 384x512, a grid of helper points, visible or not.

Everything they decide lies here (thresholds, grid, queries written over the answer), so that cotracker.py stays the
network alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from specktrack.training.cotracker import CoTracker, Trajectories, track_offline, trajectories
from specktrack.training.cotracker_stream import CoTrackerStream

SIZE = (384, 512)
GRID_SIDE = 6
ITERATIONS = 6
VISIBLE_OFFLINE = 0.9  # of visibility alone
VISIBLE_ONLINE = 0.6  # of visibility times confidence


@dataclass(frozen=True)
class Predicted:
    """N points in T frames."""

    tracks_px: Tensor  # (N, T, 2) float32 x, y, pixels of the frames given
    visible: Tensor  # (N, T) bool


@torch.no_grad()
def predict_offline(network: CoTracker, frames: Tensor, queries: Tensor, backward_tracking: bool = False) -> Predicted:
    """Follow queries (N, 3), each frame, x, y in pixels, through frames (T, 3, H, W), RGB 0..255.

    Backward tracking finds the frames before a query in the clip run backward.
    """
    scale = scale_between(frames.shape[-2:], SIZE).to(queries)
    images, asked = resize(frames, SIZE), scale_points(queries, scale)
    with_grid = torch.cat([asked, support_grid(SIZE).to(asked)])
    found = track_offline(network, images, with_grid, ITERATIONS)
    positions, visibility = found.positions_px, found.visibility
    if backward_tracking:
        earlier = _track_backward(network, images, with_grid)
        is_before = torch.arange(len(frames), device=frames.device) < with_grid[:, :1]
        positions = torch.where(is_before[..., None], earlier.positions_px, positions)
        visibility = torch.where(is_before, earlier.visibility, visibility)
    n = len(queries)
    return _with_queries(asked, positions[:n], visibility[:n] > VISIBLE_OFFLINE, scale)


class OnlinePredictor:
    """Follows queries (N, 3), each frame, x, y in pixels, through frames of `frame_size` (H, W) as they come."""

    def __init__(
        self, network: CoTracker, queries: Tensor, frame_size: tuple[int, int], add_support_grid: bool = False
    ) -> None:
        self._scale = scale_between(frame_size, SIZE).to(queries)
        self._n = len(queries)
        asked = scale_points(queries, self._scale)
        if add_support_grid:
            asked = torch.cat([asked, support_grid(SIZE).to(asked)])
        self._stream = CoTrackerStream(network, asked, ITERATIONS)
        self._state = queries.new_empty(self._n, 0, 4)

    def update(self, frames: Tensor) -> Predicted:
        """New frames (K, 3, H, W), 16 at first, then 8 a time; what is known of all frames so far."""
        window = self._stream.update(resize(frames, SIZE))
        self._state = torch.cat([self._state[:, : window.first_frame], window.state[: self._n]], 1)
        found = trajectories(self._state)
        visible = found.visibility * found.confidence > VISIBLE_ONLINE
        return Predicted(found.positions_px / self._scale, visible)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames (T, C, H, W) to (T, C, *size): bilinear, corners kept."""
    return F.interpolate(frames.float(), size, mode="bilinear", align_corners=True)


def scale_between(source: tuple[int, ...], target: tuple[int, int]) -> Tensor:
    """What x and y (2,) of points are multiplied by when frames of size (H, W) are resized with their corners kept."""
    return torch.tensor([(target[1] - 1) / (source[1] - 1), (target[0] - 1) / (source[0] - 1)])


def scale_points(queries: Tensor, scale: Tensor) -> Tensor:
    """Queries (N, 3), each frame, x, y, with x and y scaled."""
    return torch.cat([queries[:, :1], queries[:, 1:] * scale], 1)


def support_grid(size: tuple[int, int]) -> Tensor:
    """Queries (36, 3) at frame 0 that lend context: evenly spaced, row by row, a 64th of the width from the border."""
    height, width = size
    margin = width / 64
    y = torch.linspace(margin, height - margin, GRID_SIDE)
    x = torch.linspace(margin, width - margin, GRID_SIDE)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([torch.zeros_like(rows), columns, rows], -1).flatten(0, 1)


def _track_backward(network: CoTracker, frames: Tensor, queries: Tensor) -> Trajectories:
    """The tracks found in the clip run backward, turned forward again."""
    mirrored = torch.cat([len(frames) - 1 - queries[:, :1], queries[:, 1:]], 1)
    found = track_offline(network, frames.flip(0), mirrored, ITERATIONS)
    return Trajectories(found.positions_px.flip(1), found.visibility.flip(1), found.confidence.flip(1))


def _with_queries(asked: Tensor, positions: Tensor, visible: Tensor, scale: Tensor) -> Predicted:
    """The answer in pixels of the frames given; at its query frame a point is where it was set, and visible."""
    at_query = torch.arange(positions.shape[1], device=positions.device) == asked[:, :1]
    tracks = torch.where(at_query[..., None], asked[:, None, 1:], positions) / scale
    return Predicted(tracks, visible | at_query)
