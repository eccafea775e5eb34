"""`export-trt --list` and `--inspect`: which plans this machine has, and what a model file is."""

import json
from pathlib import Path

import onnx
from rich.console import Console
from rich.table import Table

from specktrack.export.half import element_types
from specktrack.rt.manifest import load_manifest
from specktrack.rt.plan_cache import known_plans, plans_folder

TABLE_WIDTH = 110


def print_plans() -> None:
    """Every plan in the cache, newest first."""
    found = known_plans()
    if not found:
        print(f"no TensorRT plans in {plans_folder()}")
        return
    table = Table(title=f"TensorRT plans in {plans_folder()}")
    for column in ("model", "precision", "TensorRT", "GPU", "points", "folder"):
        table.add_column(column)
    for path, card in found:
        assert card.plan is not None
        points = ",".join(map(str, card.plan.points))
        table.add_row(card.model, card.precision, card.plan.tensorrt, card.plan.gpu, points, path.parent.name)
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


def print_file(path: Path) -> None:
    """What the card says; of an ONNX file the types of its nodes, of a plan its layers where this machine can."""
    card = load_manifest(path)
    shown = card.model_dump(mode="json", exclude_none=True, exclude={"self_check", "confidence_curve"})
    print(json.dumps(shown, indent=1))
    if path.suffix == ".onnx":
        _print_nodes(path)
        return
    from specktrack.export.trt_build import inspect_plan

    print(inspect_plan(path))


def _print_nodes(path: Path) -> None:
    model = onnx.load(str(path))
    types = element_types(model)
    counts: dict[tuple[str, str], int] = {}
    for node in model.graph.node:
        kind = onnx.TensorProto.DataType.Name(types[node.output[0]])
        counts[node.op_type, kind] = counts.get((node.op_type, kind), 0) + 1
    table = Table(title=f"nodes of {path.name}")
    for column in ("operator", "type", "nodes"):
        table.add_column(column)
    for (operator, kind), count in sorted(counts.items()):
        table.add_row(operator, kind, str(count))
    Console().print(table)
