"""EchoTracker, PIPs++ and CoTracker3 in a live stream: the plug-in behind rt/windowed.py.

Each carries over from window to window what its authors' code does: EchoTracker nothing but the last positions, PIPs++
its templates as well, CoTracker3 half a window of features and states. A frame is spoken of once, as soon as a window
holds it; CoTracker3 would revise it eight frames later, which a live stream cannot wait for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from specktrack.rt.config import ModelConfig
from specktrack.rt.geometry import FloatArray
from specktrack.training.cotracker import ONLINE_WINDOW, CoTracker, trajectories
from specktrack.training.cotracker_predictor import ITERATIONS as COTRACKER_ITERATIONS
from specktrack.training.cotracker_predictor import SIZE as COTRACKER_SIZE
from specktrack.training.cotracker_stream import CoTrackerStream
from specktrack.training.echotracker import EchoTracker
from specktrack.training.pips import Pips
from specktrack.training.point_tracker import FEWEST_FRAMES, SIZE, network_of

PIPS_ITERATIONS = 16

Image = NDArray[np.uint8]


class _ChainedRun:
    """Windows that share one frame: each begins where the last one ended."""

    def __init__(self, network: Any, window: int, image: Image, points: FloatArray) -> None:
        self.wanted = window - 1
        self._network = network
        self._last, self._points = image, torch.from_numpy(np.float32(points))

    @torch.no_grad()
    def follow(self, images: Sequence[Image]) -> FloatArray:
        """See rt.windowed.Run."""
        lacking = max(FEWEST_FRAMES - 1 - len(images), 0)
        video = as_video([self._last, *images, *[images[-1]] * lacking])
        found = self._follow(video)[:, 1 : 1 + len(images)]
        self._last, self._points = images[-1], found[:, -1]
        return np.pad(found.transpose(0, 1).numpy(), ((0, 0), (0, 0), (0, 1)), constant_values=1.0)

    def _follow(self, video: Tensor) -> Tensor:
        """Positions (N, T, 2) of the points of frame 0 of the video (T, 1, H, W)."""
        raise NotImplementedError


class EchoTrackerRun(_ChainedRun):
    """EchoTracker has no confidence to give, and hands nothing over but positions."""

    def _follow(self, video: Tensor) -> Tensor:
        answer: Tensor = self._network(self._network.encode(video), self._points)[-1]
        return answer


class PipsRun(_ChainedRun):
    """PIPs++ expects points to stay, and hands its templates over; no confidence."""

    _templates: Tensor | None = None

    def _follow(self, video: Tensor) -> Tensor:
        pyramid = self._network.encode(video.expand(-1, 3, -1, -1))
        start = self._points[:, None].repeat(1, len(video), 1)
        refined = self._network(pyramid, start, PIPS_ITERATIONS, self._handed_over(len(video)))
        self._templates = refined.templates
        answer: Tensor = refined.before_lock[-1]
        return answer

    def _handed_over(self, n_frames: int) -> Tensor | None:
        """Templates of the last window, for a window of another length if need be."""
        if self._templates is None:
            return None
        lacking = max(n_frames - self._templates.shape[1], 0)
        return torch.cat((self._templates, self._templates[:, -1:].expand(-1, lacking, -1, -1)), 1)[:, :n_frames]


class CoTrackerRun:
    """CoTracker3 online: 15 frames after the first, then 8 a time. After a short window it begins anew."""

    def __init__(self, network: CoTracker, window: int, image: Image, points: FloatArray) -> None:
        self._network = network
        self._begin(image, torch.from_numpy(np.float32(points)))

    def _begin(self, image: Image, points: Tensor) -> None:
        queries = torch.nn.functional.pad(points, (1, 0))
        self._stream = CoTrackerStream(self._network, queries, COTRACKER_ITERATIONS)
        self._first: list[Image] = [image]  # until the first window is full

    @property
    def wanted(self) -> int:
        """See rt.windowed.Run."""
        return ONLINE_WINDOW - 1 if self._first else ONLINE_WINDOW // 2

    @torch.no_grad()
    def follow(self, images: Sequence[Image]) -> FloatArray:
        """See rt.windowed.Run."""
        is_short = len(images) < self.wanted
        window = self._stream.update(as_video([*self._first, *images]).expand(-1, 3, -1, -1))
        self._first = []
        found = trajectories(window.state[:, -len(images) :])
        if is_short:
            self._begin(images[-1], found.positions_px[:, -1])
        sure = (found.visibility * found.confidence)[..., None]
        return np.asarray(torch.cat((found.positions_px, sure), -1).transpose(0, 1).numpy(), np.float32)


class TorchWindowed:
    """A windowed model on PyTorch, for rt.windowed.WindowedEngine."""

    name = "torch"

    def __init__(
        self, model: str, network: nn.Module, run: Callable[..., Any], input_size: tuple[int, int], window: int
    ) -> None:
        self.model, self.input_size = model, input_size
        self._network, self._run, self._window = network.eval(), run, window
        self.delay_frames = window - 2  # the first frame of a window is known

    def begin(self, image: Image, points: FloatArray) -> Any:
        """See rt.windowed.WindowedEngine."""
        return self._run(self._network, self._window, image, points)

    def encode(self, image: Image) -> Image:
        """See rt.windowed.WindowedEngine."""
        return image

    def close(self) -> None:
        """Nothing is held but memory."""


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any], tuple[int, int]]] = {
    "echotracker": (EchoTracker, EchoTrackerRun, SIZE),
    "echotracker-ptecho": (lambda: EchoTracker("ptecho"), EchoTrackerRun, SIZE),
    "pips": (Pips, PipsRun, SIZE),
    "cotracker3": (lambda: CoTracker(ONLINE_WINDOW), CoTrackerRun, COTRACKER_SIZE),
}


def open_engine(config: ModelConfig) -> TorchWindowed:
    """The model with the user's checkpoint, or without one with random weights; cotracker3 wants the online one.

    Raises InputError.
    """
    build, run, size = MODELS[config.name]
    network = network_of(config.name, build, Path(config.weights) if config.weights else None)
    if config.threads:
        torch.set_num_threads(config.threads)
    window = ONLINE_WINDOW if config.name == "cotracker3" else config.window
    return TorchWindowed(config.name, network, run, size, window)


def as_video(images: Sequence[Image]) -> Tensor:
    """Images (H, W) to frames (T, 1, H, W), 0..255."""
    return torch.from_numpy(np.stack(images))[:, None].float()
