"""SpeckNet by TensorRT: the first choice on an NVIDIA GPU.

Three plans (encoder, sampling, matching) run on one stream; features stay on the GPU, each frame's in buffers of its
own for as long as anything refers to them. A plan is a program: it is read only after its SHA-256 was found to be the
card's, and host code in it is never allowed. Imported only when asked for.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import DeviceMatcher
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import Manifest, companion, load_manifest, open_fusion
from specktrack.rt.plan_cache import find_plan
from specktrack.rt.trt_device import CudaStream, DeviceBuffer, Gpu
from specktrack.rt.trt_log import TrtLog
from specktrack.rt.trt_runner import PlanRunner, Shape

MAPS = ("fine", "middle", "coarse")


class TrtFeatures:
    """The maps of one frame on the GPU; their buffers go back to the pool with the object."""

    def __init__(
        self, maps: dict[str, tuple[DeviceBuffer, Shape]], give_back: Callable[[list[DeviceBuffer]], None]
    ) -> None:
        self.maps = maps
        self._give_back = give_back

    def __del__(self) -> None:
        self._give_back([buffer for buffer, _ in self.maps.values()])


class TensorRtEngine(DeviceMatcher):
    """Encodes and matches with plans built for this GPU."""

    name = "tensorrt"

    def __init__(self, model: Path) -> None:
        """Load a plan, or the plan that was built here for an ONNX model; raises EngineError with what helps."""
        gpu = Gpu.here()
        plan = model if model.suffix == ".plan" else find_plan(load_manifest(model), model, trt.__version__, gpu.name)
        card = load_manifest(plan)  # checks the SHA-256 of the file
        _refuse_foreign(plan, card, gpu)
        super().__init__(card.model, card.input_size, open_fusion(plan, card), card.confidence_curve, card.match_side)
        self.precision = card.precision
        paths = (plan, companion(plan, card.sample, "sampling plan"), companion(plan, card.match, "matching plan"))
        self._log = TrtLog()
        self._stream = CudaStream()
        self._encoder, self._sampler, self._matcher = (
            PlanRunner(path.read_bytes(), path.name, self._stream, self._log) for path in paths
        )
        self._most = self._sampler.limits("points")[2][0]
        self._input = card.input_name
        self._pool: list[list[DeviceBuffer]] = []

    def encode(self, image: NDArray[np.uint8]) -> TrtFeatures:
        """Image (H, W) uint8 to three maps (h, w, C) on the GPU."""
        batch = np.ascontiguousarray(image, np.float32)[None, None] * np.float32(1 / 255)
        self._encoder.run({self._input: batch})
        made = self._encoder.buffers
        kept = self._pool.pop() if self._pool else [DeviceBuffer(made[name].n_bytes) for name in MAPS]
        maps = {}
        for name, buffer in zip(MAPS, kept, strict=True):
            self._stream.move(buffer, made[name], buffer.n_bytes)
            maps[name] = (buffer, self._encoder.shape_of(name))
        self._stream.wait()  # the host's batch must outlive its copy
        return TrtFeatures(maps, self._pool.append)

    def _sample(self, features: TrtFeatures, points: FloatArray) -> FloatArray:
        found = []
        for some in self._parts(len(points)):
            self._sampler.run({**features.maps, "points": np.ascontiguousarray(points[some])})
            found.append(self._sampler.answer("templates"))
        return np.concatenate(found)

    def _match(self, features: TrtFeatures, templates: FloatArray, centre: FloatArray) -> FloatArray:
        found = []
        for some in self._parts(len(centre)):
            given = {"templates": templates[:, some], "centre": centre[some]}
            contiguous = {name: np.ascontiguousarray(value) for name, value in given.items()}
            self._matcher.run({**features.maps, **contiguous})
            found.append(self._matcher.answer("evidence"))
        return np.concatenate(found, axis=1)

    def _parts(self, n_points: int) -> list[slice]:
        """Runs of points, none longer than the plans were built for."""
        return [slice(first, first + self._most) for first in range(0, n_points, self._most)]

    def close(self) -> None:
        """Free plans, buffers and stream."""
        for runner in (self._encoder, self._sampler, self._matcher):
            runner.close()
        self._pool.clear()
        self._stream.close()


def _refuse_foreign(path: Path, card: Manifest, gpu: Gpu) -> None:
    """A plan fits the TensorRT and the GPU it was built with, nothing else."""
    if card.plan is None:
        raise EngineError(f"{path}: its card is not that of a TensorRT plan; build one with export-trt")
    built = (card.plan.tensorrt, card.plan.gpu, card.plan.compute_capability)
    here = (trt.__version__, gpu.name, gpu.compute_capability)
    if built != here:
        raise EngineError(
            f"{path.name} was built with TensorRT {built[0]} for {built[1]}, but here are TensorRT {here[0]} and "
            f"{here[1]}. Build it again on this machine: export-trt {card.model} --out {path.parent}"
        )
