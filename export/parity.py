"""How far an exported file is from the network it came from: in features, and in pixels of the points it finds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from specktrack.rt.correlation import FeatureMaps
from specktrack.rt.engine import Factor, Prior
from specktrack.rt.engine_ort import FeatureMatcher, OrtEngine
from specktrack.rt.manifest import Manifest
from specktrack.training.specknet import SpeckNet

N_POINTS = 64
PRIOR_SIGMA_PX = 3.0


@dataclass(frozen=True)
class ParityTable:
    """Deviations over all frames but the first, in which the points are set."""

    n_frames: int
    max_feature_error: float
    median_px: float
    p99_px: float
    max_px: float


class TorchEncoder(FeatureMatcher):
    """The network itself behind the same matcher."""

    def __init__(self, network: SpeckNet, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._network = network.eval()

    def encode(self, image: NDArray[np.uint8]) -> FeatureMaps:
        """Image (H, W) uint8 to three maps (h, w, C)."""
        with torch.no_grad():
            maps = self._network(torch.from_numpy(image)[None, None].float() * (1 / 255))
        fine, middle, coarse = (np.ascontiguousarray(m[0].permute(1, 2, 0).numpy()) for m in maps)
        return fine, middle, coarse


def compare(network: SpeckNet, model: Path, manifest: Manifest, images: NDArray[np.uint8]) -> ParityTable:
    """Track the same points through images (T, H, W) of the model's size with network and file."""
    ours, theirs = TorchEncoder(network, manifest), OrtEngine(model)
    rng = np.random.default_rng(0)
    size = np.asarray(manifest.input_size[::-1], np.float32)
    points = (rng.uniform(0.2, 0.8, (N_POINTS, 2)) * size).astype(np.float32)
    prior = Prior(points, np.full(N_POINTS, PRIOR_SIGMA_PX, np.float32))
    ones = np.ones(N_POINTS, np.float32)
    features = [(ours.encode(image), theirs.encode(image)) for image in images]
    worst = max(float(np.abs(a - b).max()) for pair in features for a, b in zip(*pair, strict=True))
    factors = [[Factor(e.templates(f, points), ones, True)] for e, f in zip((ours, theirs), features[0], strict=True)]
    distance = []
    for mine, other in features[1:]:
        a, b = ours.match(mine, factors[0], prior), theirs.match(other, factors[1], prior)
        distance.append(np.hypot(*(a.points - b.points).T))
    px = np.concatenate(distance)
    return ParityTable(len(images), worst, float(np.median(px)), float(np.percentile(px, 99)), float(px.max()))
