"""What a checkpoint's files are compared with the network on: a phantom, and the user's clip; the table of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from specktrack.export.model_files import ModelFiles
from specktrack.rt.clip import open_clip
from specktrack.rt.engine import Engine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.engine_torch import TorchEngine
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import Parity
from specktrack.rt.parity import Deviation, VerifyClip, arch, compare, follow, refuse_far
from specktrack.rt.points import read_points
from specktrack.training.phantom import Phantom, standard_spec

TABLE_WIDTH = 110  # a figure cut off is worse than a line too long


def user_clip(path: Path, contour: Path | None) -> VerifyClip:
    """The clip of --verify with the contour of --contour, or an arch where a ventricle usually is."""
    clip = open_clip(path)
    drawn, first = arch(clip.geometry.height_px, clip.geometry.width_px), 0
    if contour is not None:
        points = read_points(contour, clip.geometry, clip.frame_count)
        drawn, first = points.points, points.frame
    frames = np.stack(list(clip.frames())[first:])
    if len(frames) < 2:
        raise InputError(f"{path}: has {len(frames)} frames from frame {first} on; at least 2 are needed")
    return VerifyClip(path.name, frames, drawn)


def phantom_clip(size: int, n_frames: int) -> VerifyClip:
    """An ordinary heart, as the demo and the tests have it."""
    phantom = Phantom(standard_spec(size_px=size))
    return VerifyClip("phantom", np.stack([phantom.frame(k) for k in range(n_frames)]), arch(size, size))


def engines(files: ModelFiles) -> Iterator[tuple[str, Engine]]:
    """Every file on what runs it here; torch rounds every value of a half layer, ONNX Runtime's CPU only some."""
    yield "onnxruntime", OrtEngine(files.fp32)
    yield "onnxruntime", OrtEngine(files.fp16)
    yield "torch", TorchEngine(files.fp16, device="cpu")
    if torch.cuda.is_available():
        yield "torch on the GPU", TorchEngine(files.fp32)


def rows_of(files: ModelFiles, clip: VerifyClip) -> Iterator[Deviation]:
    """Each engine on one clip, against the network."""
    reference = follow(files.reference(), clip)
    for name, engine in engines(files):
        yield compare(clip, reference, engine, name)
        engine.close()


def card_parity(files: ModelFiles, rows: list[Deviation]) -> Parity:
    """The FP32 file's figures for its card."""
    fp32 = [row for row in rows if row.precision == "fp32"]
    return Parity(
        against=f"torch {torch.__version__}",
        max_feature_error=feature_error(files),
        max_px=max(row.read_px for row in fp32),
        p99_px=max(row.p99_px for row in fp32),
        strain_points=max(row.strain_points for row in fp32),
        frames=sum(row.n_frames for row in fp32),
    )


def feature_error(files: ModelFiles) -> float:
    """Largest difference of any feature of the FP32 file on one picture of noise."""
    image = np.random.default_rng(0).integers(0, 256, files.card.input_size, np.uint8)
    pairs = zip(files.reference().encode(image), OrtEngine(files.fp32).encode(image), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def accept(files: ModelFiles, rows: list[Deviation]) -> None:
    """Raise InputError for a row beyond its bound, and leave no card: without one nothing opens the files."""
    try:
        refuse_far(rows)
    except InputError:
        files.discard()
        raise


def print_table(rows: list[Deviation]) -> None:
    """All figures: pixels of an image 256 wide, percent points of strain."""
    table = Table(title="Against the network in torch, FP32: px of 256, strain in percent points")
    for column in ("clip", "frames", "file", "run by", "read", "median", "p99", "max", "strain"):
        is_text = column in ("clip", "file", "run by")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column != "run by")
    for row in rows:
        figures = (row.read_px, row.median_px, row.p99_px, row.max_px, row.strain_points)
        table.add_row(row.clip, str(row.n_frames), row.precision, row.engine, *(f"{value:.1e}" for value in figures))
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)
