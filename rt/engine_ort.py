"""SpeckNet by ONNX Runtime: the default on a CPU."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from specktrack.rt.correlation import CONFIDENCE_REACH_PX, FeatureMaps, match_points, sample_templates
from specktrack.rt.engine import Factor, Matched, Prior
from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import Manifest, load_manifest

NARROWEST_REACH_PX = CONFIDENCE_REACH_PX
WIDEST_REACH_PX = 20


class FeatureMatcher:
    """Templates and matching over feature maps on the host: what every SpeckNet engine on a CPU shares."""

    uses_flow = True

    def __init__(self, manifest: Manifest) -> None:
        self.model = manifest.model
        self.input_size = manifest.input_size
        self.anchor_weight = manifest.anchor_weight
        self.recent_weights = dict(manifest.recent_weights)
        self._gamma = manifest.gamma
        self._curve = np.asarray(manifest.confidence_curve, np.float64).T

    def templates(self, features: FeatureMaps, points: FloatArray) -> FloatArray:
        """Unit features (N, C1 + C2 + C3) at points (N, 2)."""
        return sample_templates(features, points)

    def match(self, features: FeatureMaps, factors: Sequence[Factor], prior: Prior) -> Matched:
        """See Engine.match."""
        templates = np.stack([f.template for f in factors])
        weights = np.stack([f.weight for f in factors]).astype(np.float32)
        n_anchors = sum(f.is_anchor for f in factors)
        out = np.empty((len(prior.centre), 4), np.float32)
        side = _side_of_search(prior.sigma)
        match_points(*features, templates, weights, n_anchors, prior.centre, prior.sigma, side, self._gamma, out)
        confidence = np.interp(out[:, 3], *self._curve).astype(np.float32)
        return Matched(out[:, :2].copy(), out[:, 2].copy(), confidence)


def _side_of_search(sigma: FloatArray) -> int:
    """Side of a square that holds three standard deviations of the widest prior, within reason; pixels, odd."""
    widest = float(np.nanmax(sigma)) if np.isfinite(sigma).any() else 0.0
    return 2 * int(min(max(np.ceil(3.0 * widest), NARROWEST_REACH_PX), WIDEST_REACH_PX)) + 1


class OrtEngine(FeatureMatcher):
    """Encodes with ONNX Runtime on a fixed number of threads that do not spin between frames."""

    name = "onnxruntime"

    def __init__(self, model: Path, threads: int = 0) -> None:
        """Load a model file with its manifest; threads 0 leaves one core to flow and sockets. Raises EngineError."""
        manifest = load_manifest(model)
        super().__init__(manifest)
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

    def close(self) -> None:
        """Drop the session."""
        del self._session
