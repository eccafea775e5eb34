"""The running mean of weights during training: steadier than the last ones, and what is shipped."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def mean_of_two(begun: Mapping[str, torch.Tensor], learned: Mapping[str, torch.Tensor], share: float) -> dict[str, Any]:
    """Weights between those a training began with (share 0) and those it ended with (1).

    Both lie in one valley, and a mean of the two is often better than either (Wortsman 2022, model soups).
    """
    return {key: (1.0 - share) * begun[key] + share * learned[key] for key in begun}


class WeightAverage:
    """Exponential moving average of modules, buffers of batch normalisation included.

    decay  share of the mean that stays in a step; early steps use less, so that the first weights are soon forgotten.
           0: the mean is the last weights.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self._modules = dict(modules)
        self._decay = decay
        self.restart()

    def restart(self) -> None:
        """Begin anew from the weights as they are."""
        self._mean = {
            name: {key: value.detach().clone() for key, value in module.state_dict().items()}
            for name, module in self._modules.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        decay = min(self._decay, step / (step + 9.0))
        for name, module in self._modules.items():
            for key, value in module.state_dict().items():
                mean = self._mean[name][key]
                if mean.is_floating_point():
                    mean.lerp_(value, 1.0 - decay)
                else:
                    mean.copy_(value)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Name of module to its averaged state."""
        return self._mean

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from a saved mean."""
        for name, tensors in self._mean.items():
            for key, mean in tensors.items():
                mean.copy_(state[name][key])
