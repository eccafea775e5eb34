"""Golden cases of other trackers: found on disk, weights filled by rule, outputs compared array by array.

A folder for each model holds `state_dict.json` (keys, shapes, checksums of the filled weights) and, for each case, an
`.npz` of inputs and official outputs with a `.json` of parameters and tolerances. A runner (golden_<model>.py) has

    build() -> nn.Module                                    # the network, its official keys
    run(network, params, arrays) -> {name: array}           # what the case's arrays of those names are held against

Arrays that a runner does not give are inputs, or named in its NOT_COMPARED with the reason.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

FOLDER = Path(os.environ.get("SPECKTRACK_GOLDENS", Path(__file__).parents[2] / "shared" / "goldens"))
HEADS = {"dense": 0.01, "flow_head": 0.05, "vis_conf_head": 0.05}
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Golden:
    """One case."""

    model: str
    path: Path  # without suffix

    def __str__(self) -> str:
        return f"{self.model}/{self.path.name}"

    def load(self) -> tuple[dict[str, Any], Arrays, dict[str, float]]:
        """Parameters, arrays, tolerances."""
        told = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        return told["params"], arrays, {key: entry["tolerance"] for key, entry in told["arrays"].items()}


def find_goldens(model: str) -> list[Golden]:
    """All cases of a model; none where the folder is absent."""
    return [Golden(model, path.with_suffix("")) for path in sorted((FOLDER / model).glob("*.npz"))]


def fill(network: nn.Module, model: str) -> None:
    """Weights drawn from each key's name and shape; each is checked against the checksum on file."""
    listed = json.loads((FOLDER / model / "state_dict.json").read_text(encoding="utf-8"))["entries"]
    state = network.state_dict()
    assert set(state) == {entry["key"] for entry in listed}
    for entry in listed:
        key = entry["key"]
        value = by_rule(key, state[key].numpy())
        assert f"{zlib.crc32(np.ascontiguousarray(value, '<f4').tobytes()):08x}" == entry["crc32"], key
        state[key] = torch.from_numpy(value)
    network.load_state_dict(state)


def by_rule(key: str, now: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights of a key, from its name and shape alone; buffers stay what they are."""
    owner, last = (["", *key.split(".")])[-2:]
    if last in ("time_emb", "num_batches_tracked"):
        return now
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    z = rng.standard_normal(now.size, dtype=np.float32).reshape(now.shape)
    if last == "bias":
        return z * np.float32(0.2 if owner in HEADS else 0.01)
    if last == "weight" and now.ndim == 1:
        return np.float32(1) + z * np.float32(0.01)
    if last == "weight":
        return z * np.float32(HEADS.get(owner, 1.0) / np.sqrt(float(np.prod(now.shape[1:]))))
    return z * np.float32(0.02)


def deviations(found: Mapping[str, NDArray[Any]], arrays: Arrays) -> dict[str, float]:
    """Largest difference of each array; shapes must agree, and so must what is not a number."""
    result = {}
    for name, value in found.items():
        assert value.shape == arrays[name].shape, name
        result[name] = float(np.nanmax(np.abs(value.astype(np.float64) - arrays[name].astype(np.float64)), initial=0.0))
        assert (np.isnan(value.astype(np.float64)) == np.isnan(arrays[name].astype(np.float64))).all(), name
    return result
