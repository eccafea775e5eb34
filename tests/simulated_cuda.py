"""A pretend CUDA over host memory, for the host's side of the work where there is no device.

Work on a stream is done only when someone waits, so memory given back too early is seen; between begin and end of a
capture nothing runs; every copy must lie on the device. With simulated_tensorrt.py it stands in for a GPU.
"""

import ctypes
import types
from collections.abc import Callable
from enum import Enum
from typing import Any

Work = Callable[[], None]


class Error(Enum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorIllegalAddress = 700  # noqa: N815


class Device:
    """Memory and streams; `captures_nothing` makes every recorded graph empty, as a wrong device once did."""

    def __init__(self) -> None:
        self.memory: dict[int, tuple[Any, int]] = {}
        self.queues: dict[int, list[Work]] = {}
        self.recordings: dict[int, list[Work]] = {}
        self.captures_nothing = False
        self.n_launches = 0

    def put(self, stream: int, work: Work) -> None:
        self.recordings[stream].append(work) if stream in self.recordings else self.queues[stream].append(work)

    def check(self, address: int, n_bytes: int) -> None:
        if not any(start <= address and address + n_bytes <= start + size for start, (_, size) in self.memory.items()):
            raise MemoryError(f"address {address} is not on the device")


class Cudart(types.ModuleType):
    """cuda.bindings.runtime, as much of it as we call."""

    cudaError_t = Error  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaMemcpyKind = Enum(  # noqa: N815
        "cudaMemcpyKind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice"]
    )
    cudaStreamCaptureMode = Enum("cudaStreamCaptureMode", ["cudaStreamCaptureModeThreadLocal"])  # noqa: N815

    def __init__(self, device: Device) -> None:
        super().__init__("cuda.bindings.runtime")
        self.device = device

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)
        made = getattr(self, f"_{name.removeprefix('cuda').lower()}")

        def call(*arguments: Any) -> tuple[Any, ...]:
            value = made(*arguments)
            return (Error.cudaSuccess,) if value is None else (Error.cudaSuccess, value)

        return call

    def _setdevice(self, index: int) -> None:
        assert index == 0

    def _getdeviceproperties(self, _index: int) -> Any:
        return types.SimpleNamespace(name=b"Pretend GPU\0", major=8, minor=6)

    def _drivergetversion(self) -> int:
        return 12080

    def _malloc(self, n_bytes: int) -> int:
        raw = ctypes.create_string_buffer(n_bytes + 256)
        address = (ctypes.addressof(raw) + 255) // 256 * 256
        self.device.memory[address] = raw, n_bytes
        return address

    def _free(self, address: int) -> None:
        del self.device.memory[address]

    def _streamcreatewithflags(self, _flags: int) -> int:
        stream = len(self.device.queues) + 1
        self.device.queues[stream] = []
        return stream

    def _streamdestroy(self, stream: int) -> None:
        self.device.queues.pop(stream)

    def _memcpyasync(self, target: int, source: int, n_bytes: int, kind: Enum, stream: int) -> None:
        for address, word in ((source, "DeviceTo"), (target, "ToDevice")):
            if word in kind.name:
                self.device.check(address, n_bytes)
        self.device.put(stream, lambda: ctypes.memmove(target, source, n_bytes) and None)

    def _memsetasync(self, target: int, value: int, n_bytes: int, stream: int) -> None:
        self.device.put(stream, lambda: ctypes.memset(target, value, n_bytes) and None)

    def _streamsynchronize(self, stream: int) -> None:
        assert stream not in self.device.recordings, "waiting is not allowed while a capture runs"
        queue = self.device.queues[stream]
        while queue:
            queue.pop(0)()

    def _streambegincapture(self, stream: int, _mode: Enum) -> None:
        self.device.recordings[stream] = []

    def _streamendcapture(self, stream: int) -> list[Work]:
        recorded = self.device.recordings.pop(stream)
        return [] if self.device.captures_nothing else recorded

    def _graphinstantiate(self, graph: list[Work], _flags: int) -> list[Work]:
        return list(graph)

    def _graphlaunch(self, runnable: list[Work], stream: int) -> None:
        self.device.n_launches += 1
        self.device.queues[stream].extend(runnable)

    def _graphdestroy(self, _graph: list[Work]) -> None: ...

    def _graphexecdestroy(self, runnable: list[Work]) -> None:
        runnable.clear()
