"""FP32 ONNX becomes a strongly typed FP16 ONNX: what is heavy in half precision, named islands in FP32.

How it works, for any network: every node is FP32 unless the plan lets it be half.
- `compute` operators (convolutions, matrix products) are half: they take nearly all the time and their sums of
  products are accumulated in FP32 by the hardware.
- `follow` operators (activations, additions, reshapes) are half where everything they read is half already; a product
  of a value with itself is not: squares overflow above 256.
- everything else is FP32: norms' statistics, powers, softmax, sampling, index arithmetic. Coordinates enter as FP32
  inputs, so sums and differences with them stay FP32 without being named.
- `islands` are patterns (`fnmatch`) of node or output names that stay FP32 whatever they are.

Casts stand where the two meet. Inputs and outputs of the graph keep their types. TensorRT runs what the file says, so
the file is the precision plan; `audit.py` reads it back from the finished file, by other rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from specktrack.rt.errors import InputError

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_FOLLOW = (
    "Relu LeakyRelu PRelu Sigmoid Tanh Erf Gelu Clip Add Sub Mul Concat Reshape Transpose Slice Split Pad Unsqueeze "
    "Squeeze Flatten Expand Gather DepthToSpace SpaceToDepth Identity MaxPool AveragePool"
)
FOLLOW = frozenset(_FOLLOW.split())
# By position: inputs that are never of the type the node computes in, although they may be floating.
FIXED_INPUTS = {"Resize": (1, 2)}
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class PrecisionPlan:
    """What may be half precision; see the module."""

    islands: tuple[str, ...] = ()  # patterns of node names or output names that stay FP32
    compute: frozenset[str] = COMPUTE
    follow: frozenset[str] = FOLLOW

    def is_island(self, node: NodeProto) -> bool:
        """Whether the node was named as FP32."""
        names = (node.name, *node.output)
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.islands)


def to_half(model: ModelProto, plan: PrecisionPlan) -> ModelProto:
    """A copy of an FP32 model with half precision where the plan allows it; the model is left as it is.

    Raises InputError, naming the node or weight, for a graph with branches, for weights beyond the range of FP16, and
    for an island that names nothing.
    """
    _refuse_branches(model)
    _refuse_idle_islands(model, plan)
    return _Rewriter(model, plan).run()


def element_types(model: ModelProto) -> dict[str, int]:
    """Element type of every value of the graph, by name; raises InputError where one cannot be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {t.name: t.data_type for t in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    for node in inferred.node:
        for name in node.output:
            if name and name not in types:
                raise InputError(f"node {node.name}: the type of its output {name} cannot be inferred")
    return types


def _refuse_branches(model: ModelProto) -> None:
    for node in model.graph.node:
        if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise InputError(f"node {node.name}: {node.op_type} holds a graph of its own; unroll it before the export")


def _refuse_idle_islands(model: ModelProto, plan: PrecisionPlan) -> None:
    names = [name for node in model.graph.node for name in (node.name, *node.output)]
    for pattern in plan.islands:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"island {pattern}: no node or value has such a name; correct the precision plan")


class _Rewriter:
    """One pass over the nodes in their order, which is topological."""

    def __init__(self, model: ModelProto, plan: PrecisionPlan) -> None:
        self._types = element_types(model)  # as they were
        self._model = ModelProto()
        self._model.CopyFrom(model)
        self._plan = plan
        self._constants = constants_to_initializers(self._model)
        self._types.update({name: t.data_type for name, t in self._constants.items()})
        self._half: set[str] = set()  # values that are half now
        self._made: dict[tuple[str, int], str] = {}  # casts and converted constants
        self._nodes: list[NodeProto] = []

    def run(self) -> ModelProto:
        graph = self._model.graph
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            self._place(node, outputs)
        del graph.node[:]
        graph.node.extend(self._nodes)
        del graph.value_info[:]  # types of before
        _drop_unused(graph)
        onnx.checker.check_model(self._model, full_check=True)
        return self._model

    def _place(self, node: NodeProto, outputs: set[str]) -> None:
        if node.op_type == "Cast":  # reads any type, and says itself what it writes
            self._nodes.append(node)
            return
        is_half = self._may_be_half(node)
        for k, name in self._floating(node):
            node.input[k] = self._as(name, TensorProto.FLOAT16 if is_half else TensorProto.FLOAT)
        self._nodes.append(node)
        if not is_half:
            return
        for k, name in enumerate(node.output):
            if name in outputs:
                node.output[k] = f"{name}/half"
                self._nodes.append(_cast(node.output[k], name, TensorProto.FLOAT))
            self._half.add(node.output[k])

    def _floating(self, node: NodeProto) -> Iterator[tuple[int, str]]:
        for k, name in enumerate(node.input):
            if name and k not in FIXED_INPUTS.get(node.op_type, ()) and self._types[name] == TensorProto.FLOAT:
                yield k, name

    def _may_be_half(self, node: NodeProto) -> bool:
        read = [name for _, name in self._floating(node)]
        if not read or self._plan.is_island(node):
            return False
        if node.op_type in self._plan.compute:
            return True
        moving = [name for name in read if name not in self._constants]
        is_square = node.op_type == "Mul" and len(set(moving)) < len(moving)
        is_follower = node.op_type in self._plan.follow or (node.op_type == "Div" and read[1] in self._constants)
        return is_follower and not is_square and bool(moving) and self._half.issuperset(moving)

    def _as(self, name: str, wanted: int) -> str:
        """The value in the wanted type: itself, a cast of it, or a converted constant."""
        found = TensorProto.FLOAT16 if name in self._half else TensorProto.FLOAT
        if found == wanted:
            return name
        if (name, wanted) not in self._made:
            made = f"{name}/half" if wanted == TensorProto.FLOAT16 else f"{name}/float"
            if name in self._constants:
                self._model.graph.initializer.append(_half_constant(self._constants[name], made))
            else:
                self._nodes.append(_cast(name, made, wanted))
            self._made[name, wanted] = made
        return self._made[name, wanted]


def constants_to_initializers(model: ModelProto) -> dict[str, TensorProto]:
    """All constants by name; `Constant` nodes with a tensor become initialisers."""
    graph = model.graph
    kept = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if tensor is None:
            kept.append(node)
            continue
        graph.initializer.append(tensor)
        graph.initializer[-1].name = node.output[0]
    del graph.node[:]
    graph.node.extend(kept)
    return {tensor.name: tensor for tensor in graph.initializer}


def _half_constant(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    if values.size and float(np.abs(values).max()) > LARGEST:
        raise InputError(f"weight {tensor.name}: {np.abs(values).max():.3g} is beyond FP16; name its node an island")
    return numpy_helper.from_array(values.astype(np.float16), name)


def _cast(source: str, target: str, wanted: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_to_{target}", to=wanted)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """FP32 weights whose half twin took their place."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
