"""SpeckNet by torch: where an NVIDIA GPU is at hand and TensorRT is not installed.

The exported graphs run operator by operator (torch_graph.py), so the precision is exactly the export's: the typed FP16
file on a GPU, FP32 on a CPU. On a GPU each graph is captured once for each shape as a CUDA graph and replayed;
features stay there, and only images, points and evidence cross the bus. A capture that does not answer as the eager run
did is refused. Imported only when asked for.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import DeviceMatcher
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import Manifest, companion, load_manifest, open_fusion
from specktrack.rt.torch_graph import TorchGraph

log = logging.getLogger(__name__)

MOST_SHAPES = 16  # captures kept for a graph; a stream needs three or four
REPLAY_TOLERANCE = 1e-3

Maps = tuple[Tensor, ...]


class TorchEngine(DeviceMatcher):
    """Encodes and matches with torch; on the GPU when there is one."""

    name = "torch"

    def __init__(self, model: Path, threads: int = 0, device: str = "") -> None:
        """Load an exported model with its graphs; device empty takes the GPU when there is one. Raises EngineError."""
        card = load_manifest(model)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        is_gpu = self._device.type == "cuda"
        encoder = companion(model, card.half, "FP16 network") if is_gpu and card.half else model
        self.precision = "fp16" if encoder != model else card.precision
        super().__init__(card.model, card.input_size, open_fusion(model, card), card.confidence_curve, card.match_side)
        torch.backends.cudnn.allow_tf32 = False  # FP32 convolutions keep their bits
        if threads and not is_gpu:
            torch.set_num_threads(threads)
        self._encoder, self._sampler, self._matcher = (
            Replayed(TorchGraph(path, self._device), self._device) for path in (encoder, *matching_files(model, card))
        )

    def encode(self, image: NDArray[np.uint8]) -> Maps:
        """Image (H, W) uint8 to three maps (h, w, C) on the device."""
        batch = torch.from_numpy(image.astype(np.float32) * np.float32(1 / 255))[None, None]
        return tuple(m.clone() for m in self._encoder(image=batch.to(self._device)))

    def _sample(self, features: Maps, points: FloatArray) -> FloatArray:
        return self._answer(self._sampler, features, points=points)

    def _match(self, features: Maps, templates: FloatArray, centre: FloatArray) -> FloatArray:
        return self._answer(self._matcher, features, templates=templates, centre=centre)

    def _answer(self, graph: "Replayed", features: Maps, **arrays: FloatArray) -> FloatArray:
        maps = dict(zip(("fine", "middle", "coarse"), features, strict=True))
        sent = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for name, a in arrays.items()}
        return np.asarray(graph(**maps, **sent)[0].cpu().numpy())

    def close(self) -> None:
        """Free the graphs and what they hold on the device."""
        del self._encoder, self._sampler, self._matcher


def matching_files(model: Path, card: Manifest) -> tuple[Path, Path]:
    """The sampling and the matching graph of a model; raises EngineError where it was exported without them."""
    return companion(model, card.sample, "sampling graph"), companion(model, card.match, "matching graph")


class Replayed:
    """A graph called with tensors of the device; on a GPU, captured at the first call with each set of shapes."""

    def __init__(self, graph: TorchGraph, device: torch.device) -> None:
        self._graph = graph
        self._device = device
        self._captures: dict[tuple[Any, ...], tuple[Any, dict[str, Tensor], list[Tensor]]] = {}

    def __call__(self, **given: Tensor) -> Sequence[Tensor]:
        """The graph's outputs; on a GPU they are overwritten by the next call."""
        if self._device.type != "cuda":
            return self._graph(**given)
        key = tuple(tuple(given[name].shape) for name in self._graph.inputs)
        if key not in self._captures:
            if len(self._captures) >= MOST_SHAPES:
                del self._captures[next(iter(self._captures))]
            self._captures[key] = self._captured(given)
        replay, inputs, outputs = self._captures[key]
        for name, tensor in inputs.items():
            tensor.copy_(given[name])
        replay.replay()
        return outputs

    def _captured(self, given: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor], list[Tensor]]:
        """Run eagerly, capture on a stream of its own, replay over poisoned outputs and compare."""
        inputs = {name: tensor.clone() for name, tensor in given.items()}
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                eager = [made.clone() for made in self._graph(**inputs)]
            stream.synchronize()
            replay = torch.cuda.CUDAGraph()
            with torch.cuda.graph(replay, stream=stream, capture_error_mode="thread_local"):
                outputs = list(self._graph(**inputs))
            for made in outputs:
                made.fill_(float("nan"))
            replay.replay()
            torch.cuda.synchronize()
        worst = max(float((a - b).abs().max()) for a, b in zip(eager, outputs, strict=True))
        if not worst <= REPLAY_TOLERANCE:
            raise EngineError(f"engine torch: a CUDA graph answers {worst:.3g} off its eager run; use onnxruntime")
        return replay, inputs, outputs
