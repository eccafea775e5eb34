"""Other trackers cut for export: what happens once, one refinement, and the answer.

The exporter sees a refinement once; baseline_graph.py repeats it. Values go from stage to stage by name: a stage reads
names that the user gives or an earlier stage made, and a name made again replaces what it named before.
The video is grey, (T, H, W) float32 0..255, of the network's size; N points, their number left open.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from specktrack.training.cotracker import CoTracker, state_at_queries, trajectories
from specktrack.training.cotracker_correlation import PATCH
from specktrack.training.echotracker import EchoTracker, Told
from specktrack.training.pips import CHANNELS as PIPS_CHANNELS
from specktrack.training.pips import STRIDE as PIPS_STRIDE
from specktrack.training.pips import Pips
from specktrack.training.window_correlation import LEVELS, TEMPLATE_LAGS, read_template, templates_at

N_TEMPLATES = 1 + len(TEMPLATE_LAGS)
PYRAMID = tuple(f"level{k}" for k in range(LEVELS))


@dataclass(frozen=True)
class Stage:
    """A module whose arguments and answers have names."""

    name: str
    module: nn.Module
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """Size of what a file takes in."""

    n_frames: int
    size: tuple[int, int]  # height, width


@dataclass(frozen=True)
class Stages:
    """A tracker's window, cut."""

    begin: Stage
    refine: Stage
    end: Stage | None
    inputs: dict[str, Tensor]  # an example of each
    per_point: tuple[str, ...]  # names whose first axis is N
    outputs: tuple[str, ...]


class _EchoBegin(nn.Module):
    def __init__(self, network: EchoTracker) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        """Points (N, 2) of frame 0, or for ptecho queries (N, 3), all of the frame that the first one names."""
        features = self.network.encode(video[:, None])
        frame: int | Tensor = 0
        if self.network.variant == "ptecho":
            frame, points = points[0, 0].long(), points[:, 1:]
        tracks, told = self.network.place(features, points, frame)
        return tracks, told.differences, told.start, told.first, *features.fine


class _EchoRefine(nn.Module):
    def __init__(self, network: EchoTracker) -> None:
        super().__init__()
        self.network = network

    def forward(self, tracks: Tensor, differences: Tensor, start: Tensor, first: Tensor, *fine: Tensor) -> Tensor:
        """Better tracks (N, T, 2), pixels."""
        return self.network.refine(list(fine), tracks, Told(differences, start, first))


def cut_echotracker(network: EchoTracker, window: Window) -> Stages:
    """EchoTracker: video and points of frame 0 (ptecho: queries of one frame) to tracks (N, T, 2)."""
    points = torch.rand(3, 2) * torch.tensor(window.size[::-1])
    asked = {"points": points} if network.variant == "2024" else {"queries": torch.cat((torch.ones(3, 1), points), 1)}
    names = ("tracks", "differences", "start", "first", *PYRAMID)
    return Stages(
        Stage("begin", _EchoBegin(network), ("video", *asked), names),
        Stage("refine", _EchoRefine(network), names, ("tracks",)),
        None,
        {"video": _some_video(window), **asked},
        (*asked, "tracks", "start", "first"),
        ("tracks",),
    )


class _PipsBegin(nn.Module):
    def __init__(self, network: Pips) -> None:
        super().__init__()
        self.network = network

    def forward(self, video: Tensor, trajectories: Tensor, templates: Tensor, is_first: Tensor) -> tuple[Tensor, ...]:
        """Where points are thought to be (N, T, 2); templates (N, T, 3, C) of the window before, if there was one."""
        pyramid = self.network.encode(_colour(video))
        start = trajectories[:, 0] / PIPS_STRIDE
        own = read_template(pyramid[0], start, torch.zeros_like(start[:, 0], dtype=torch.long))
        return trajectories, start, torch.where(is_first > 0, own[:, None, None], templates), *pyramid


class _PipsRefine(nn.Module):
    def __init__(self, network: Pips) -> None:
        super().__init__()
        self.network = network

    def forward(self, tracks: Tensor, templates: Tensor, start: Tensor, *pyramid: Tensor) -> tuple[Tensor, ...]:
        """Better tracks (N, T, 2), pixels, held in frame 0; templates for the next refinement; those of this one."""
        cells = tracks / PIPS_STRIDE
        cells = cells + self.network.delta_block(self.network.head_input(list(pyramid), cells, templates))
        cells = torch.cat((start[:, None], cells[:, 1:]), 1)
        return cells * PIPS_STRIDE, templates_at(pyramid[0], cells, templates[:, 0, 0]), templates


