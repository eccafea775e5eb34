"""The card beside an exported tracker: what it takes in and gives, at which size, how it was checked, whose it is."""

from pathlib import Path
from typing import Literal

import onnx
import torch
from pydantic import Field

from specktrack.export.baseline_parity import FileParity, Precision
from specktrack.export.baselines import QueryFrames
from specktrack.export.graph import OPSET
from specktrack.rt.headers import NOTICE
from specktrack.rt.manifest import manifest_path
from specktrack.rt.settings import Section

MEANINGS = {
    "video": "grey frames, 0..255, of this size",
    "points": "x, y in pixels of the first frame",
    "queries": "frame of the window, x, y in pixels",
    "trajectories": "where the points are thought to be: x, y in pixels; the first frame's are kept",
    "handed_over": "hand_over of the window before; zeros at first",
    "is_first": "1 in the first window of a clip, 0 in the others",
    "n_known": "frames of this window that the one before held: 0 at first, then half",
    "last_state": "state of the window before; zeros at first",
    "known_support": "support of the window before; zeros at first",
    "tracks": "x, y in pixels",
    "visibility": "probability",
    "confidence": "probability that the position is right",
    "hand_over": "for the next window, which begins with this one's last frame",
    "state": "x, y in cells of 4 pixels, logits of visibility and confidence; for the next window",
    "support": "what queries look like; for the next window",
}


class TensorCard(Section):
    """An input or output, float32."""

    name: str
    shape: tuple[int | str, ...]
    meaning: str


class ParityCard(Section):
    """Agreement with the network in torch, FP32, on a phantom clip."""

    against: str
    runtime: str
    n_points: int
    n_frames: int
    moved_px: float = Field(ge=0)  # how far the points went, root mean square
    median_px: float = Field(ge=0)
    p99_px: float = Field(ge=0)
    max_px: float = Field(ge=0)


class BaselineManifest(Section):
    """Everything a host needs to know of the file; stored as JSON beside it."""

    format: Literal[1] = 1
    kind: Literal["window tracker"] = "window tracker"
    model: str
    file: str
    sha256: str
    opset: int = OPSET
    precision: Precision
    islands: tuple[str, ...] = ()  # FP16: nodes that stay FP32
    input_size: tuple[int, int]  # height, width
    window_frames: int
    iterations: int
    query_frames: QueryFrames
    inputs: tuple[TensorCard, ...]
    outputs: tuple[TensorCard, ...]
    weights_sha256: str
    weights_licence: str
    versions: dict[str, str]
    parity: ParityCard
    notice: str = NOTICE


def parity_card(parity: FileParity) -> ParityCard:
    """Figures of a file for its card."""
    figures = {key: value for key, value in vars(parity).items() if key not in ("precision", "islands")}
    return ParityCard(against=f"torch {torch.__version__}", **figures)


def save_card(manifest: BaselineManifest, model: Path) -> None:
    """Write the card beside a model file."""
    manifest_path(model).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_card(model: Path) -> BaselineManifest:
    """The card of a model file, as it was written."""
    return BaselineManifest.model_validate_json(manifest_path(model).read_text(encoding="utf-8"), strict=False)


def tensor_cards(values: list[onnx.ValueInfoProto]) -> tuple[TensorCard, ...]:
    """Inputs or outputs of a graph for its card."""
    return tuple(
        TensorCard(
            name=value.name,
            shape=tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
            meaning=MEANINGS[value.name],
        )
        for value in values
    )
