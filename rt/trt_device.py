"""The few CUDA calls a plan needs, by NVIDIA's bindings: memory, a stream, graphs. A failure is an EngineError."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart

from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray

ALIGNMENT = 256  # bytes; cudaMalloc gives no less
POISON = 0xFF  # four such bytes are NaN


def called(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call, or EngineError with CUDA's words."""
    error, *values = result
    if error != cudart.cudaError_t.cudaSuccess:
        _, text = cudart.cudaGetErrorString(error)
        said = text.decode() if isinstance(text, bytes) else str(error)
        raise EngineError(f"CUDA: {said}; check the driver with nvidia-smi, or use the engine onnxruntime")
    return values[0] if len(values) == 1 else tuple(values)


@dataclass(frozen=True)
class Gpu:
    """Which GPU and driver a plan is for."""

    name: str
    compute_capability: str
    driver: str

    @staticmethod
    def here(index: int = 0) -> "Gpu":
        """The GPU of this process; raises EngineError where there is none."""
        called(cudart.cudaSetDevice(index))
        facts = called(cudart.cudaGetDeviceProperties(index))
        name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
        return Gpu(name.strip("\0 "), f"{facts.major}.{facts.minor}", str(called(cudart.cudaDriverGetVersion())))


class DeviceBuffer:
    """Memory on the GPU, aligned, freed with the object."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.address = 0
        self.address = int(called(cudart.cudaMalloc(max(n_bytes, ALIGNMENT))))
        assert self.address % ALIGNMENT == 0

    def free(self) -> None:
        """Give the memory back; safe to call twice."""
        if self.address:
            cudart.cudaFree(self.address)
            self.address = 0

    def __del__(self) -> None:
        self.free()


class CudaStream:
    """A stream of its own: TensorRT on the default stream waits for everything else."""

    def __init__(self) -> None:
        self._stream = called(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))

    @property
    def handle(self) -> int:
        """For TensorRT."""
        return int(self._stream)

    def upload(self, buffer: DeviceBuffer, values: FloatArray) -> None:
        """Copy a contiguous array to the start of a buffer; the array must live until `wait`."""
        self._copy(buffer.address, values.ctypes.data, values.nbytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, buffer: DeviceBuffer, shape: tuple[int, ...]) -> FloatArray:
        """The start of a buffer as an array of this shape; waits."""
        values = np.empty(shape, np.float32)
        self._copy(values.ctypes.data, buffer.address, values.nbytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)
        self.wait()
        return values

    def move(self, target: DeviceBuffer, source: DeviceBuffer, n_bytes: int) -> None:
        """Copy within the GPU."""
        self._copy(target.address, source.address, n_bytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def poison(self, buffer: DeviceBuffer) -> None:
        """Fill a buffer with NaN."""
        called(cudart.cudaMemsetAsync(buffer.address, POISON, buffer.n_bytes, self._stream))

    def wait(self) -> None:
        """Until all that was asked is done."""
        called(cudart.cudaStreamSynchronize(self._stream))

    def begin_capture(self) -> None:
        """What follows is recorded, not run; other threads may go on using CUDA."""
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        called(cudart.cudaStreamBeginCapture(self._stream, mode))

    def end_capture(self) -> "CudaGraph":
        """What was recorded."""
        return CudaGraph(called(cudart.cudaStreamEndCapture(self._stream)), self._stream)

    def close(self) -> None:
        """Give the stream back."""
        cudart.cudaStreamDestroy(self._stream)

    def _copy(self, target: int, source: int, n_bytes: int, kind: Any) -> None:
        called(cudart.cudaMemcpyAsync(target, source, n_bytes, kind, self._stream))


class CudaGraph:
    """Recorded work; `launch` runs it with one call."""

    def __init__(self, graph: Any, stream: Any) -> None:
        self._stream = stream
        self._graph = graph
        self._runnable = called(cudart.cudaGraphInstantiate(graph, 0))

    def launch(self) -> None:
        """Run it on its stream."""
        called(cudart.cudaGraphLaunch(self._runnable, self._stream))

    def close(self) -> None:
        """Free it."""
        cudart.cudaGraphExecDestroy(self._runnable)
        cudart.cudaGraphDestroy(self._graph)
