"""SpeckNet by ONNX Runtime on a device: its CUDA provider, where onnxruntime-gpu is installed and there is a GPU.

Encoder and matching graphs are bound to the device, so features stay there; images, points and evidence cross the bus.
The same code runs on the CPU, where it is tested; there the kernels of `OrtEngine` are faster.
"""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from specktrack.rt.errors import EngineError
from specktrack.rt.feature_matcher import DeviceMatcher
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import companion, load_manifest, open_fusion

MAPS = ("fine", "middle", "coarse")
CUDA = "CUDAExecutionProvider"
PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cuda": (CUDA, {"use_tf32": "0"}),
    "cpu": ("CPUExecutionProvider", {}),
}

OrtMaps = tuple[onnxruntime.OrtValue, ...]


def has_cuda() -> bool:
    """Whether this ONNX Runtime was built for NVIDIA GPUs."""
    return CUDA in onnxruntime.get_available_providers()


class OrtDeviceEngine(DeviceMatcher):
    """Encodes and matches with ONNX Runtime; features are its values on the device."""

    name = "onnxruntime"

    def __init__(self, model: Path, device: str = "cuda") -> None:
        """Load an exported model with its matching graphs; on a GPU its FP16 file. Raises EngineError."""
        card = load_manifest(model)
        encoder = companion(model, card.half, "FP16 network") if device == "cuda" and card.half else model
        self.precision = "fp16" if encoder != model else card.precision
        super().__init__(card.model, card.input_size, open_fusion(model, card), card.confidence_curve, card.match_side)
        self._device = device
        self._input, self._outputs = card.input_name, card.outputs
        graphs = (companion(model, card.sample, "sampling graph"), companion(model, card.match, "matching graph"))
        self._encoder, self._sampler, self._matcher = (self._session(path) for path in (encoder, *graphs))

    def encode(self, image: NDArray[np.uint8]) -> OrtMaps:
        """Image (H, W) uint8 to three maps (h, w, C) on the device."""
        batch = (image.astype(np.float32) * np.float32(1 / 255))[None, None]
        binding = self._encoder.io_binding()
        binding.bind_cpu_input(self._input, batch)
        for name in self._outputs:
            binding.bind_output(name, self._device)
        self._encoder.run_with_iobinding(binding)
        return tuple(binding.get_outputs())

    def _sample(self, features: OrtMaps, points: FloatArray) -> FloatArray:
        return self._answer(self._sampler, features, "templates", points=points)

    def _match(self, features: OrtMaps, templates: FloatArray, centre: FloatArray) -> FloatArray:
        return self._answer(self._matcher, features, "evidence", templates=templates, centre=centre)

    def _answer(
        self, session: onnxruntime.InferenceSession, features: OrtMaps, output: str, **arrays: FloatArray
    ) -> FloatArray:
        binding = session.io_binding()
        for name, value in zip(MAPS, features, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name, array in arrays.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        binding.bind_output(output, "cpu")
        session.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0], np.float32)

    def _session(self, path: Path) -> onnxruntime.InferenceSession:
        try:
            session = onnxruntime.InferenceSession(str(path), providers=[PROVIDERS[self._device]])
        except Exception as error:  # onnxruntime raises its own unrelated classes
            raise EngineError(f"{path}: ONNX Runtime cannot load it on {self._device} ({error})") from error
        wanted = PROVIDERS[self._device][0]
        if wanted not in session.get_providers():  # it goes on with the CPU and says so in its own log only
            raise EngineError(f"{path.name}: ONNX Runtime has no {wanted} here; install its CUDA libraries")
        return session

    def close(self) -> None:
        """Drop the sessions and what they hold on the device."""
        del self._encoder, self._sampler, self._matcher
