"""Checkpoints: weights, optimiser, schedule and random state; written whole or not at all, loaded without code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specktrack.rt.errors import InputError


@dataclass(frozen=True)
class Checkpoint:
    """What a training run needs to go on exactly where it stopped."""

    model: str
    step: int
    state: dict[str, Any]  # network, factor weights, optimizer, schedule, generator
    settings: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write to a file beside it, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(vars(checkpoint), partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises InputError when the file is missing or not one of ours."""
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train one with train-tracker")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (TypeError, RuntimeError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a specktrack checkpoint ({str(error).splitlines()[0]})") from error
