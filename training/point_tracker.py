"""Other trackers under one call: a clip and points of any of its frames in, tracks and confidence out.

A network that wants its points in the first frame runs twice for each query frame: on the frames from there on, and on
those up to there in reverse. Positions are pixels of the clip as it was given.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training.cotracker import OFFLINE_WINDOW, CoTracker, track_offline
from specktrack.training.cotracker_predictor import ITERATIONS, resize, scale_between, scale_points
from specktrack.training.cotracker_predictor import SIZE as COTRACKER_SIZE
from specktrack.training.echotracker import EchoTracker
from specktrack.training.official_checkpoint import load_official
from specktrack.training.pips import WINDOW, Pips, chain

logger = logging.getLogger(__name__)

SIZE = (256, 256)
NON_COMMERCIAL = ("echotracker-ptecho", "cotracker3")  # by the licence of their public weights, CC BY-NC 4.0
FEWEST_FRAMES = 6  # they normalise over time: shorter clips are lengthened by their last frame


@dataclass(frozen=True)
class Tracks:
    """N points in T frames."""

    tracks: FloatArray  # (N, T, 2) x, y, pixels of the clip
    confidence: FloatArray  # (N, T) 0..1; 1 throughout where the network has none to give


class PointTracker(Protocol):
    """A network with its weights."""

    name: str
    gives_confidence: bool

    def track(self, frames: NDArray[np.uint8], queries: FloatArray) -> Tracks:
        """Follow queries (N, 3), each frame, x, y in pixels, through frames (T, H, W), backwards too.

        Raises InputError for a query outside the clip.
        """
        ...


class FromFirstFrame:
    """Forward and backward runs of a network that follows points of a first frame."""

    name: str
    size: tuple[int, int]
    gives_confidence = False

    def track(self, frames: NDArray[np.uint8], queries: FloatArray) -> Tracks:
        """See PointTracker."""
        check_queries(frames, queries)
        video = resized(torch.from_numpy(np.ascontiguousarray(frames))[:, None].float(), self.size)
        scale = torch.tensor([self.size[1] / frames.shape[2], self.size[0] / frames.shape[1]])
        tracks = np.empty((len(queries), len(frames), 2), np.float32)
        for frame in np.unique(queries[:, 0]).astype(int):
            chosen = queries[:, 0].astype(int) == frame
            points = (torch.from_numpy(np.float32(queries[chosen, 1:])) + 0.5) * scale - 0.5
            tracks[chosen] = ((self._from(frame, video, points) + 0.5) / scale - 0.5).numpy()
        return Tracks(tracks, np.ones(tracks.shape[:2], np.float32))

    def _from(self, frame: int, video: Tensor, points: Tensor) -> Tensor:
        """Positions (N, T, 2) of points (N, 2) of one frame of the video (T, 1, H, W), pixels of that size."""
        back = self._first_to_last(video[: frame + 1].flip(0), points).flip(1)
        return torch.cat((back[:, :-1], self._first_to_last(video[frame:], points)), 1)

    def _first_to_last(self, video: Tensor, points: Tensor) -> Tensor:
        n_frames = len(video)
        if n_frames == 1:
            return points[:, None]
        lacking = max(FEWEST_FRAMES - n_frames, 0)
        return self._follow(torch.cat((video, video[-1:].expand(lacking, -1, -1, -1))), points)[:, :n_frames]

    def _follow(self, video: Tensor, points: Tensor) -> Tensor:
        """Positions (N, T, 2) of points (N, 2) of the first of frames (T, 1, H, W) 0..255."""
        raise NotImplementedError


class EchoTrackerTracker(FromFirstFrame):
    """EchoTracker at the size it was trained for."""

    name = "echotracker"

    def __init__(self, network: EchoTracker, size: tuple[int, int] = SIZE) -> None:
        self._network, self.size = network.eval(), size

    @torch.no_grad()
    def _follow(self, video: Tensor, points: Tensor) -> Tensor:
        answer: Tensor = self._network(self._network.encode(video), points)[-1]
        return answer


class PtechoTracker(EchoTrackerTracker):
    """EchoTracker as its later weights want it: points of any frame, whole clip, one run for each query frame."""

    name = "echotracker-ptecho"

    @torch.no_grad()
    def _from(self, frame: int, video: Tensor, points: Tensor) -> Tensor:
        lacking = max(FEWEST_FRAMES - len(video), 0)
        longer = torch.cat((video, video[-1:].expand(lacking, -1, -1, -1)))
        answer: Tensor = self._network(self._network.encode(longer), points, query=frame)[-1]
        return answer[:, : len(video)]


class PipsTracker(FromFirstFrame):
    """PIPs++, chained over windows; grey frames stand for three equal colours."""

    name = "pips"

    def __init__(self, network: Pips, iterations: int = 16, window: int = WINDOW, size: tuple[int, int] = SIZE) -> None:
        self._network, self.size = network.eval(), size
        self._iterations, self._window = iterations, window

    @torch.no_grad()
    def _follow(self, video: Tensor, points: Tensor) -> Tensor:
        pyramid = self._network.encode(video.expand(-1, 3, -1, -1))
        return chain(self._network, pyramid, points, self._window, self._iterations)


class CoTrackerTracker:
    """CoTracker3 offline on a whole clip: points of any frame together, forwards and backwards in one run."""

    name = "cotracker3"
    gives_confidence = True

    def __init__(
        self, network: CoTracker, iterations: int = ITERATIONS, size: tuple[int, int] = COTRACKER_SIZE
    ) -> None:
        self._network, self._iterations, self._size = network.eval(), iterations, size

    @torch.no_grad()
    def track(self, frames: NDArray[np.uint8], queries: FloatArray) -> Tracks:
        """See PointTracker."""
        check_queries(frames, queries)
        grey = resize(torch.from_numpy(np.ascontiguousarray(frames))[:, None], self._size)
        scale = scale_between(frames.shape[1:], self._size)
        asked = scale_points(torch.from_numpy(np.float32(queries)), scale)
        found = track_offline(self._network, grey.expand(-1, 3, -1, -1), asked, self._iterations)
        return Tracks((found.positions_px / scale).numpy(), (found.visibility * found.confidence).numpy())


@torch.no_grad()
def follow_echotracker(network: EchoTracker, video: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """As the official wrapper: frames (T, 1, H, W) resized, points (N, 2) in pixels of that size; tracks (N, T, 2)."""
    answer: Tensor = network(network.encode(resized(video, size)), points)[-1]
    return answer


def split_name(name: str) -> tuple[str, Path] | None:
    """`echotracker:FILE` and the like to tracker and checkpoint; None for anything else."""
    tracker, colon, weights = name.partition(":")
    return (tracker, Path(weights)) if colon and tracker in TRACKERS else None


def open_tracker(name: str, weights: Path) -> PointTracker:
    """A tracker with the user's checkpoint. Raises InputError."""
    if name not in TRACKERS:
        raise InputError(f"tracker {name}: unknown; choose {', '.join(TRACKERS)}")
    build, wrap = TRACKERS[name]
    return wrap(network_of(name, build, weights))


