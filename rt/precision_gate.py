"""Whether bfloat16 may be used on this CPU for this model: asked once, by following points, and remembered.

The same engine follows a contour over a moving, slowly changing picture in FP32 and in bfloat16. The gate passes when
the points stay within the bound of `parity.py`. The answer holds for this model, CPU and version of the library.
"""

import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.cache import processor, recall, remember
from specktrack.rt.engine import Engine
from specktrack.rt.manifest import file_sha256
from specktrack.rt.parity import Deviation, VerifyClip, arch, compare, follow
from specktrack.rt.self_check import speckle

log = logging.getLogger(__name__)

N_FRAMES = 40
SWAY_PX = 6.0
KEPT = 0.97  # share of the speckle that is still there a frame later


def may_use_bf16(model: Path, library: str, open_in: Callable[[str], Engine]) -> bool:
    """Remembered, or found out now by `open_in("fp32")` and `open_in("bf16")`."""
    key = {"model": file_sha256(model), "cpu": processor(), library: version(library), "gate": "1"}
    known = recall("bf16", key)
    if known is None:
        row = _measure(open_in)
        known = {"passed": row.is_within, "p99_px": row.p99_px, "strain_points": row.strain_points}
        remember("bf16", key, known)
        log.info("bf16 gate: p99 %.4f px, %.3f strain points", row.p99_px, row.strain_points)
    if not known["passed"]:
        log.info("bf16 is not used: it moves points by %.3f px (p99) on this CPU", known["p99_px"])
    return bool(known["passed"])


def _measure(open_in: Callable[[str], Engine]) -> Deviation:
    exact, fast = open_in("fp32"), open_in("bf16")
    try:
        clip = swaying_clip(exact.input_size, N_FRAMES)
        return compare(clip, follow(exact, clip), fast, fast.name)
    finally:
        exact.close()
        fast.close()


def swaying_clip(size: tuple[int, int], n_frames: int) -> VerifyClip:
    """Speckle that sways, breathes and slowly changes, with a contour on it."""
    height, width = size
    content = [speckle(size, (0, 0), seed).astype(np.float32) for seed in range(2)]
    frames = [_swayed(content, k, n_frames) for k in range(n_frames)]
    return VerifyClip("swaying speckle", np.stack(frames), arch(height, width))


def _swayed(content: list[NDArray[np.float32]], k: int, n_frames: int) -> NDArray[np.uint8]:
    height, width = content[0].shape
    angle = 2 * np.pi * k / n_frames
    kept = KEPT**k
    picture = kept * content[0] + (1 - kept) * content[1]
    scale = 1 + 0.05 * np.sin(angle)
    dx = SWAY_PX * np.sin(angle) + (1 - scale) * width / 2
    dy = SWAY_PX * (1 - np.cos(angle)) / 2 + (1 - scale) * height / 2
    moved = cv2.warpAffine(
        picture, np.array([[scale, 0, dx], [0, scale, dy]]), (width, height), borderMode=cv2.BORDER_REFLECT
    )
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)
