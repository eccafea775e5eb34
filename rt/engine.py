"""Engines: a loaded model behind one small protocol, chosen from an explicit table and imported lazily.

An engine turns an image into features, features into templates, and templates plus features into evidence of where
each template lies. It remembers nothing about the stream: window, anchors and prior belong to the session.
"""

import logging
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import ModelConfig
from specktrack.rt.errors import EngineError
from specktrack.rt.fusion import FusionNet
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import find_model, load_manifest
from specktrack.rt.region import Region

logger = logging.getLogger(__name__)

Features = Any  # opaque to the session: whatever `encode` returns, valid as long as it is referenced
Template = Any  # opaque: what `templates` returns for N points


class Engine(Protocol):
    """A loaded model that matches frame by frame. Used from one thread; `close` frees the device."""

    name: str  # of the engine: onnxruntime, block, ...
    model: str  # of the model: specknet-s, block, ...
    precision: str  # of the network: fp32, fp16 or bf16
    input_size: tuple[int, int]  # height, width of the image `encode` takes
    fusion: FusionNet | None  # weighs flow and evidence; None: the plain classical matcher without flow
    confidence_curve: tuple[tuple[float, float], ...]  # knots from raw to calibrated confidence, ascending

    def encode(self, image: NDArray[np.uint8]) -> Features:
        """Image (H, W) uint8 grey of `input_size` becomes features for matching."""
        ...

    def templates(self, features: Features, points: FloatArray) -> Template:
        """What the points (N, 2), engine pixels, look like in the frame of these features."""
        ...

    def evidence(self, features: Features, templates: Sequence[Template], centre: FloatArray, side: int) -> FloatArray:
        """Log evidence (K, N, S, S), float32, that each of K templates a point lies there, one pixel apart.

        centre  (N, 2) middle of each square, engine pixels; around a lost (NaN) one the evidence is zero
        side    S, odd
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


@runtime_checkable
class EncodesParts(Protocol):
    """What an engine can do besides, where half a picture costs half the time."""

    def encode_part(self, image: NDArray[np.uint8], part: Region) -> Features:
        """As Engine.encode, of features that will be asked about in this part of the image only."""
        ...


class EngineLoader(Protocol):
    """Opens one kind of engine for the configured model; raises EngineError."""

    def __call__(self, config: ModelConfig) -> Engine:
        """Open it."""
        ...


def _load_block(config: ModelConfig) -> Engine:
    from specktrack.rt.engine_block import BlockEngine

    return BlockEngine()


def _load_onnxruntime(config: ModelConfig) -> Engine:
    from specktrack.rt.engine_choice import has_gpu
    from specktrack.rt.engine_ort import OrtEngine
    from specktrack.rt.engine_ort_device import OrtDeviceEngine, has_cuda

    if has_cuda() and has_gpu():
        return OrtDeviceEngine(find_model(config.name))
    return OrtEngine(find_model(config.name), config.threads)


def _load_openvino(config: ModelConfig) -> Engine:
    from specktrack.rt.engine_openvino import open_openvino

    return open_openvino(find_model(config.name), config.threads)


def _load_torch(config: ModelConfig) -> Engine:
    from specktrack.rt.engine_torch import TorchEngine

    return TorchEngine(find_model(config.name), config.threads)


def _load_tensorrt(config: ModelConfig) -> Engine:
    from specktrack.rt.engine_trt import TensorRtEngine

    return TensorRtEngine(find_model(config.name))


LOADERS: dict[str, EngineLoader] = {
    "tensorrt": _load_tensorrt,
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
    "torch": _load_torch,
    "block": _load_block,
}
EXTRAS = {"onnxruntime": "", "tensorrt": "[trt]", "torch": "[export]", "openvino": "[openvino]"}


def open_engine(config: ModelConfig) -> Engine:
    """The engine for the configured model, checked; `auto` takes the best that runs it here. Raises EngineError."""
    if config.name == "block" or config.engine == "block":
        return _load_block(config)
    if config.engine == "auto":
        from specktrack.rt.engine_choice import open_best

        return open_best(config)
    engine = open_checked(config.engine, config)
    logger.info("engine %s runs %s in %s, as asked for", engine.name, engine.model, engine.precision)
    return engine


def open_checked(kind: str, config: ModelConfig) -> Engine:
    """An engine of this kind that has shown to find what the network finds (self_check.py). Raises EngineError."""
    from specktrack.rt.self_check import check

    try:
        engine = LOADERS[kind](config)
    except ImportError as error:
        raise EngineError(f"engine {kind}: {error}; install it with pip install specktrack{EXTRAS[kind]}") from error
    try:
        check(engine, load_manifest(find_model(config.name)))
    except BaseException:
        engine.close()
        raise
    return engine
