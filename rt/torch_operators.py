"""Operators of torch_graph.py that networks over windows of frames need beside those of an encoder and its matcher."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper
from torch import Tensor

from specktrack.rt.errors import EngineError


def _numbers(tensor: Tensor) -> list[int]:
    return [int(v) for v in tensor.reshape(-1).tolist()]


def _gather_nd(x: Tensor, index: Tensor, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise EngineError(f"GatherND with batch_dims {batch_dims}: only 0 is known")
    return x[tuple(index.unbind(-1))]


def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None = None, **how: Any) -> Tensor:
    return F.layer_norm(x, x.shape[how.get("axis", -1) :], scale, bias, how.get("epsilon", 1e-5))


def _pad(x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, mode: bytes = b"") -> Tensor:
    widths, n = _numbers(pads), x.dim()
    if mode not in (b"", b"constant") or axes is not None:
        raise EngineError("Pad: only constants around all axes are known")
    pairs = [width for k in reversed(range(n)) for width in (widths[k], widths[n + k])]
    return F.pad(x, pairs, value=0.0 if value is None else float(value))


def _resize(
    x: Tensor, _roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None, **how: Any
) -> Tensor:
    """Linear, over the last axes."""
    coordinates = how.get("coordinate_transformation_mode", b"half_pixel")
    if how.get("mode") != b"linear" or coordinates not in (b"align_corners", b"half_pixel", b"pytorch_half_pixel"):
        raise EngineError(f"Resize {how.get('mode')} {coordinates}: only linear, by corners or half pixels, is known")
    if sizes is None:
        assert scales is not None
        size = [int(old * scale) for old, scale in zip(x.shape, scales.tolist(), strict=True)]
    else:
        size = _numbers(sizes)
    kind = {3: "linear", 4: "bilinear"}[x.dim()]
    return F.interpolate(x, size[2:], mode=kind, align_corners=coordinates == b"align_corners")


def _average_pool(x: Tensor, kernel_shape: Sequence[int], strides: Sequence[int], **how: Any) -> Tensor:
    if any(how.get("pads", ())) or how.get("ceil_mode", 0):
        raise EngineError("AveragePool: padding and rounding up are not known")
    return F.avg_pool2d(x, list(kernel_shape), list(strides))


def _constant_of_shape(shape: Tensor, value: TensorProto | None = None) -> Tensor:
    fill = torch.zeros(()) if value is None else torch.from_numpy(numpy_helper.to_array(value).copy())
    return fill.reshape(()).expand(_numbers(shape)).clone()


def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_numbers(repeats))


def _einsum(*operands: Tensor, equation: bytes) -> Tensor:
    return torch.einsum(equation.decode(), *operands)


WINDOW_OPERATORS: dict[str, Callable[..., Any]] = {
    "And": torch.logical_and,
    "AveragePool": _average_pool,
    "ConstantOfShape": _constant_of_shape,
    "Cos": torch.cos,
    "Einsum": _einsum,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "GatherND": _gather_nd,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "Less": torch.lt,
    "Max": lambda *tensors: reduce(torch.maximum, tensors),
    "Neg": torch.neg,
    "Pad": _pad,
    "Resize": _resize,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Tanh": torch.tanh,
    "Tile": _tile,
    "Where": torch.where,
}
WINDOW_NUMBERS = {"ConstantOfShape": (0,), "Pad": (1, 3), "Resize": (1, 2, 3), "Tile": (1,)}
