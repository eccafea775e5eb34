"""Weights of other trackers drawn by rule from names and shapes: no public checkpoint is part of this repository.

Random weights hardly answer to what is seen: points would move by the same bias everywhere. EchoTracker's last layers
are made ten times stronger, so that each point goes its own way through each frame; PIPs++'s and CoTracker3's points do
so as they are.
"""

from pathlib import Path

import torch
from golden_cases import by_rule
from torch import nn

from specktrack.export.baselines import BASELINES

STRONGER = {"echotracker": 10.0, "echotracker-ptecho": 10.0}


def with_rule_weights(name: str) -> nn.Module:
    """The tracker of export-trt, filled."""
    network: nn.Module = BASELINES[name].build()
    network.load_state_dict({key: torch.from_numpy(by_rule(key, v.numpy())) for key, v in network.state_dict().items()})
    with torch.no_grad():
        for key, value in network.named_parameters():
            if key.endswith("dense.weight"):
                value.mul_(STRONGER.get(name, 1.0))
    return network.eval()


def save_rule_weights(name: str, folder: Path) -> Path:
    """A checkpoint file as the authors of the tracker write it."""
    path = folder / f"{name}.pth"
    torch.save({"model_state_dict": with_rule_weights(name).state_dict()}, path)
    return path
