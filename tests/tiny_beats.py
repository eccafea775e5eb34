"""Small beating clips for tests: a speckled sheet that is pulled along one axis and lets go, cheap and exact."""

import math
from pathlib import Path

import cv2
import numpy as np

from specktrack.training.clip_format import TrainingClip, save_clip

PERIOD = 12  # frames
RATE_HZ = 14.0  # 70 beats a minute


def beating_sheet(
    view: str = "a4c", seed: int = 0, n_frames: int = 26, size: int = 72, pull_px: float = 5.0, axis_deg: float = 90.0
) -> TrainingClip:
    """A sheet whose points (N, 2) all swing by `pull_px` along one axis (90: up and down), back in place every beat."""
    rng = np.random.default_rng(seed)
    margin = math.ceil(pull_px) + 2
    sheet = cv2.GaussianBlur(rng.standard_normal((size + 2 * margin,) * 2).astype(np.float32), (0, 0), 1.2)
    sheet = 120 + 60 * sheet / sheet.std()
    phase = ((np.arange(n_frames) % PERIOD) / PERIOD).astype(np.float32)
    state = np.sin(np.pi * np.minimum(phase / 0.6, 1.0)) ** 2  # contracts and relaxes, then rests
    direction = np.array([math.cos(math.radians(axis_deg)), math.sin(math.radians(axis_deg))])
    shift = -pull_px * state[:, None] * direction  # (T, 2)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    frames = [
        cv2.remap(sheet, (x + margin - dx).astype(np.float32), (y + margin - dy).astype(np.float32), cv2.INTER_LINEAR)
        for dx, dy in shift
    ]
    grid = np.stack(np.meshgrid(*[np.linspace(20, size - 20, 4)] * 2), -1).reshape(-1, 1, 2)
    tracks = (grid + shift).astype(np.float32)
    visible = np.ones(tracks.shape[:2], bool)
    pixels = np.clip(np.stack(frames), 0, 255).astype(np.uint8)
    rest = round(0.75 * PERIOD)
    return TrainingClip(
        f"{view}-{seed:06d}",
        pixels,
        tracks,
        visible,
        RATE_HZ,
        (0.5, 0.5),
        (0, PERIOD),
        (),
        view,
        None,
        None,
        phase,
        rest,
    )


def write_sheets(folder: Path, views: dict[str, int], axis_deg: dict[str, float] | None = None) -> Path:
    """So many clips of each view, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for view, count in views.items():
        for seed in range(count):
            clip = beating_sheet(view, seed, axis_deg=(axis_deg or {}).get(view, 90.0))
            save_clip(folder / f"{clip.name}.npz", clip)
    return folder