def network_of(name: str, build: Callable[[], nn.Module], weights: Path | None) -> nn.Module:
    """A network with the user's checkpoint, or (None) the same random weights every time, to measure its speed alone.

    Says so where the public weights forbid commercial use. Raises InputError.
    """
    if weights is None:
        return _random(build)
    network = build()
    load_official(network, weights, name)
    if name in NON_COMMERCIAL:
        logger.warning("%s: its public weights are CC BY-NC 4.0, no commercial use (docs/baselines.md)", name)
    return network


def _random(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with weights from a fixed seed; the caller's random numbers stay what they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


TRACKERS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], PointTracker]]] = {
    "echotracker": (EchoTracker, EchoTrackerTracker),
    "echotracker-ptecho": (lambda: EchoTracker("ptecho"), PtechoTracker),
    "pips": (Pips, PipsTracker),
    "cotracker3": (lambda: CoTracker(OFFLINE_WINDOW), CoTrackerTracker),
}


def resized(video: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames (T, C, H, W) at another height and width, bilinear."""
    return (
        video if tuple(video.shape[-2:]) == size else F.interpolate(video, size, mode="bilinear", align_corners=False)
    )


def check_queries(frames: NDArray[np.uint8], queries: FloatArray) -> None:
    """Raises InputError for queries (N, 3) that are not in frames (T, H, W)."""
    if frames.ndim != 3:
        raise InputError(f"frames have shape {frames.shape}; expected grey frames (T, H, W)")
    if queries.ndim != 2 or queries.shape[1] != 3:
        raise InputError(f"queries have shape {queries.shape}; expected (N, 3): frame, x, y")
    t, height, width = frames.shape
    limit = np.array([t - 1, width - 1, height - 1])
    wrong = np.flatnonzero(~((queries >= 0) & (queries <= limit)).all(1))
    if len(wrong):
        raise InputError(f"query {wrong[0]} {queries[wrong[0]].tolist()} lies outside {t} frames of {width} x {height}")
