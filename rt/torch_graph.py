"""An exported ONNX graph run by torch, operator by operator: the precision is the file's, cast by cast.

Everything that depends on shapes and constants alone is worked out at the first run with these shapes and kept, so a
later run is kernels only and can be captured as a CUDA graph. On a CPU half-precision layers compute in FP32 and
round, which is what tensor cores with FP32 accumulation do.

Imported only by the torch engine and by the export's parity check.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from specktrack.rt.errors import EngineError
from specktrack.rt.torch_operators import WINDOW_NUMBERS, WINDOW_OPERATORS

DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


@dataclass(frozen=True)
class _Step:
    """One node: what to call, what it reads and writes."""

    name: str
    run: Callable[..., Any]
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reads_numbers: tuple[int, ...]  # inputs that are shapes or axes: kept on the host


class TorchGraph:
    """A loaded graph; call it with one tensor for each input, by name."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises EngineError for an operator that is not known here."""
        graph = onnx.load(str(path)).graph
        self.inputs = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        self._device = device
        self._constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self._steps = [_step(node, path) for node in graph.node]
        self._last_reads = _last_reads(self._steps, self.outputs)
        self._worked_out: dict[tuple[tuple[int, ...], ...], dict[str, Tensor]] = {}
        self._on_device: dict[tuple[int, str], Tensor] = {}

    def __call__(self, **given: Tensor) -> list[Tensor]:
        """The outputs in the order of `outputs`; inputs lie on the device."""
        shapes = tuple(tuple(given[name].shape) for name in self.inputs)
        if shapes not in self._worked_out:
            self._worked_out[shapes] = dict(self._constants)
        fixed = self._worked_out[shapes]
        values: dict[str, Tensor] = dict(given)
        with torch.no_grad():
            for step, done in zip(self._steps, self._last_reads, strict=True):
                self._run(step, values, fixed)
                for name in done:  # a window tracker's intermediate values together would fill the memory
                    values.pop(name, None)
        return [values[name] if name in values else self._moved(fixed, name) for name in self.outputs]

    def _run(self, step: _Step, values: dict[str, Tensor], fixed: dict[str, Tensor]) -> None:
        if step.outputs[0] in fixed:
            return
        is_fixed = step.run is _shape or all(name in fixed or not name for name in step.inputs)
        read = [self._read(step, k, is_fixed, values, fixed) for k in range(len(step.inputs))]
        made = step.run(*read, **step.attributes)
        target = fixed if is_fixed else values
        for name, value in zip(step.outputs, made if isinstance(made, (list, tuple)) else (made,), strict=True):
            target[name] = value

    def _read(
        self, step: _Step, k: int, is_fixed: bool, values: Mapping[str, Tensor], fixed: dict[str, Tensor]
    ) -> Tensor | None:
        name = step.inputs[k]
        if not name:
            return None
        if name in values:
            return values[name]
        return fixed[name] if is_fixed or k in step.reads_numbers else self._moved(fixed, name)

    def _moved(self, fixed: dict[str, Tensor], name: str) -> Tensor:
        """A fixed value on the device, copied once."""
        key = (id(fixed), name)
        if key not in self._on_device:
            self._on_device[key] = fixed[name].to(self._device)
        return self._on_device[key]


def _last_reads(steps: Sequence[_Step], outputs: Sequence[str]) -> list[tuple[str, ...]]:
    """For each step the values that nobody reads after it."""
    seen = set(outputs)
    found = []
    for step in reversed(steps):
        touched = {*step.inputs, *step.outputs}
        found.append(tuple(touched - seen))
        seen |= touched
    return found[::-1]


def _step(node: onnx.NodeProto, path: Path) -> _Step:
    if node.op_type not in OPERATORS:
        raise EngineError(f"{path.name}: node {node.name}: operator {node.op_type} is not known to the torch engine")
    run = OPERATORS[node.op_type]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    outputs = tuple(node.output)
    if node.op_type == "Split":
        attributes["n_outputs"] = len(outputs)
    return _Step(node.name, run, attributes, tuple(node.input), outputs, NUMBERS.get(node.op_type, ()))


