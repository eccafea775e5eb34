"""A TensorRT plan that answers: buffers at fixed places, a context and a CUDA graph for each set of shapes.

A set of shapes is run once eagerly, captured, then replayed over outputs filled with NaN and compared: that finds
captures that came out empty and addresses that have gone stale. Plans with host code in them are never allowed.
"""

from collections.abc import Mapping

import numpy as np
import tensorrt as trt

from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.trt_device import CudaGraph, CudaStream, DeviceBuffer
from specktrack.rt.trt_log import TrtLog

REPLAY_TOLERANCE = 1e-3
MOST_SHAPES = 12  # sets of shapes kept; a stream needs three or four

Shape = tuple[int, ...]
Shapes = tuple[tuple[str, Shape], ...]  # of the inputs, by name


class PlanRunner:
    """One plan on one stream; one thread."""

    def __init__(self, plan: bytes, name: str, stream: CudaStream, trt_log: TrtLog) -> None:
        """Raises EngineError, with TensorRT's words, for a plan that does not fit this machine."""
        self._name = name
        self._stream = stream
        self._log = trt_log
        runtime = trt.Runtime(trt_log)
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineError(f"{name}: TensorRT {trt.__version__} cannot load it here ({trt_log.reason()}); build it "
                              "again on this machine with export-trt")  # fmt: skip
        self._runtime = runtime
        self._engine = engine
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        self.inputs = tuple(n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT)
        self.outputs = tuple(n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT)
        for tensor in names:
            if engine.get_tensor_dtype(tensor) != trt.DataType.FLOAT:
                raise EngineError(f"{name}: {tensor} is not FP32 at the border; export the model again")
        self._captures: dict[Shapes, _Capture] = {}
        self._current: _Capture | None = None
        self.buffers = {n: DeviceBuffer(4 * int(np.prod(s))) for n, s in self._largest().items()}

    def limits(self, tensor: str) -> tuple[Shape, Shape, Shape]:
        """Least, best and largest shape of an input, as the plan was built."""
        least, best, most = self._engine.get_tensor_profile_shape(tensor, 0)
        return tuple(least), tuple(best), tuple(most)

    def run(self, given: Mapping[str, FloatArray | tuple[DeviceBuffer, Shape]]) -> None:
        """Answer inputs that lie on the host (contiguous float32) or in buffers of the device."""
        shapes = tuple((n, v.shape if isinstance(v, np.ndarray) else v[1]) for n, v in given.items())
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                self._stream.upload(self.buffers[name], value)
            else:
                self._stream.move(self.buffers[name], value[0], 4 * int(np.prod(value[1])))
        if shapes not in self._captures:
            if len(self._captures) >= MOST_SHAPES:
                self._captures.pop(next(iter(self._captures))).close()
            self._captures[shapes] = self._captured(shapes)
        self._current = self._captures[shapes]
        self._current.graph.launch()

    def shape_of(self, output: str) -> Shape:
        """Of an output of the last run."""
        assert self._current is not None
        return self._current.shapes[output]

    def answer(self, output: str) -> FloatArray:
        """An output of the last run, on the host."""
        return self._stream.download(self.buffers[output], self.shape_of(output))

    def close(self) -> None:
        """Free contexts, then the engine, then the runtime: the order TensorRT wants."""
        for capture in self._captures.values():
            capture.close()
        self._captures.clear()
        self._current = None
        del self._engine, self._runtime
        for buffer in self.buffers.values():
            buffer.free()

    def _largest(self) -> dict[str, Shape]:
        context = self._context(tuple((n, self.limits(n)[2]) for n in self.inputs))
        return {n: tuple(context.get_tensor_shape(n)) for n in (*self.inputs, *self.outputs)}

    def _context(self, shapes: Shapes) -> trt.IExecutionContext:
        """An execution context with these shapes set; raises EngineError when one is outside the plan's profile."""
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(f"{self._name}: no memory left on the GPU ({self._log.reason()})")
        for tensor, shape in shapes:
            if not context.set_input_shape(tensor, shape):
                least, _, most = self.limits(tensor)
                raise EngineError(
                    f"{self._name}: {tensor} {shape} is outside what the plan was built for, {least} to {most}; "
                    "build it again with a wider --points"
                )
        if context.infer_shapes():
            raise EngineError(f"{self._name}: shapes are missing ({self._log.reason()})")
        return context

    def _captured(self, shapes: Shapes) -> "_Capture":
        context = self._context(shapes)
        for tensor, buffer in self.buffers.items():
            context.set_tensor_address(tensor, buffer.address)
        self._enqueue(context)
        made = {n: tuple(context.get_tensor_shape(n)) for n in self.outputs}
        eager = {n: self._stream.download(self.buffers[n], shape) for n, shape in made.items()}
        self._stream.begin_capture()
        try:
            self._enqueue(context)
        finally:
            graph = self._stream.end_capture()
        capture = _Capture(context, graph, made)
        self._compare(capture, eager)
        return capture

    def _enqueue(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self._name}: TensorRT did not run it ({self._log.reason()})")

    def _compare(self, capture: "_Capture", eager: Mapping[str, FloatArray]) -> None:
        """Replay over poisoned outputs; raises EngineError when the answer is not the eager one."""
        for name in self.outputs:
            self._stream.poison(self.buffers[name])
        capture.graph.launch()
        for name, wanted in eager.items():
            found = self._stream.download(self.buffers[name], capture.shapes[name])
            worst = float(np.abs(found - wanted).max())
            if not worst <= REPLAY_TOLERANCE:
                raise EngineError(f"{self._name}: its CUDA graph answers {name} {worst:.3g} off the eager run")


class _Capture:
    """A context with its shapes and the graph recorded from it."""

    def __init__(self, context: trt.IExecutionContext, graph: CudaGraph, shapes: dict[str, Shape]) -> None:
        self._context = context
        self.graph = graph
        self.shapes = shapes

    def close(self) -> None:
        """Free the graph, then the context."""
        self.graph.close()
        del self._context
