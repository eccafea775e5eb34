"""The residual encoder that EchoTracker, PIPs++ and CoTracker3 share, at different widths.

Four stages of two residual blocks; the outputs of all four are resized to one map and joined. Normalisation is by
instance, without learned scale or shift, so checkpoints hold nothing of it. A frame's features depend on that frame
alone: a stream may keep them. Parameter names are those of the official checkpoints (`fnet.*`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specktrack.training.in_parts import in_parts

FRAMES_AT_ONCE = 2  # the largest arrays stay in the processor's cache


def encoded(encoder: nn.Module, scaled: Tensor) -> Tensor:
    """Features of frames (T, C, H, W) scaled to -1..1, a few at a time; each frame is encoded by itself."""
    return torch.cat([encoder(some) for (some,) in in_parts(FRAMES_AT_ONCE, scaled)])


def scaled(frames: Tensor) -> Tensor:
    """Frames 0..255 to -1..1."""
    return 2 * (frames / 255) - 1


class ResidualEncoder(nn.Module):
    """Frames (B, n_in, H, W) to features (B, n_out, H // stride, W // stride); H and W at least 64."""

    def __init__(self, n_in: int, widths: Sequence[int], n_mid: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(n_in, widths[0], 7, stride=2, padding=3)
        befores = (widths[0], *widths)
        for k, width in enumerate(widths):
            self.add_module(f"layer{k + 1}", _stage(befores[k], width, 1 if k == 0 else 2))
        self.conv2 = nn.Conv2d(sum(widths), n_mid, 3, padding=1)
        self.conv3 = nn.Conv2d(n_mid, n_out, 1)
        self._n_stages = len(widths)

    def forward(self, frames: Tensor) -> Tensor:
        """Features of frames scaled to -1..1."""
        size = frames.shape[-2] // self.stride, frames.shape[-1] // self.stride
        x = F.relu(F.instance_norm(self.conv1(frames)))
        found = []
        for k in range(self._n_stages):
            x = self.get_submodule(f"layer{k + 1}")(x)
            found.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        joined: Tensor = self.conv3(F.relu(F.instance_norm(self.conv2(torch.cat(found, 1)))))
        return joined


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        # A list of one, because the official key is `downsample.0`.
        self.downsample = nn.ModuleList([nn.Conv2d(n_in, n_out, 1, stride=stride)] if stride != 1 else [])

    def forward(self, x: Tensor) -> Tensor:
        change = F.relu(F.instance_norm(self.conv1(x)))
        change = F.relu(F.instance_norm(self.conv2(change)))
        for shortcut in self.downsample:
            x = F.instance_norm(shortcut(x))
        return F.relu(x + change)


def _stage(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(n_in, n_out, stride), _Block(n_out, n_out, 1))