def _numbers(tensor: Tensor | None) -> list[int]:
    return [] if tensor is None else [int(v) for v in tensor.reshape(-1).tolist()]


def _shape(x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


def _in_fp32(layer: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    """A layer in the type of its first input; half on a CPU is computed in FP32 and rounded."""
    first = tensors[0]
    assert first is not None
    if first.dtype != torch.float16 or first.is_cuda:
        return layer(*tensors)
    return layer(*(None if t is None else t.float() for t in tensors)).half()


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, **how: Any) -> Tensor:
    n = weight.dim() - 2
    pads, group = how.get("pads", [0] * 2 * n), how.get("group", 1)
    strides, dilations = how.get("strides", [1] * n), how.get("dilations", [1] * n)
    layer = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[n]
    if list(pads[:n]) != list(pads[n:]):
        x = F.pad(x, [p for k in reversed(range(n)) for p in (pads[k], pads[n + k])])
        pads = [0] * 2 * n
    return _in_fp32(lambda a, w, b: layer(a, w, b, strides, pads[:n], dilations, group), x, weight, bias)


def _gather(x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    axis %= x.dim()
    index = torch.where(index < 0, index + x.shape[axis], index)
    found = x.index_select(axis, index.reshape(-1))
    return found.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:
    wanted = _numbers(shape)
    return x.reshape([x.shape[k] if n == 0 and not allowzero else n for k, n in enumerate(wanted)])


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    numbers = _numbers(axes)
    for axis in sorted(a % (x.dim() + len(numbers)) for a in numbers):
        x = x.unsqueeze(axis)
    return x


def _squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_numbers(axes)))


def _sum(x: Tensor, axes: Tensor | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return x.sum(tuple(_numbers(axes)) or tuple(range(x.dim())), keepdim=bool(keepdims))


def _length(x: Tensor, axes: Tensor, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    return torch.linalg.vector_norm(x, dim=_numbers(axes), keepdim=bool(keepdims))


def _split(
    x: Tensor, sizes: Tensor | None = None, *, n_outputs: int, num_outputs: int = 0, axis: int = 0
) -> Sequence[Tensor]:
    return torch.chunk(x, n_outputs, axis) if sizes is None else torch.split(x, _numbers(sizes), axis)


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first, last = _numbers(starts), _numbers(ends)
    where, by = _numbers(axes) or list(range(len(first))), _numbers(steps) or [1] * len(first)
    for axis, low, high, step in zip(where, first, last, by, strict=True):
        cut = [slice(None)] * x.dim()
        size = x.shape[axis]  # "to the end" is a very large number
        cut[axis] = slice(max(low, -size), min(high, size), step)
        x = x[tuple(cut)]
    return x


def _div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _cast(x: Tensor, to: int, **_: Any) -> Tensor:
    return x.to(DTYPES[to])


def _transpose(x: Tensor, perm: Sequence[int]) -> Tensor:
    return x.permute(*perm)


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    wanted = _numbers(shape)
    before = (1,) * (len(wanted) - x.dim()) + tuple(x.shape)
    return x.expand([old if new == 1 else new for old, new in zip(before[-len(wanted) :], wanted, strict=True)])


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Expand": _expand,
    "Floor": torch.floor,
    "Gather": _gather,
    "Identity": lambda x: x,
    "Log": torch.log,
    "MatMul": lambda a, b: _in_fp32(torch.matmul, a, b),
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "Reciprocal": torch.reciprocal,
    "ReduceL2": _length,
    "ReduceSum": _sum,
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    **WINDOW_OPERATORS,
}
# By operator: the inputs that are shapes, axes or sizes.
NUMBERS = {
    "Expand": (1,),
    "ReduceL2": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    **WINDOW_NUMBERS,
}
