"""The 1-D residual network over time that ends EchoTracker and PIPs++: what one point saw in each frame becomes motion.

Normalisation is over the frames of the window, for each point and channel: answers depend on the window's length and
on frames to come, and one frame alone cannot be normalised.
"""

import torch.nn.functional as F
from torch import Tensor, nn

N_BLOCKS = 8


class TemporalHead(nn.Module):
    """Official names: first_block_conv.conv, basicblock_list.K.conv1.conv, basicblock_list.K.conv2.conv, dense."""

    def __init__(self, n_in: int, base: int) -> None:
        super().__init__()
        self.first_block_conv = _Same(n_in, base)
        widths = [base * 2 ** (k // 2) for k in range(N_BLOCKS)]
        befores = (base, *widths)
        self.basicblock_list = nn.ModuleList(
            _Block(before, width, is_first=k == 0)
            for k, (before, width) in enumerate(zip(befores, widths, strict=False))
        )
        self.dense = nn.Linear(widths[-1], 2)

    def forward(self, own: Tensor, shared: Tensor | None = None, own_after: Tensor | None = None) -> Tensor:
        """Motion (N, T, 2) from the channels of every point, own (N, T, C).

        shared     (T, C2) channels that are the same for all points and follow `own`: their part of the first layer
                   is worked out once
        own_after  (N, T, C3) channels of every point that follow the shared ones
        """
        answer: Tensor = self.dense(self.features(own, shared, own_after))
        return answer

    def features(self, own: Tensor, shared: Tensor | None = None, own_after: Tensor | None = None) -> Tensor:
        """Input of the last layer (N, T, 8 * base)."""
        x = F.relu(self._first(own, shared, own_after))
        for block in self.basicblock_list:
            x = block(x)
        return F.relu(x).transpose(1, 2)

    def _first(self, own: Tensor, shared: Tensor | None, own_after: Tensor | None) -> Tensor:
        conv, at, total = self.first_block_conv.conv, 0, None
        for part in (own, shared, own_after):
            if part is None:
                continue
            rows = part if part.dim() == 3 else part[None]
            weight = conv.weight[:, at : at + rows.shape[-1]]
            answer = F.conv1d(rows.transpose(1, 2), weight, padding=1)
            total = answer if total is None else total + answer
            at += rows.shape[-1]
        assert total is not None
        assert conv.bias is not None
        return total + conv.bias[:, None]


class _Same(nn.Module):
    """A convolution over three frames under the name that checkpoints use."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, is_first: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Same(n_in, n_out), _Same(n_out, n_out)
        self._is_first = is_first
        before = (n_out - n_in) // 2
        self._grow = before, n_out - n_in - before

    def forward(self, x: Tensor) -> Tensor:
        change = x if self._is_first else F.relu(F.instance_norm(x))
        change = self.conv2(F.relu(F.instance_norm(self.conv1(change))))
        return F.pad(x, (0, 0, *self._grow)) + change
