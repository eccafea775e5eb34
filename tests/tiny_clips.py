"""Small training clips for tests: moving bright dots, cheap and exact."""

import numpy as np

from specktrack.rt.geometry import FloatArray
from specktrack.training.clip_format import TrainingClip


def dot_image(points: FloatArray, height: int, width: int, sigma_px: float = 2.0) -> np.ndarray:
    """Gaussian dots at (N, 2) on black, uint8 (H, W)."""
    y, x = np.mgrid[:height, :width]
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    return np.asarray(np.clip(250 * np.exp(-0.5 * squared / sigma_px**2).sum(0), 0, 255).round(), np.uint8)


def moving_dots(
    n_frames: int = 10, n_points: int = 5, height: int = 72, width: int = 96, seed: int = 0
) -> TrainingClip:
    """Dots that drift apart from one another; all visible in every frame."""
    rng = np.random.default_rng(seed)
    margin = min(24, height // 3)
    start = rng.uniform((margin, margin), (width - margin, height - margin), (n_points, 2))
    speed = rng.uniform(-1.5, 1.5, (n_points, 2))
    time = np.arange(n_frames)[None, :, None]
    tracks = (start[:, None] + speed[:, None] * time).astype(np.float32)
    frames = np.stack([dot_image(tracks[:, t], height, width) for t in range(n_frames)])
    visible = np.ones((n_points, n_frames), bool)
    return TrainingClip(f"dots-{seed}", frames, tracks, visible, 50.0, (0.5, 0.5), (0, 5), (2,), "a4c")


def centroid(image: np.ndarray, near: FloatArray, radius: int = 8) -> FloatArray:
    """Brightness-weighted middle (2,) x, y of the part of the image around a point."""
    x0, y0 = (round(float(v)) - radius for v in near)
    part = image[max(y0, 0) : y0 + 2 * radius + 1, max(x0, 0) : x0 + 2 * radius + 1].astype(np.float64)
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    total = part.sum()
    middle = ((part * x).sum() / total + max(x0, 0), (part * y).sum() / total + max(y0, 0))
    return np.array(middle, np.float32)
