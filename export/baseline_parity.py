"""How far an exported tracker is from its network, in pixels of the file's image size, over the points of a clip.

FP32 files run in ONNX Runtime. FP16 files are loaded there too, but measured by torch, value by value in the type that
the file says: on a CPU ONNX Runtime computes half-precision layers in FP32 and drops the casts around them, so its
answer would show the rounding of the weights alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch

from specktrack.export.baseline_follow import Runner
from specktrack.export.baselines import Baseline
from specktrack.rt.geometry import FloatArray
from specktrack.rt.torch_graph import TorchGraph
from specktrack.training.phantom import Phantom, standard_spec

Precision = Literal["fp32", "fp16"]
MOST_PX: dict[Precision, float] = {"fp32": 0.01, "fp16": 0.25}  # the largest, and 99 of 100


@dataclass(frozen=True)
class FileParity:
    """A file against the network it came from."""

    precision: Precision
    runtime: str
    n_points: int
    n_frames: int
    moved_px: float  # root mean square way of the points from their queries, by the network
    median_px: float
    p99_px: float
    max_px: float
    islands: tuple[str, ...] = ()  # of FP32 in an FP16 file

    @property
    def is_good(self) -> bool:
        """FP32: every point of every frame; FP16: 99 of 100."""
        found = self.max_px if self.precision == "fp32" else self.p99_px
        return found <= MOST_PX[self.precision]


def onnxruntime_runner(path: Path) -> Runner:
    """Runs a file on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def run(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        contiguous = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        return dict(zip(names, session.run(names, contiguous), strict=True))

    return run


def torch_runner(path: Path) -> Runner:
    """Runs a file operator by operator, rounding where it says so."""
    graph = TorchGraph(path, torch.device("cpu"))

    def run(inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        return dict(zip(graph.outputs, (value.numpy() for value in graph(**tensors)), strict=True))

    return run


def phantom_clip(size: tuple[int, int], n_frames: int) -> FloatArray:
    """An ordinary heart (T, H, W), 0..255; the left part of a square where the image is not one."""
    phantom = Phantom(standard_spec(size_px=max(size)))
    return np.stack([phantom.frame(k)[: size[0], : size[1]] for k in range(n_frames)]).astype(np.float32)


@dataclass(frozen=True)
class Trial:
    """A clip, queries, and where the network followed them: what files are held against."""

    baseline: Baseline
    window: int
    clip: FloatArray
    queries: FloatArray
    expected: FloatArray

    def measure(self, run: Runner, precision: Precision, runtime: str) -> FileParity:
        """How far a file, behind its runner, is from the network."""
        found = self.baseline.follow_file(run, self.clip, self.queries, self.window)
        px = np.hypot(*np.moveaxis(found - self.expected, -1, 0))
        way = np.hypot(*np.moveaxis(self.expected - self.queries[:, None, 1:], -1, 0))
        return FileParity(
            precision=precision,
            runtime=runtime,
            n_points=px.shape[0],
            n_frames=px.shape[1],
            moved_px=float(np.sqrt(np.mean(way**2))),
            median_px=float(np.median(px)),
            p99_px=float(np.percentile(px, 99)),
            max_px=float(px.max()),
        )


def try_network(
    baseline: Baseline, network: Any, clip: FloatArray, queries: FloatArray, iterations: int, window: int
) -> Trial:
    """Let the network follow the queries through the clip."""
    with torch.no_grad():
        expected = baseline.follow_net(network, clip, queries, iterations, window)
    return Trial(baseline, window, clip, queries, expected)
