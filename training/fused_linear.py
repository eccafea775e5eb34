"""Linear layers of networks that only track: on a CPU the layer and its activation are one oneDNN kernel.

Without gradients a linear layer followed by GELU otherwise writes and reads its widest array twice. Everywhere else
(training, a GPU, torch without oneDNN) the plain layers run; both agree to rounding (tests/test_cotracker.py).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gelu = Literal["none", "tanh"]  # as torch names its two kinds: exact, and the approximation by tanh


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """x (..., n_in) to (..., n_out)."""
    if _is_fused(x):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")
    return layer(x)


def linear_gelu(layer: nn.Linear, x: Tensor, approximate: Gelu) -> Tensor:
    """The same, then GELU."""
    if _is_fused(x):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], approximate)
    return F.gelu(layer(x), approximate=approximate)


def _is_fused(x: Tensor) -> bool:
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled()
    return not plain and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
