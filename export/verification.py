"""A checkpoint's files against the network they came from, on whatever runs them here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from specktrack.export.comparison import parity_of
from specktrack.export.model_files import ModelFiles
from specktrack.rt.engine import Engine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.engine_torch import TorchEngine
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import Parity
from specktrack.rt.parity import Deviation, VerifyClip, arch, compare, follow, refuse_far
from specktrack.training.phantom import Phantom, standard_spec

NETWORK = f"the network in torch {torch.__version__}, FP32"


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


def parities(files: ModelFiles, rows: Sequence[Deviation]) -> dict[str, Parity]:
    """Each file's figures for its card, by precision."""
    return {
        precision: parity_of([row for row in rows if row.precision == precision], NETWORK, feature_error(files, path))
        for precision, path in (("fp32", files.fp32), ("fp16", files.fp16))
    }


def feature_error(files: ModelFiles, path: Path) -> float:
    """Largest difference of any feature of a file on one picture of noise, run by ONNX Runtime."""
    image = np.random.default_rng(0).integers(0, 256, files.card.input_size, np.uint8)
    pairs = zip(files.reference().encode(image), OrtEngine(path).encode(image), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def accept(files: ModelFiles, rows: Sequence[Deviation]) -> None:
    """Raise InputError for a row beyond its bound, and leave no card: without one nothing opens the files."""
    try:
        refuse_far(rows)
    except InputError:
        files.discard()
        raise
