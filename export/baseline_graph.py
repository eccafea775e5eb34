"""A tracker's stages to one ONNX graph of opset 18: each is exported once, refinements are repeated by copying nodes.

Repeating in the graph and not in the exporter makes sixteen refinements as quick to export as one; copies share their
weights. Nodes are named after their stage and the module they come from (`refine3/network.delta_block.dense/...`):
that is how precision plans name them.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping

import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from specktrack.export.baseline_stages import Stage, Stages
from specktrack.export.graph import OPSET, quiet_exporter

MOST_POINTS = 4096
POINTS = "points"  # the open dimension
SCOPES = "pkg.torch.onnx.name_scopes"


def export_stages(stages: Stages, iterations: int) -> ModelProto:
    """One model from the inputs to the outputs of the stages; the number of points stays open."""
    values = dict(stages.inputs)
    begin = _export(stages.begin, values, stages.per_point)
    refine = _export(stages.refine, values, stages.per_point)
    joined = _Joined(stages)
    joined.add(stages.begin, begin, stages.begin.name)
    for k in range(iterations):
        joined.add(stages.refine, refine, f"{stages.refine.name}{k}")
    if stages.end is not None:
        joined.add(stages.end, _export(stages.end, values, stages.per_point), stages.end.name)
    return joined.model({name: values[name] for name in stages.outputs})


def _export(stage: Stage, values: dict[str, Tensor], per_point: tuple[str, ...]) -> GraphProto:
    """The stage as a graph; what it makes of the example joins the values."""
    arguments = tuple(values[name] for name in stage.reads)
    points = torch.export.Dim(POINTS, min=2, max=MOST_POINTS)
    shapes = [{0: points} if name in per_point else {} for name in stage.reads]
    parameters = list(inspect.signature(stage.module.forward).parameters.values())
    if parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:  # torch wants the shapes of a `*rest` in one
        named = len(parameters) - 1
        shapes = [*shapes[:named], tuple(shapes[named:])]  # type: ignore[list-item]
    with torch.no_grad(), quiet_exporter():
        made = stage.module(*arguments)
        program = torch.export.export(stage.module, arguments, dynamic_shapes=tuple(shapes))
        exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, external_data=False, verbose=False)
    assert exported is not None
    values.update(zip(stage.makes, made if isinstance(made, tuple) else (made,), strict=True))
    return exported.model_proto.graph


class _Joined:
    """Graphs after one another; `values` says which value of the joined graph a name of the stages stands for."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._values: dict[str, str] = {name: name for name in stages.inputs}
        self._nodes: list[NodeProto] = []
        self._weights: dict[str, TensorProto] = {}

    def add(self, stage: Stage, graph: GraphProto, prefix: str) -> None:
        """Append a copy of a stage's graph under a prefix of its own."""
        names = {entry.name: f"{stage.name}/{entry.name}" for entry in graph.initializer}
        self._weights.update({names[entry.name]: _renamed(entry, names[entry.name]) for entry in graph.initializer})
        given = zip((entry.name for entry in graph.input), stage.reads, strict=True)
        names.update({entry: self._values[name] for entry, name in given})
        names.update({name: f"{prefix}/{name}" for node in graph.node for name in node.output if name})
        self._nodes.extend(_copy(node, names, prefix) for node in graph.node)
        made = zip(stage.makes, (entry.name for entry in graph.output), strict=True)
        self._values.update({name: names[entry] for name, entry in made})

    def model(self, outputs: Mapping[str, Tensor]) -> ModelProto:
        """What leads to the outputs, as a model."""
        last = [helper.make_node("Identity", [self._values[n]], [n], f"output/{n}") for n in outputs]
        nodes = _needed([*self._nodes, *last], set(outputs))
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "tracker",
            [_entry(name, value, name in self._stages.per_point) for name, value in self._stages.inputs.items()],
            [_entry(name, value, is_per_point=True) for name, value in outputs.items()],
            [weight for name, weight in self._weights.items() if name in read],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _entry(name: str, value: Tensor, is_per_point: bool) -> ValueInfoProto:
    shape = [POINTS if is_per_point and k == 0 else size for k, size in enumerate(value.shape)]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _renamed(tensor: TensorProto, name: str) -> TensorProto:
    found = TensorProto()
    found.CopyFrom(tensor)
    found.name = name
    return found


def _copy(node: NodeProto, names: Mapping[str, str], prefix: str) -> NodeProto:
    """The node with its values renamed, named after the module it comes from, and no word of source files."""
    found = NodeProto()
    found.CopyFrom(node)
    found.name = f"{prefix}/{_module_of(node)}/{node.name}"
    del found.input[:], found.output[:], found.metadata_props[:]
    found.input.extend(names[name] if name else "" for name in node.input)
    found.output.extend(names[name] if name else "" for name in node.output)
    found.doc_string = ""
    return found


def _module_of(node: NodeProto) -> str:
    scopes: list[str] = next((ast.literal_eval(p.value) for p in node.metadata_props if p.key == SCOPES), [])
    return scopes[-2] if len(scopes) > 1 else ""


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that something wanted depends on, in their order."""

    def backwards() -> Iterator[NodeProto]:
        for node in reversed(nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                yield node

    return list(backwards())[::-1]
