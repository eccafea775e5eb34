"""Checkpoints: weights, optimiser, schedule and random state; written whole or not at all, loaded without code."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from specktrack.rt.errors import InputError
from specktrack.training.widen import widened


@dataclass(frozen=True)
class Checkpoint:
    """What a training run needs to go on exactly where it stopped."""

    model: str
    step: int
    state: dict[str, Any]  # network, after train-fusion also fusion; to go on from also average, optimizer and so on
    settings: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write to a file beside it, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(vars(checkpoint), partial)
    partial.replace(path)


def find_checkpoint(name: str) -> Path:
    """A path, or the name of a network whose weights ship with the package; raises InputError."""
    shipped = Path(str(resources.files("specktrack.training"))) / "weights"
    if (shipped / f"{name}.pt").is_file():
        return shipped / f"{name}.pt"
    if name.endswith(".pt"):
        return Path(name)
    known = ", ".join(sorted(path.stem for path in shipped.glob("*.pt")))
    raise InputError(f"{name}: not a checkpoint file and not a shipped network; shipped are: {known}")


def load_checkpoint(path: Path) -> Checkpoint:
    """Raises InputError when the file is missing or not one of ours."""
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train one with train-tracker")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged bytes fail in any of the ways of zip files and unpicklers
        raise InputError(f"{path}: not a specktrack checkpoint; give a last.pt of train-tracker") from error


def initial_weights(name: str, model: str) -> dict[str, Any]:
    """State of the network to start a run from: the averaged one where the checkpoint has it.

    name   a checkpoint file or a shipped network
    model  the network to train; a wider one than the checkpoint's begins by computing the same
    Raises InputError when the checkpoint does not fit.
    """
    checkpoint = load_checkpoint(find_checkpoint(name))
    state: dict[str, Any] = checkpoint.state.get("average", checkpoint.state)["network"]
    if checkpoint.model == model:
        return state
    try:
        return widened(state, model)
    except InputError as error:
        raise InputError(f"init_from: {name} holds {checkpoint.model}; {error}") from error
