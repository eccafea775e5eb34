"""Reads the public checkpoints of other trackers, as they are, into the networks of this package.

Their files are pickles: only arrays and plain containers are read, never code. Each carries its authors' licence, which
is the user's business (docs/baselines.md); CoTracker3's forbids commercial use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specktrack.rt.errors import InputError

WRAPPERS = ("model_state_dict", "state_dict", "model", "network", "state")  # the last is that of train-tracker
PREFIXES = ("module.", "model.", "_orig_mod.")


def load_official(network: nn.Module, path: Path, name: str = "") -> None:
    """Fill a network from a checkpoint file; every key must fit. Raises InputError naming the first that does not.

    name  of the tracker: a checkpoint of train-tracker says whose it is, and two of them have the same keys
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the checkpoint you downloaded (docs/baselines.md)")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or foreign bytes fail in any of the ways of zip files and pickles
        raise InputError(
            f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}); download it again"
        ) from error
    _refuse_another(stored, name, path)
    state = _without_prefix(_state_of(stored, path))
    _refuse_misfits(network.state_dict(), state, path)
    network.load_state_dict(state)


def _refuse_another(stored: Any, name: str, path: Path) -> None:
    trained = stored.get("model") if isinstance(stored, Mapping) else None
    if name and isinstance(trained, str) and trained != name:
        raise InputError(f"{path}: holds {trained}, not {name}; name the tracker it was trained for")


def _state_of(stored: Any, path: Path) -> Mapping[str, Tensor]:
    for _ in range(3):
        if not isinstance(stored, Mapping):
            break
        inner = next((stored[key] for key in WRAPPERS if isinstance(stored.get(key), Mapping)), None)
        if inner is None:
            arrays = {key: value for key, value in stored.items() if isinstance(value, Tensor)}
            if arrays:
                return arrays
            break
        stored = inner
    raise InputError(f"{path}: holds no parameters; expected a state dict, plain or under {', '.join(WRAPPERS)}")


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(state)
    is_stripped = True
    while is_stripped:
        is_stripped = False
        for prefix in PREFIXES:
            if found and all(key.startswith(prefix) for key in found):
                found = {key.removeprefix(prefix): value for key, value in found.items()}
                is_stripped = True
    return found


def _refuse_misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    remedy = "is this the checkpoint of the model you named? (docs/baselines.md)"
    missing = [key for key in expected if key not in found]
    foreign = [key for key in found if key not in expected]
    if missing:
        raise InputError(f"{path}: parameter {missing[0]} is missing ({len(missing)} in all); {remedy}")
    if foreign:
        raise InputError(f"{path}: parameter {foreign[0]} is unknown ({len(foreign)} in all); {remedy}")
    for key, value in expected.items():
        if value.shape != found[key].shape:
            shapes = f"{tuple(found[key].shape)} instead of {tuple(value.shape)}"
            raise InputError(f"{path}: parameter {key} has shape {shapes}; {remedy}")
