"""How far an exported file is from the network it came from: in features, and in pixels of the points it finds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.manifest import Manifest, open_fusion
from specktrack.rt.position import inside, soft_argmax
from specktrack.training.encoder import TorchEncoder
from specktrack.training.specknet import SpeckNet

N_POINTS = 64
PRIOR_SIGMA_PX = 3.0
SIDE = 21


@dataclass(frozen=True)
class ParityTable:
    """Deviations over all frames but the first, in which the points are set."""

    n_frames: int
    max_feature_error: float
    median_px: float
    p99_px: float
    max_px: float


def compare(network: SpeckNet, model: Path, manifest: Manifest, images: NDArray[np.uint8]) -> ParityTable:
    """Read the same evidence in images (T, H, W) of the model's size with network and file."""
    theirs = OrtEngine(model)
    ours = TorchEncoder(network, manifest.model, open_fusion(model, manifest), manifest.input_size)
    rng = np.random.default_rng(0)
    size = np.asarray(manifest.input_size[::-1], np.float32)
    points = (rng.uniform(0.2, 0.8, (N_POINTS, 2)) * size).astype(np.float32)
    features = [(ours.encode(image), theirs.encode(image)) for image in images]
    worst = max(float(np.abs(a - b).max()) for pair in features for a, b in zip(*pair, strict=True))
    templates = [engine.templates(maps, points) for engine, maps in zip((ours, theirs), features[0], strict=True)]
    is_open = inside(points, SIDE, manifest.input_size)
    distance = []
    for pair in features[1:]:
        found = [
            soft_argmax(engine.evidence(maps, [template], points, SIDE)[0], PRIOR_SIGMA_PX, is_open).px
            for engine, maps, template in zip((ours, theirs), pair, templates, strict=True)
        ]
        distance.append(np.hypot(*(found[0] - found[1]).T))
    px = np.concatenate(distance)
    return ParityTable(len(images), worst, float(np.median(px)), float(np.percentile(px, 99)), float(px.max()))
