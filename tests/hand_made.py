"""An engine over hand-made feature maps: every place has its own random direction, so what is right is known."""

import numpy as np

from specktrack.rt.correlation import STRIDES, FeatureMaps
from specktrack.rt.feature_matcher import FeatureMatcher
from specktrack.rt.fusion import FusionNet, steady_weights

CHANNELS = (16, 32, 64)


def random_maps(seed: int, size: int = 64) -> FeatureMaps:
    """Maps of a square image; directions of one cell say nothing about the next."""
    rng = np.random.default_rng(seed)
    maps = []
    for stride, channels in zip(STRIDES, CHANNELS, strict=True):
        values = rng.normal(size=(size // stride, size // stride, channels))
        maps.append((values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32))
    return maps[0], maps[1], maps[2]


def hand_made_engine(size: int = 256) -> FeatureMatcher:
    """Templates and evidence as every network's; it encodes nothing."""
    return FeatureMatcher("hand-made", (size, size), 15.0, FusionNet(steady_weights()))
