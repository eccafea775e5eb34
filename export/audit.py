"""Reads a finished ONNX file and refuses what a device would compute wrongly without a word; errors name the node.

- Opset 16 to 19: from 20 on GridSample's `bilinear` is called `linear`, which TensorRT's parser takes for nearest.
- Whatever is sensitive (norms' statistics, powers, softmax, sampling) is FP32, and so is every input and output.
- Coordinates are FP32. Which values are coordinates is read from the graph, not from names: inputs and outputs said to
  be coordinates, and whatever index arithmetic and sampling read, followed through every operator that moves or
  shifts a coordinate, up to the ones that make features of it (convolutions, matrix products) or compare it.

The precision plan (half.py) never enters here, so a wrong plan is found.
"""

from collections.abc import Iterable, Sequence

from onnx import ModelProto, NodeProto, TensorProto

from specktrack.export.half import element_types
from specktrack.rt.errors import InputError

OPSETS = (16, 17, 18, 19)
_SENSITIVE = (
    "Softmax LogSoftmax Pow Log Exp Sqrt Reciprocal ReduceSum ReduceMean ReduceL1 ReduceL2 ReduceSumSquare "
    "ReduceLogSumExp InstanceNormalization LayerNormalization GroupNormalization BatchNormalization "
    "LpNormalization GridSample CumSum Floor Ceil Round Resize Sin Cos"
)
SENSITIVE = frozenset(_SENSITIVE.split())
FORBIDDEN = frozenset({"Loop", "If", "Scan", "AffineGrid", "Col2Im", "Unique", "QuantizeLinear", "DequantizeLinear"})
# Where a coordinate ends: its value is turned into features, or only compared.
_ENDS = (
    "Conv ConvTranspose Gemm MatMul Einsum Softmax GridSample Relu Gelu Erf Sigmoid Tanh Sin Cos Less Greater "
    "LessOrEqual GreaterOrEqual Equal IsNaN Shape InstanceNormalization LayerNormalization GroupNormalization"
)
ENDS = frozenset(_ENDS.split())
INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def audit(model: ModelProto, *, coordinates: Sequence[str] = (), is_half_allowed: bool = True) -> None:
    """Raise InputError, naming the node, where the file breaks a rule of this module.

    coordinates      names of inputs and outputs that hold coordinates
    is_half_allowed  False: nothing at all may be FP16, as in the matching graphs
    """
    nodes = model.graph.node
    _check_operators(model)
    types = element_types(model)
    half = {name for name, kind in types.items() if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16)}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in half:
            raise InputError(f"{value.name}: an input or output in half precision; it must be FP32")
    on_path = coordinate_values(model, types, coordinates)
    for node in nodes:
        is_sensitive = node.op_type in SENSITIVE
        for name in (*node.input, *node.output):
            if name in half and (is_sensitive or not is_half_allowed or name in on_path):
                why = "a coordinate" if name in on_path else "FP32 by rule"
                raise InputError(f"node {node.name} ({node.op_type}): {name} is FP16 and {why}; correct the plan")


def half_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that compute in half precision."""
    types = element_types(model)
    return [n.name for n in model.graph.node if any(types.get(name) == TensorProto.FLOAT16 for name in n.output)]


def _check_operators(model: ModelProto) -> None:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise InputError(f"node {node.name}: {node.op_type} is of the foreign domain {node.domain}")
        if node.op_type in FORBIDDEN:
            raise InputError(f"node {node.name}: {node.op_type} must not be in an exported network")
        mode = next((a.s.decode() for a in node.attribute if a.name == "mode"), "bilinear")
        if node.op_type == "GridSample" and (version not in OPSETS or mode != "bilinear"):
            raise InputError(
                f"node {node.name}: GridSample {mode} of opset {version} runs as nearest in TensorRT; use opset 18"
            )
    if version not in OPSETS:
        raise InputError(f"opset {version}: expected {OPSETS[0]} to {OPSETS[-1]}; export again at opset 18")


def coordinate_values(model: ModelProto, types: dict[str, int], names: Iterable[str]) -> set[str]:
    """Every value on the path of a coordinate: behind the outputs and positions read, ahead of the inputs."""
    graph = model.graph
    inputs, outputs = ({value.name for value in values} for values in (graph.input, graph.output))
    unknown = set(names) - inputs - outputs
    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: no such input or output of the graph")
    behind = {name for name in names if name in outputs}
    behind.update(name for node in graph.node for name in _positions_read(node, types))
    for node in reversed(graph.node):
        if node.op_type not in ENDS and behind.intersection(node.output):
            behind.update(_carried(node, types))
    ahead = {name for name in names if name in inputs}
    ends = _values_that_end(model)
    for node in graph.node:
        if node.op_type not in ENDS and ahead.intersection(_carried(node, types)):
            ahead.update(name for name in node.output if name not in ends)
    return behind | ahead


def _values_that_end(model: ModelProto) -> set[str]:
    """Casts that only a layer reads: there a coordinate becomes a feature, which may be half."""
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    casts = [node.output[0] for node in model.graph.node if node.op_type == "Cast"]
    return {name for name in casts if readers.get(name) and ENDS.issuperset(readers[name])}


def _positions_read(node: NodeProto, types: dict[str, int]) -> list[str]:
    """Inputs that are positions by what the node does with them."""
    if node.op_type == "GridSample":
        return [node.input[1]]
    is_to_integer = node.op_type == "Cast" and types[node.output[0]] in INTEGERS
    return [node.input[0]] if is_to_integer or node.op_type == "Floor" else []


def _carried(node: NodeProto, types: dict[str, int]) -> list[str]:
    """Floating inputs whose values go on in the output."""
    return [name for name in node.input if name and types.get(name) not in (*INTEGERS, TensorProto.BOOL)]
