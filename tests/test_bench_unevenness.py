"""How smoothly walls move: phantoms against the one real clip with reference tracks (docs/accuracy.md).

Around each point an affine map is fitted to its neighbours (rt/wall_shape.py); what of its motion the fit misses, as a
share of the motion, says how far neighbours may be believed. Part of the real share is noise of the reference tracker.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FAR_UNITS, NEAR_UNITS
from specktrack.rt.position import closeness
from specktrack.rt.wall_shape import local_fit
from specktrack.training.phantom import simulate_clip
from specktrack.training.random_phantom import random_spec, view_of

SEEDS = range(900_000, 900_008)
N_FRAMES = 45


def unevenness(tracks: FloatArray, visible: NDArray[np.bool_]) -> tuple[float, float]:
    """Of tracks (N, T, 2) from their first frame on, units: share missed point by point, and by near neighbours."""
    start = tracks[:, 0]
    near, far = closeness(start, NEAR_UNITS), closeness(start, FAR_UNITS)
    missed = missed_near = moved_all = 0.0
    for t in range(1, min(tracks.shape[1], N_FRAMES)):
        known = visible[:, t] & np.isfinite(tracks[:, t]).all(1) & np.isfinite(start).all(1)
        weight = known[None].astype(np.float32)
        moved = np.where(known[:, None], tracks[:, t] - start, 0.0).astype(np.float32)
        miss = local_fit(start, moved, far * weight) - moved
        together = (near * weight) @ miss / np.maximum((near * weight).sum(1, keepdims=True), 1e-6)
        missed += float((miss[known] ** 2).sum())
        missed_near += float((together[known] ** 2).sum())
        moved_all += float((moved[known] ** 2).sum())
    return (missed / moved_all) ** 0.5, (missed_near / moved_all) ** 0.5


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_real_walls_move_less_smoothly_than_those_of_phantoms(shared_folder: Path) -> None:
    with np.load(shared_folder / "clips" / "a4c_reference.npz") as stored:
        real_tracks = np.float32(stored["tracks"]) * np.float32([256 / 1024, 256 / 768])
        real = unevenness(real_tracks, stored["visible"].astype(bool))
    shares = []
    for seed in SEEDS:
        clip = simulate_clip(random_spec(seed, view_of(seed), size_px=128), N_FRAMES, n_points=64)
        shares.append(unevenness(clip.tracks * np.float32(256 / 128), clip.visible))
    phantom = np.median(shares, axis=0)
    print(f"\nreal {real[0]:.2f}, near together {real[1]:.2f}; phantoms {phantom[0]:.2f}, {phantom[1]:.2f} (medians)")
    assert real[0] > 2 * phantom[0]
    assert real[1] > 2 * phantom[1]
