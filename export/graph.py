"""SpeckNet to ONNX: opset 18, batch norms folded, feature maps channels last so that the head reads them in order."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from specktrack.training.specknet import SpeckNet

OPSET = 18
INPUT = "image"
OUTPUTS = ("fine", "middle", "coarse")


class StreamEncoder(nn.Module):
    """What runs per frame: one image in, three channels-last maps out."""

    def __init__(self, network: SpeckNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image (1, 1, H, W) in [0, 1] to unit features (H / s, W / s, C) for the strides 2, 4 and 8."""
        return tuple(m[0].permute(1, 2, 0) for m in self.network(image))


def export_onnx(network: SpeckNet, path: Path, size: tuple[int, int]) -> None:
    """Write an FP32 ONNX file; height and width stay symbolic, `size` is only what it is traced with."""
    encoder = StreamEncoder(network).eval()
    image = torch.rand(1, 1, *size)
    height = torch.export.Dim("cells_high", min=8, max=256)
    width = torch.export.Dim("cells_wide", min=8, max=256)
    with quiet_exporter():
        program = torch.onnx.export(
            encoder,
            (image,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=({2: 8 * height, 3: 8 * width},),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    save(program, path)
    check_graph(path)


def save(program: torch.onnx.ONNXProgram, path: Path) -> Path:
    """Write what the exporter made, without traces of where it was made."""
    program.save(str(path), external_data=False)
    _forget_origin(path)
    return path


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's talk of torchvision and of its own deprecations from our users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)


def _forget_origin(path: Path) -> None:
    """The exporter writes stack traces with the paths of this machine into the file: a model does not carry them."""
    model = onnx.load(str(path))
    for holder in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.save(model, str(path))


def check_graph(path: Path) -> None:
    """Raise ValueError where the file breaks a rule that TensorRT or ONNX Runtime would break silently."""
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions != [OPSET]:
        raise ValueError(f"{path.name}: opset {versions}, expected {OPSET}")
    found = {node.op_type for node in model.graph.node}
    _refuse(path, found, ("BatchNormalization", "GridSample", "Loop", "If", "Scan"))


def _refuse(path: Path, found: set[str], banned: Sequence[str]) -> None:
    wrong = sorted(found.intersection(banned))
    if wrong:
        raise ValueError(f"{path.name}: contains {', '.join(wrong)}, which must not be in an exported encoder")
