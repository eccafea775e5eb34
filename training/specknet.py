"""SpeckNet: an independent implementation of the network of arXiv 2507.10127, built from its description.

Choices where the paper is silent, and why:
- Input: grey, 0..1, minus 0.5. Height and width are multiples of 8; 256 x 256 unless a model card says otherwise.
- Pruned ResNet: after the pixel unshuffle one 3x3 stem, then three groups of residual blocks at strides 2, 4 and 8.
  `specknet-s` 16/32/64 channels (a laptop keeps up), `specknet-b` 64/96/128 (GPU).
- Batch normalisation: it folds into the convolutions, so a stream pays nothing for it, and unlike instance
  normalisation it computes no statistics in half precision.
- 1x1 convolutions end each scale without activation, so features point in every direction; they are L2-normalised,
  the similarity is the cosine.
- All strided convolutions are 3x3 with padding 1: cell j of stride s is centred on pixel s * j + 0.5 at every scale, so
  upsampling needs no half-cell shift (`head.py`).
- No visibility output: confidence comes from the cost volume.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from specktrack.rt.errors import InputError

STRIDES = (2, 4, 8)
CELL_OFFSET_PX = 0.5  # cell j of stride s is centred on pixel s * j + 0.5


@dataclass(frozen=True)
class SpeckNetConfig:
    """Size of the network."""

    widths: tuple[int, int, int] = (16, 32, 64)
    blocks: tuple[int, int, int] = (1, 1, 1)
    features: tuple[int, int, int] = (16, 32, 64)


SIZES = {
    "specknet-s": SpeckNetConfig(),
    "specknet-b": SpeckNetConfig((64, 96, 128), (2, 2, 2), (64, 96, 128)),
}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class SpeckNet(nn.Module):
    """Image to three maps of unit features."""

    def __init__(self, config: SpeckNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(
            nn.Conv2d(4, config.widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(config.widths[0]), nn.ReLU()
        )
        n_in = config.widths[0]
        self.groups = nn.ModuleList()
        self.ends = nn.ModuleList()
        for level, (width, depth, n_features) in enumerate(
            zip(config.widths, config.blocks, config.features, strict=True)
        ):
            strides = [1 if level == 0 else 2] + [1] * (depth - 1)
            blocks = [ResidualBlock(n_in if k == 0 else width, width, s) for k, s in enumerate(strides)]
            self.groups.append(nn.Sequential(*blocks))
            self.ends.append(nn.Conv2d(width, n_features, 1))
            n_in = width

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, 1, H, W) in [0, 1] to unit features (B, C_i, H / s_i, W / s_i) for the strides 2, 4 and 8."""
        fine, middle, coarse = self.raw_maps(image)
        return unit(fine, 1), unit(middle, 1), unit(coarse, 1)

    def raw_maps(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same before normalisation: training normalises only the cells it looks at."""
        x = self.stem(F.pixel_unshuffle(image - 0.5, 2))
        maps = []
        for group, end in zip(self.groups, self.ends, strict=True):
            x = group(x)
            maps.append(end(x))
        return maps[0], maps[1], maps[2]


def unit(features: Tensor, dim: int) -> Tensor:
    """L2-normalise along the channel axis in FP32: squares overflow and vanish in half precision."""
    wide = features if features.dtype == torch.float64 else features.float()
    return wide * (wide.square().sum(dim, keepdim=True) + 1e-6).rsqrt()


def build(name: str) -> SpeckNet:
    """A network of a shipped size; raises InputError with the names known."""
    if name not in SIZES:
        raise InputError(f"model: {name}: unknown network; known are {', '.join(SIZES)}")
    return SpeckNet(SIZES[name])
