"""ONNX to a TensorRT plan, one way for TensorRT 10.12 and later and 11: strongly typed, it runs what the file says.

The builder and its parser answer with None or False and say why in their log only, so every refusal here carries the
log's last lines. TF32 is off: products of FP32 islands keep their bits.
"""

from collections.abc import Mapping
from pathlib import Path

import tensorrt as trt
from rich.progress import Progress, TaskID

from specktrack.export.build_config import BuildConfig
from specktrack.rt.errors import EngineError
from specktrack.rt.trt_log import TrtLog

OLDEST = (10, 12)  # strong typing counts as complete from here on
MIB = 1 << 20

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]  # least, best, most of every input


class BuildBar(trt.IProgressMonitor):  # type: ignore[misc]
    """The builder's phases as progress bars."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        indent = "  " if parent_phase else ""
        self._tasks[phase_name] = self._progress.add_task(f"{indent}{phase_name}", total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; True goes on."""
        self._progress.update(self._tasks[phase_name], completed=step + 1)
        return True

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        self._progress.remove_task(self._tasks.pop(phase_name))


def check_version() -> None:
    """Raise EngineError for a TensorRT that is too old for strongly typed networks."""
    found = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if found < OLDEST:
        raise EngineError(f"TensorRT {trt.__version__} is older than 10.12; install a newer one: pip install tensorrt")


def build_plan(path: Path, profile: Profile, options: BuildConfig, cache: Path, progress: Progress) -> bytes:
    """The plan of an ONNX file for this GPU; raises EngineError with TensorRT's words.

    profile  least, best and most shape of every input
    cache    file of the timing cache, read and written where the options say so
    """
    trt_log = TrtLog()
    builder = _builder(trt_log)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, trt_log)
    if not parser.parse_from_file(str(path)):
        errors = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
        raise EngineError(f"{path.name}: TensorRT {trt.__version__} cannot read it: {errors or trt_log.reason()}")
    config = _config(builder, options, progress)
    _add_profile(builder, config, profile)
    if options.timing_cache:
        stored = cache.read_bytes() if cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(stored), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{path.name}: TensorRT {trt.__version__} built no plan: {trt_log.reason()}")
    if options.timing_cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def inspect_plan(path: Path) -> str:
    """What TensorRT says of a plan's layers, as JSON; raises EngineError when it does not fit this machine."""
    trt_log = TrtLog()
    try:
        runtime = trt.Runtime(trt_log)
    except TypeError as error:  # how TensorRT says that there is no usable GPU
        raise EngineError(f"{path}: layers are shown only on a machine with an NVIDIA GPU") from error
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"{path}: TensorRT {trt.__version__} cannot load it here ({trt_log.reason()})")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _builder(trt_log: TrtLog) -> trt.Builder:
    try:
        return trt.Builder(trt_log)
    except TypeError as error:  # how TensorRT says that there is no usable GPU
        raise EngineError(f"TensorRT {trt.__version__} finds no NVIDIA GPU it can use") from error


def _config(builder: trt.Builder, options: BuildConfig, progress: Progress) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0  # a captured graph stays on one stream
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = BuildBar(progress)
    return config


def _add_profile(builder: trt.Builder, config: trt.IBuilderConfig, profile_of: Profile) -> None:
    profile = builder.create_optimization_profile()
    for tensor, (least, best, most) in profile_of.items():
        profile.set_shape(tensor, min=least, opt=best, max=most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses the profile {dict(profile_of)}")
