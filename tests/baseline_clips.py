"""A speckled picture that moves by a known path: what trackers of any kind are given in tests."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def drifting_speckle(n_frames: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (T, size, size) of smooth noise that shifts right by a pixel a frame."""
    rng = np.random.default_rng(seed)
    wide = rng.uniform(0, 255, (size, size + n_frames)).astype(np.float32)
    smooth = (wide + np.roll(wide, 1, 0) + np.roll(wide, 1, 1) + np.roll(wide, (1, 1), (0, 1))) / 4
    return np.stack([smooth[:, n_frames - k : n_frames - k + size] for k in range(n_frames)]).astype(np.uint8)


def colour_video(n_frames: int, size: int) -> Tensor:
    """Frames (T, 3, size, size), 0..255."""
    return torch.from_numpy(drifting_speckle(n_frames, size))[:, None].float().expand(-1, 3, -1, -1)