def cut_pips(network: Pips, window: Window) -> Stages:
    """PIPs++: the window's video and where points are thought to be; the answer's templates go to the next window."""
    n, t = 3, window.n_frames
    inputs = {
        "video": _some_video(window),
        "trajectories": (torch.rand(n, 1, 2) * torch.tensor(window.size[::-1])).repeat(1, t, 1),
        "handed_over": torch.zeros(n, t, N_TEMPLATES, PIPS_CHANNELS),
        "is_first": torch.ones(1),
    }
    told = ("tracks", "templates", "start", *PYRAMID)
    return Stages(
        Stage("begin", _PipsBegin(network), tuple(inputs), ("tracks", "start", "templates", *PYRAMID)),
        Stage("refine", _PipsRefine(network), told, ("tracks", "templates", "hand_over")),
        None,
        inputs,
        ("trajectories", "handed_over", "tracks", "templates", "start"),
        ("tracks", "hand_over"),
    )


class _CoTrackerBegin(nn.Module):
    def __init__(self, network: CoTracker, n_frames: int) -> None:
        super().__init__()
        self.network, self._n_frames = network, n_frames

    def forward(self, video: Tensor, queries: Tensor) -> tuple[Tensor, ...]:
        """Queries (N, 3), each frame, x, y in pixels."""
        pyramid = self.network.encode(_colour(video))
        support = torch.stack(self.network.read_support(pyramid, queries), 1)
        return state_at_queries(queries, self._n_frames), support, *pyramid


class _CoTrackerStep(nn.Module):
    """As CoTrackerStream.update, with what it remembers given and given back."""

    def __init__(self, network: CoTracker) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, video: Tensor, queries: Tensor, n_known: Tensor, last_state: Tensor, known_support: Tensor
    ) -> tuple[Tensor, ...]:
        """The frames of queries (N, 3) count from the window's first; n_known (1,) of its frames were seen before."""
        length, step = self.network.window_len, self.network.window_len // 2
        pyramid = self.network.encode(_colour(video))
        frame = queries[:, :1]
        inside = torch.cat((frame.clamp(0, length - 1), queries[:, 1:]), 1)
        support = torch.stack(self.network.read_support(pyramid, inside), 1)
        is_new = (frame >= n_known) & (frame < length)
        support = torch.where(is_new[..., None, None], support, known_support)
        carried = torch.cat((last_state[:, step:], last_state[:, -1:].expand(-1, step, -1)), 1)
        has_begun = (frame < n_known)[..., None]
        return torch.where(has_begun, carried, state_at_queries(queries, length)), support, *pyramid


class _CoTrackerRefine(nn.Module):
    def __init__(self, network: CoTracker) -> None:
        super().__init__()
        self.network = network

    def forward(self, state: Tensor, support: Tensor, *pyramid: Tensor) -> Tensor:
        """The state after one more iteration."""
        better: Tensor = self.network(list(pyramid), list(support.unbind(1)), state)
        return better


class _CoTrackerEnd(nn.Module):
    def forward(self, state: Tensor) -> tuple[Tensor, ...]:
        """Tracks (N, T, 2), pixels, visibility and confidence (N, T)."""
        found = trajectories(state)
        return found.positions_px, found.visibility, found.confidence


def cut_cotracker(network: CoTracker, window: Window) -> Stages:
    """CoTracker3 offline: video and queries to tracks, visibility, confidence."""
    inputs = {"video": _some_video(window), "queries": _some_queries(window)}
    begin = Stage("begin", _CoTrackerBegin(network, window.n_frames), tuple(inputs), ("state", "support", *PYRAMID))
    return _cotracker_stages(network, begin, inputs, ("queries", "state", "support"), ())


def cut_cotracker_online(network: CoTracker, window: Window) -> Stages:
    """One window of CoTracker3 online; what it gives of state and support is given back to it with the next window."""
    queries = _some_queries(window)
    inputs = {
        "video": _some_video(window),
        "queries": queries,
        "n_known": torch.zeros(1),
        "last_state": torch.zeros(len(queries), window.n_frames, 4),
        "known_support": torch.zeros(len(queries), LEVELS, PATCH, 128),
    }
    begin = Stage("begin", _CoTrackerStep(network), tuple(inputs), ("state", "support", *PYRAMID))
    per_point = ("queries", "last_state", "known_support", "state", "support")
    return _cotracker_stages(network, begin, inputs, per_point, ("state", "support"))


def _cotracker_stages(
    network: CoTracker, begin: Stage, inputs: dict[str, Tensor], per_point: tuple[str, ...], more: tuple[str, ...]
) -> Stages:
    answer = ("tracks", "visibility", "confidence")
    return Stages(
        begin,
        Stage("refine", _CoTrackerRefine(network), ("state", "support", *PYRAMID), ("state",)),
        Stage("end", _CoTrackerEnd(), ("state",), answer),
        inputs,
        per_point,
        (*answer, *more),
    )


def _some_video(window: Window) -> Tensor:
    return 255 * torch.rand(window.n_frames, *window.size)


def _some_queries(window: Window) -> Tensor:
    places = torch.rand(3, 2) * torch.tensor(window.size[::-1])
    return torch.cat((torch.tensor([[0.0], [1.0], [2.0]]), places), 1)


def _colour(video: Tensor) -> Tensor:
    """Grey frames (T, H, W) as three equal colours."""
    return video[:, None].expand(-1, 3, -1, -1)
