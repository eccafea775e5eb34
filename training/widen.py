"""A wider and deeper network that begins as good as a narrow one (Net2Net, Chen et al. 2016).

Channels are repeated, what they feed is shared out at random among the copies, added blocks change nothing: the
features point where they pointed. The random shares let the copies learn different things.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from specktrack.rt.errors import InputError
from specktrack.training.specknet import build


def widened(narrow: Mapping[str, Tensor], model: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights of the network `model` that computes what the narrow weights compute.

    Raises InputError where a width is no whole multiple.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = build(model).state_dict()
    for key, value in wide.items():
        if key in narrow:
            wide[key] = _repeated(narrow[key], value.shape, generator, f"{model}: {key}")
        elif key.endswith("norm2.weight"):
            wide[key] = torch.zeros_like(value)  # an added block passes on what it is given
    return wide


def _repeated(value: Tensor, shape: torch.Size, generator: torch.Generator, where: str) -> Tensor:
    """Channels of a weight repeated to a shape: outputs as they are, inputs by shares that add up to one."""
    if len(value.shape) != len(shape) or any(n % m for n, m in zip(shape, value.shape, strict=True)):
        raise InputError(
            f"{where}: {tuple(shape)} is no whole multiple of {tuple(value.shape)}; train it without init_from"
        )
    if not value.shape:
        return value.clone()
    repeated = value.repeat(shape[0] // value.shape[0], *[1] * (len(shape) - 1))
    if len(shape) == 1:
        return repeated
    times = shape[1] // value.shape[1]
    share = 0.5 + torch.rand(shape[0], times, value.shape[1], 1, 1, generator=generator)
    share = share / share.sum(1, keepdim=True)
    return (repeated[:, None] * share).reshape(shape)
