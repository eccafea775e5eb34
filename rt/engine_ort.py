"""SpeckNet by ONNX Runtime: the default on a CPU."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from specktrack.rt.correlation import FeatureMaps
from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import FeatureMatcher, PartMaps
from specktrack.rt.manifest import load_manifest, open_fusion
from specktrack.rt.region import Region, cut_out


class OrtEngine(FeatureMatcher):
    """Encodes with ONNX Runtime on a fixed number of threads that do not spin between frames."""

    name = "onnxruntime"

    def __init__(self, model: Path, threads: int = 0) -> None:
        """Load a model file with its manifest; threads 0 leaves one core to flow and sockets. Raises EngineError."""
        manifest = load_manifest(model)
        fusion = open_fusion(model, manifest)
        super().__init__(manifest.model, manifest.input_size, manifest.gamma, fusion, manifest.confidence_curve)
        self.precision = manifest.precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or max(len(os.sched_getaffinity(0)) - 1, 1)
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise EngineError(f"{model}: ONNX Runtime cannot load it ({error}); export the model again") from error
        self._manifest = manifest

    def encode(self, image: NDArray[np.uint8]) -> FeatureMaps:
        """Image (H, W) uint8 to three maps (h, w, C), unit length."""
        batch = (image.astype(np.float32) * np.float32(1 / 255))[None, None]
        fine, middle, coarse = self._session.run(list(self._manifest.outputs), {self._manifest.input_name: batch})
        return fine, middle, coarse

    def encode_part(self, image: NDArray[np.uint8], part: Region) -> PartMaps:
        """See engine.EncodesParts."""
        return PartMaps(self.encode(cut_out(image, part)), part.corner)

    def close(self) -> None:
        """Drop the session."""
        del self._session
