"""SpeckNet by OpenVINO: the fastest on many x86 CPUs, an extra.

OpenVINO would compute FP32 models in bfloat16 wherever the CPU can, a thousand times less exact; so the precision is
always said. bfloat16 is used only when it was asked for or allowed by its gate (precision_gate.py).
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from specktrack.rt.correlation import FeatureMaps
from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import FeatureMatcher, PartMaps
from specktrack.rt.manifest import load_manifest, open_fusion
from specktrack.rt.precision_gate import may_use_bf16
from specktrack.rt.region import STEP, Region, cut_out

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine(FeatureMatcher):
    """Encodes with OpenVINO on the CPU, on a fixed number of threads."""

    name = "openvino"

    def __init__(self, model: Path, threads: int = 0, precision: str = "fp32") -> None:
        """Load an ONNX model with its manifest; threads 0 leaves one core to flow and sockets. Raises EngineError."""
        manifest = load_manifest(model)
        fusion = open_fusion(model, manifest)
        super().__init__(manifest.model, manifest.input_size, manifest.gamma, fusion, manifest.confidence_curve)
        self.precision = precision
        height, width = manifest.input_size
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads or max(len(os.sched_getaffinity(0)) - 1, 1),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        try:
            core = openvino.Core()
            network = core.read_model(model)
            network.reshape([1, 1, height, width])
            self._whole = core.compile_model(network, "CPU", settings).create_infer_request()
            # Of any size: a few per cent slower for the whole image, and 4 ms once for each new size.
            network.reshape([1, 1, openvino.Dimension(STEP, height), openvino.Dimension(STEP, width)])
            self._parts = core.compile_model(network, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise EngineError(f"{model}: OpenVINO cannot load it ({reason}); use the engine onnxruntime") from error
        self._n_outputs = len(manifest.outputs)

    def encode(self, image: NDArray[np.uint8]) -> FeatureMaps:
        """Image (H, W) uint8 to three maps (h, w, C), unit length."""
        return self._infer(self._whole, image)

    def encode_part(self, image: NDArray[np.uint8], part: Region) -> PartMaps:
        """See engine.EncodesParts."""
        return PartMaps(self._infer(self._parts, cut_out(image, part)), part.corner)

    def _infer(self, request: openvino.InferRequest, image: NDArray[np.uint8]) -> FeatureMaps:
        batch = (image.astype(np.float32) * np.float32(1 / 255))[None, None]
        request.infer([batch], share_inputs=True)
        # Copies: the request writes its next answer into the same memory.
        fine, middle, coarse = (request.get_output_tensor(k).data.copy() for k in range(self._n_outputs))
        return fine, middle, coarse

    def close(self) -> None:
        """Drop the compiled models."""
        del self._whole, self._parts


def can_compute_bf16() -> bool:
    """Whether this CPU has matrix units for bfloat16 that OpenVINO uses."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_openvino(model: Path, threads: int = 0) -> OpenVinoEngine:
    """The engine in bfloat16 where this CPU has units for it and its gate has passed, else in FP32."""
    if can_compute_bf16() and may_use_bf16(model, "openvino", partial(OpenVinoEngine, model, threads)):
        return OpenVinoEngine(model, threads, "bf16")
    return OpenVinoEngine(model, threads)
