"""What `auto` takes, and says why.

On an NVIDIA GPU the first of TensorRT (where a plan for it exists) and torch that opens and finds what the network
finds. On a CPU, ONNX Runtime, or OpenVINO where it is installed and encodes clearly faster: which of them is faster
differs from CPU to CPU, so it is measured once and remembered.
"""

import logging
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from specktrack.rt.cache import processor, recall, remember
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import Engine, open_checked
from specktrack.rt.errors import EngineError
from specktrack.rt.manifest import file_sha256, find_model, load_manifest
from specktrack.rt.plan_cache import has_plan

log = logging.getLogger(__name__)

# Of NVIDIA's drivers on a workstation, on Jetsons, and under WSL: looking costs nothing, importing torch seconds.
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvgpu", "/dev/nvhost-gpu", "/dev/dxg")
PLAN_SUFFIXES = (".plan", ".engine")
ROUNDS = 9
CLEARLY = 0.9  # of ONNX Runtime's time, or less, to be taken instead


def open_best(config: ModelConfig) -> Engine:
    """The best engine for the configured model here; raises EngineError when none can run it."""
    passed_over = []
    for kind in ("tensorrt", "torch"):
        reason = gpu_lack(kind, config)
        engine = None if reason else _opened(kind, config)
        if engine is not None:
            return _said(engine, "an NVIDIA GPU is at hand")
        passed_over.append(f"{kind}: {reason or 'refused, see above'}")
    if config.name.endswith(PLAN_SUFFIXES):
        raise EngineError(
            f"{config.name}: a TensorRT plan runs on TensorRT only ({passed_over[0]}); name an ONNX model"
        )
    engine, why = _best_of_cpu(config)
    return _said(engine, "; ".join([*passed_over, why]))


def has_gpu() -> bool:
    """Whether this machine shows an NVIDIA GPU; whether it works is seen when an engine opens."""
    return any(Path(device).exists() for device in GPU_DEVICES)


def gpu_lack(kind: str, config: ModelConfig) -> str | None:
    """What is missing for an engine of a GPU, or None."""
    if not has_gpu():
        return "no NVIDIA GPU"
    if find_spec(kind) is None:
        return f"{kind} is not installed"
    is_plan = config.name.endswith(PLAN_SUFFIXES)
    if kind == "tensorrt" and not is_plan and not has_plan(load_manifest(find_model(config.name))):
        return f"no plan was built, export-trt {config.name} builds one"
    return "runs no TensorRT plan" if kind == "torch" and is_plan else None


def _best_of_cpu(config: ModelConfig) -> tuple[Engine, str]:
    """ONNX Runtime or OpenVINO; once it is known which is faster here, only that one is opened."""
    if find_spec("openvino") is None:
        return open_checked("onnxruntime", config), "openvino: not installed"
    versions = {name: version(name) for name in ("openvino", "onnxruntime")}
    key = {
        "model": file_sha256(find_model(config.name)),
        "cpu": processor(),
        "threads": str(config.threads),
        "gpu": str(has_gpu()),
        **versions,
    }
    known = recall("encode_time", key)
    if known is None:
        return _measured_best(config, key)
    share = float(known["share"])
    chosen = _opened("openvino", config) if share <= CLEARLY else None
    return chosen or open_checked("onnxruntime", config), _share_said(share)


def _measured_best(config: ModelConfig, key: dict[str, str]) -> tuple[Engine, str]:
    default = open_checked("onnxruntime", config)
    other = _opened("openvino", config)
    if other is None:
        return default, "openvino: refused, see above"
    share = _interleaved(other, default)
    remember("encode_time", key, {"share": share})
    chosen, dropped = (other, default) if share <= CLEARLY else (default, other)
    dropped.close()
    return chosen, _share_said(share)


def _share_said(share: float) -> str:
    return f"openvino encodes in {share:.2f} of the time of onnxruntime"


def _interleaved(other: Engine, default: Engine) -> float:
    """Ratio of medians; round about, so that what else the machine does falls on both."""
    image = np.random.default_rng(0).integers(0, 256, default.input_size, np.uint8)
    times: dict[str, list[float]] = {other.name: [], default.name: []}
    for _ in range(ROUNDS):
        for engine in (other, default):
            started = time.perf_counter()
            engine.encode(image)
            times[engine.name].append(time.perf_counter() - started)
    return float(np.median(times[other.name]) / np.median(times[default.name]))


def _opened(kind: str, config: ModelConfig) -> Engine | None:
    try:
        return open_checked(kind, config)
    except EngineError as error:
        log.warning("%s", error)
        return None


def _said(engine: Engine, why: str) -> Engine:
    log.info("engine %s runs %s in %s (auto: %s)", engine.name, engine.model, engine.precision, why)
    return engine
