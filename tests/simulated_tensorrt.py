"""A pretend TensorRT on a pretend CUDA: a plan is its ONNX file, run by ONNX Runtime.

It is as strict as the real one where that is cheap: addresses, shapes and the profile are checked, calls answer None or
False where the real ones do. It proves nothing about TensorRT: that is what `pytest -m gpu` is for (test_gpu.py).
"""

import ctypes
import importlib.machinery
import json
import sys
import types
from enum import Enum
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from simulated_cuda import Cudart, Device

OURS = ("rt.engine_trt", "rt.trt_runner", "rt.trt_device", "rt.trt_log", "export.trt_build")


class Plan:
    """ICudaEngine: the ONNX file and its profile."""

    def __init__(self, plan: bytes, device: Device, trt: types.ModuleType) -> None:
        head, _, body = plan.partition(b"\n")
        self.profile = {n: [tuple(s) for s in shapes] for n, shapes in json.loads(head).items()}
        graph = onnx.load_from_string(body).graph
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self.session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
        self.num_io_tensors = len(self.inputs) + len(self.outputs)
        self.device, self._trt = device, trt

    def get_tensor_name(self, k: int) -> str:
        return [*self.inputs, *self.outputs][k]

    def get_tensor_mode(self, name: str) -> Enum:
        return self._trt.TensorIOMode.INPUT if name in self.inputs else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, _name: str) -> Enum:
        return self._trt.DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, _index: int) -> list[tuple[int, ...]]:
        return self.profile[name]

    def create_execution_context(self) -> "Context":
        return Context(self)


class Context:
    """IExecutionContext."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._plan.profile[name]
        self._shapes[name] = shape
        return len(shape) == len(least) and all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))

    def infer_shapes(self) -> list[str]:
        return [name for name in self._plan.inputs if name not in self._shapes]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address % 256 == 0

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name] if name in self._shapes else self._answer(np.zeros)[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        if set(self._addresses) != {*self._plan.inputs, *self._plan.outputs}:
            return False
        self._plan.device.put(stream, self._run)
        return True

    def _run(self) -> None:
        for name, value in self._answer(lambda shape, _type, name="": None).items():
            self._plan.device.check(self._addresses[name], value.nbytes)
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)

    def _answer(self, make: Any) -> dict[str, np.ndarray]:
        given = {}
        for name, shape in self._shapes.items():
            made = make(shape, np.float32)
            given[name] = self._on_device(name, shape) if made is None else made
        return dict(zip(self._plan.outputs, self._plan.session.run(None, given), strict=True))

    def _on_device(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        n_bytes = 4 * int(np.prod(shape))
        self._plan.device.check(self._addresses[name], n_bytes)
        raw = ctypes.string_at(self._addresses[name], n_bytes)
        return np.frombuffer(raw, np.float32).reshape(shape)


def tensorrt(device: Device) -> types.ModuleType:
    """The module `tensorrt`, as much of it as we use."""
    trt = types.ModuleType("tensorrt")
    trt.__version__ = "10.12.0"  # type: ignore[attr-defined]
    for name, members in (
        ("TensorIOMode", ["INPUT", "OUTPUT"]),
        ("DataType", ["FLOAT", "HALF"]),
        ("NetworkDefinitionCreationFlag", ["STRONGLY_TYPED"]),
        ("MemoryPoolType", ["WORKSPACE"]),
        ("ProfilingVerbosity", ["DETAILED"]),
        ("BuilderFlag", ["TF32"]),
        ("LayerInformationFormat", ["JSON"]),
    ):
        setattr(trt, name, _counted(name, members))
    severities = {name: k for k, name in enumerate(("INTERNAL_ERROR", "ERROR", "WARNING"))}
    trt.ILogger = type("ILogger", (), severities | {"Severity": object})  # type: ignore[attr-defined]
    trt.IProgressMonitor = type("IProgressMonitor", (), {})  # type: ignore[attr-defined]
    for name in ("IExecutionContext", "IBuilderConfig"):
        setattr(trt, name, object)
    trt.Builder = Builder  # type: ignore[attr-defined]
    trt.OnnxParser = OnnxParser  # type: ignore[attr-defined]
    trt.Runtime = lambda log: Runtime(log, device, trt)  # type: ignore[attr-defined]
    return trt


def _counted(name: str, members: list[str]) -> Any:
    """An enumeration whose members convert to int."""
    return type(name, (), {member: k for k, member in enumerate(members)})


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, log: Any, device: Device, trt: types.ModuleType) -> None:
        self._log, self._device, self._trt = log, device, trt

    def deserialize_cuda_engine(self, plan: bytes) -> Plan | None:
        assert not self.engine_host_code_allowed
        if not plan.startswith(b"{"):
            self._log.log(0, "serialized engine has the wrong magic tag")
            return None
        return Plan(plan, self._device, self._trt)


class OnnxParser:
    def __init__(self, network: dict[str, bytes], log: Any) -> None:
        self._network = network
        self.num_errors = 0

    def parse_from_file(self, path: str) -> bool:
        with open(path, "rb") as file:
            self._network["onnx"] = file.read()
        return True


class Builder:
    def __init__(self, log: Any) -> None:
        self._log = log

    def create_network(self, _flags: int) -> dict[str, bytes]:
        return {}

    def create_builder_config(self) -> "Config":
        return Config()

    def create_optimization_profile(self) -> "Profile":
        return Profile()

    def build_serialized_network(self, network: dict[str, bytes], config: "Config") -> bytes | None:
        config.progress_monitor.phase_start("tactics", None, 1)
        config.progress_monitor.step_complete("tactics", 0)
        config.progress_monitor.phase_finish("tactics")
        inputs = {value.name for value in onnx.load_from_string(network["onnx"]).graph.input}
        if set(config.profile) != inputs:
            self._log.log(1, f"a profile for {sorted(inputs)} is wanted")
            return None
        return json.dumps(config.profile).encode() + b"\n" + network["onnx"]


class Profile(dict[str, list[tuple[int, ...]]]):
    def set_shape(self, name: str, *, min: Any, opt: Any, max: Any) -> None:
        self[name] = [min, opt, max]


class Config:
    progress_monitor: Any

    def __init__(self) -> None:
        self.profile: Profile = Profile()
        self._timings = b""

    def set_memory_pool_limit(self, _pool: Any, _n_bytes: int) -> None: ...

    def clear_flag(self, _flag: Any) -> None: ...

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, stored: bytes) -> bytes:
        return stored

    def set_timing_cache(self, cache: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._timings = cache
        return True

    def get_timing_cache(self) -> Any:
        return types.SimpleNamespace(serialize=lambda: self._timings + b".")


def install(patch: pytest.MonkeyPatch) -> Device:
    """Put the pretend modules where ours look for the real ones, until the patch is undone."""
    device = Device()
    cuda, bindings = types.ModuleType("cuda"), types.ModuleType("cuda.bindings")
    cuda.__path__, bindings.__path__ = [], []
    bindings.runtime = Cudart(device)  # type: ignore[attr-defined]
    pretend = {"tensorrt": tensorrt(device), "cuda": cuda, "cuda.bindings": bindings}
    pretend["cuda.bindings.runtime"] = bindings.runtime
    for name, module in pretend.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        patch.setitem(sys.modules, name, module)
    for name in OURS:
        patch.delitem(sys.modules, f"specktrack.{name}", raising=False)
    patch.setattr("specktrack.rt.engine_choice.GPU_DEVICES", ("/",))
    return device
