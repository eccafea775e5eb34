"""From the options of `rt-track` to checked settings."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

from specktrack.rt.clip import Clip
from specktrack.rt.config import ModelConfig
from specktrack.rt.errors import InputError
from specktrack.rt.known_beat import KnownEvents
from specktrack.rt.points import PointsFile
from specktrack.rt.windowed import NAMES

_USUAL_RATE_HZ = 50.0
_MODEL_SUFFIXES = (".onnx", ".plan", ".engine")


def clip_with_scale(clip: Clip, mm_per_px: float | None) -> Clip:
    """The clip with the pixel size the user knows better than the file; raises InputError unless it is above 0."""
    if mm_per_px is None:
        return clip
    if not 0 < mm_per_px < 100:
        raise InputError(f"--mm-per-px {mm_per_px}: expected millimetres per pixel above 0, for example 0.3")
    return replace(clip, geometry=replace(clip.geometry, mm_per_px=(mm_per_px, mm_per_px)))


def frame_rate(clip: Clip, fps: float | None) -> float:
    """The user's frame rate, else the file's, else 50 per second."""
    if fps is None:
        return clip.frame_rate_hz or _USUAL_RATE_HZ
    if not 0 < fps <= 10_000:
        raise InputError(f"--fps {fps}: expected frames per second above 0, for example 50")
    return fps


def known_events(
    ed: int | None, es: int | None, next_ed: int | None, drawn: PointsFile, n_frames: int
) -> KnownEvents | None:
    """The events of --ed, --es and --next-ed; None where none is given. Raises InputError for half of them."""
    if ed is None and es is None and next_ed is None:
        return None
    if ed is None or es is None:
        raise InputError("--ed and --es belong together: give the frames of end-diastole and end-systole")
    if drawn.kind != "contour":
        raise InputError("--ed and --es measure strain, which needs a contour; the points file holds single points")
    return KnownEvents(ed, es, next_ed).checked(n_frames)


def model_config(model: str, engine: str, weights: Path | None) -> ModelConfig:
    """Which model and engine; raises InputError for an engine nobody knows and weights nobody can load."""
    field = ModelConfig.model_fields["engine"].annotation
    if engine not in get_args(field):
        raise InputError(f"--engine {engine}: unknown engine; choose one of {', '.join(get_args(field))}")
    return ModelConfig.model_validate({"engine": engine, **model_choice(model, weights)})


def model_choice(model: str, weights: Path | None) -> dict[str, str]:
    """The settings `name` and `weights` from --model and --weights; raises InputError."""
    if weights is None:
        return {"name": model}
    if model in NAMES:
        return {"name": model, "weights": str(weights)}
    return {"name": _weights(model, weights)}


def _weights(model: str, weights: Path) -> str:
    if model == "block":
        raise InputError("--weights: block matching has no weights; leave --weights out or choose --model specknet-s")
    if Path(model).suffix:
        raise InputError(f"--weights: {model} is a model file with its own weights; give only one of the two")
    if not weights.is_file():
        raise InputError(f"--weights {weights}: no such file; give an exported model file (.onnx)")
    if weights.suffix.lower() not in _MODEL_SUFFIXES:
        raise InputError(f"--weights {weights}: not an exported model; make one with export-trt {weights} --onnx-only")
    return str(weights)
