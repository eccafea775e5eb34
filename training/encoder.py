"""The network itself behind the runtime's matcher: what is measured in training is what the stream computes."""

import numpy as np
import torch
from numpy.typing import NDArray

from specktrack.rt.correlation import FeatureMaps
from specktrack.rt.feature_matcher import FeatureMatcher
from specktrack.rt.fusion import FusionNet
from specktrack.training.head import GAMMA
from specktrack.training.specknet import SpeckNet

BATCH = 16


class TorchEncoder(FeatureMatcher):
    """An Engine over a torch network; frames of a whole clip are encoded in batches."""

    name = "torch-training"

    def __init__(self, network: SpeckNet, model: str, fusion: FusionNet, size: tuple[int, int] = (256, 256)) -> None:
        super().__init__(model, size, GAMMA, fusion)
        self._network = network.eval()

    def encode(self, image: NDArray[np.uint8]) -> FeatureMaps:
        """Image (H, W) uint8 to three maps (h, w, C)."""
        return self.encode_all(image[None])[0]

    def encode_all(self, images: NDArray[np.uint8]) -> list[FeatureMaps]:
        """Images (T, H, W) uint8 to their maps."""
        found: list[FeatureMaps] = []
        for first in range(0, len(images), BATCH):
            part = torch.from_numpy(images[first : first + BATCH])[:, None].float() * (1 / 255)
            with torch.no_grad():
                maps = [m.permute(0, 2, 3, 1).contiguous().numpy() for m in self._network(part)]
            found.extend(zip(*maps, strict=True))
        return found

    def close(self) -> None:
        """Nothing is held."""
