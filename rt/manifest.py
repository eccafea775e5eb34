"""The card beside a model file: what it is, how to feed it, how it was checked."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from specktrack.rt.errors import EngineError
from specktrack.rt.fusion import FusionNet, load_fusion
from specktrack.rt.headers import NOTICE
from specktrack.rt.settings import Section


class Parity(Section):
    """Agreement with the network the file was exported from; pixels of the model's image."""

    against: str
    max_feature_error: float | None = None  # where features can be compared one by one
    max_px: float  # of any point of any frame by itself
    p99_px: float | None = None  # followed through whole clips
    strain_points: float | None = None  # largest difference of a contour's strain, percent points
    frames: int | None = None


class FileRef(Section):
    """A file that belongs to the model."""

    file: str
    sha256: str


class SelfCheck(Section):
    """Where the network finds points in the pictures of rt/self_check.py: every engine is asked at its start."""

    found: tuple[tuple[float, float], ...]  # x, y in pixels of the model's image


class Plan(Section):
    """What a TensorRT plan was built from and for; it fits nothing else."""

    onnx_sha256: str
    card: str  # hash of what the ONNX file's card says: matching graphs, fusion weights, calibration
    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str
    points: tuple[int, int, int]  # least, best, most
    flags: tuple[str, ...] = ()


class Training(Section):
    """Where the weights come from."""

    data: str
    seed: int
    steps: int


class Manifest(Section):
    """Everything the runtime needs to know of a model file; stored as JSON beside it."""

    format: Literal[1] = 1
    model: str
    file: str
    sha256: str
    opset: int
    precision: Literal["fp32", "fp16"]
    input_name: str = "image"  # (1, 1, H, W) float32 in [0, 1]
    input_size: tuple[int, int]  # height, width it is meant for
    input_multiple: int = 8
    outputs: tuple[str, str, str] = ("fine", "middle", "coarse")  # (H / s, W / s, C), unit length
    strides: tuple[int, int, int] = (2, 4, 8)
    channels: tuple[int, int, int]
    similarity: Literal["half_shifted_cosine"] = "half_shifted_cosine"  # (1 + c) / 2
    gamma: float = Field(gt=0)
    fusion: FileRef  # weights of rt/fusion.py, .npz beside the model
    half: FileRef | None = None  # the same network, strongly typed FP16
    sample: FileRef | None = None  # matching for engines whose features stay on a device: export/match_graph.py
    match: FileRef | None = None
    match_side: int = 21  # of the square that `match` reads
    self_check: SelfCheck | None = None
    plan: Plan | None = None  # only of TensorRT plans
    confidence_curve: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 1.0))  # raw -> calibrated confidence
    versions: dict[str, str]
    parity: Parity | None = None
    training: Training | None = None
    licence: str = "Apache-2.0"
    method: str = "arXiv 2507.10127, independent implementation; figures are not the paper's"
    notice: str = NOTICE


def manifest_path(model: Path) -> Path:
    """`specknet-s.onnx` has its card in `specknet-s.json`."""
    return model.with_suffix(".json")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_manifest(model: Path) -> Manifest:
    """Read the card of a model file and check that it belongs to it; raises EngineError."""
    card = manifest_path(model)
    if not model.is_file():
        raise EngineError(f"{model}: no such model file; give a shipped name ({', '.join(shipped_models())}) or a path")
    if not card.is_file():
        raise EngineError(f"{model}: its manifest {card.name} is missing; export the model again with export-trt")
    try:
        manifest = Manifest.model_validate_json(card.read_text(encoding="utf-8"), strict=False)
    except (ValidationError, ValueError) as error:
        raise EngineError(
            f"{card}: not a valid manifest ({str(error).splitlines()[0]}); export the model again"
        ) from error
    found = file_sha256(model)
    if found != manifest.sha256:
        raise EngineError(
            f"{model}: sha256 {found[:12]}... differs from its manifest's {manifest.sha256[:12]}...; "
            "the file was changed or only half copied: export or copy it again"
        )
    return manifest


def open_fusion(model: Path, manifest: Manifest) -> FusionNet:
    """The fusion weights of a model file; raises EngineError when they are missing or not the card's."""
    return load_fusion(companion(model, manifest.fusion, "fusion weights"))


def companion(model: Path, reference: FileRef | None, what: str) -> Path:
    """A file that belongs to a model, checked; raises EngineError when it is missing or not the card's."""
    if reference is None:
        raise EngineError(f"{model}: exported without its {what}; export the model again with export-trt")
    path = model.with_name(reference.file)
    if not path.is_file():
        raise EngineError(f"{model}: its {what} {path.name} are missing; export the model again or copy all files")
    if file_sha256(path) != reference.sha256:
        raise EngineError(f"{path}: differs from its manifest; copy all files or export the model again")
    return path


def reference_to(path: Path) -> FileRef:
    """How a card names a file beside it."""
    return FileRef(file=path.name, sha256=file_sha256(path))


def save_manifest(manifest: Manifest, model: Path) -> None:
    """Write the card beside a model file."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1)
    manifest_path(model).write_text(text + "\n", encoding="utf-8")


def shipped_folder() -> Path:
    """Where the models that come with the package lie."""
    return Path(str(resources.files("specktrack.rt"))) / "models"


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in shipped_folder().glob("*.onnx") if "." not in path.stem)


def find_model(name: str) -> Path:
    """A shipped name or a path becomes the path of the model file; raises EngineError."""
    shipped = shipped_folder() / f"{name}.onnx"
    if shipped.is_file():
        return shipped
    if not name.endswith((".onnx", ".plan", ".engine")):
        raise EngineError(
            f"model {name}: not shipped; known are {', '.join([*shipped_models(), 'block'])}, or give a file"
        )
    return Path(name)
