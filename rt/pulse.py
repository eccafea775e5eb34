"""The beating of the image itself: what recent frames have in common, without any tracking.

Small normalised copies of the frames are kept in a ring together with all their products (a Gram matrix, one new
row a frame). From it come the similarity of neighbours (motion) and the strongest joint movements of the picture
(principal components over time, slow trends such as breathing taken out), refreshed by one power iteration a frame.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.cycle import Signal, orthonormal, trend_basis
from specktrack.rt.geometry import FloatArray

SIDE = 32  # area-averaging to this size removes most speckle noise and keeps sub-pixel motion as grey value
COMPONENTS = 3
SMOOTH_POINTS = 5  # of a contour, averaged for its length
NOISE_SHARE = 0.5  # of the least change ever seen in the ring
MIN_ENERGY = 2e-6  # mean squared change of the normalised frames: below it the image stands still


class Pulse:
    """Ring of the last `capacity` frames at most `max_rate_hz` apart, in order of time through `order`."""

    def __init__(self, capacity: int = 256, max_rate_hz: float = 66.0) -> None:
        self._min_step_s = 0.9 / max_rate_hz
        self._frames = np.zeros((capacity, SIDE * SIDE), np.float32)
        self._gram = np.zeros((capacity, capacity), np.float32)
        self._basis = np.zeros((capacity, COMPONENTS), np.float32)
        self._strength = np.zeros(COMPONENTS, np.float32)
        self._times = np.zeros(capacity)
        self._extra = np.full((capacity, 2), np.nan)  # contour length, motion of the tracks in px/s
        self.reset()

    def reset(self) -> None:
        """Forget every frame."""
        self._count = 0
        self.order = np.arange(0)  # slots of the ring, oldest first

    @property
    def newest_s(self) -> float:
        """Time of the newest frame kept; -inf when empty."""
        return float(self._times[(self._count - 1) % len(self._times)]) if self._count else -np.inf

    def update(
        self, time_s: float, image: NDArray[np.uint8], contour_length: float | None, motion_px_s: float | None
    ) -> bool:
        """Take in one frame (H, W); False when it comes too soon after the last one kept to tell more."""
        if time_s < self.newest_s + self._min_step_s:
            return False
        slot, last = self._count % len(self._times), (self._count - 1) % len(self._times)
        self._frames[slot] = _small(image)
        self._times[slot] = time_s
        self._extra[slot] = [np.nan if v is None else v for v in (contour_length, motion_px_s)]
        self._basis[slot] = self._basis[last] if self._count else 1.0
        self._count += 1
        self.order = np.arange(max(self._count - len(self._times), 0), self._count) % len(self._times)
        used = min(self._count, len(self._times))
        products = self._frames[:used] @ self._frames[slot]
        self._gram[slot, :used] = products
        self._gram[:used, slot] = products
        self._refine(used)
        return True

    def _refine(self, used: int) -> None:
        """One step of the power iteration for the strongest movements among the frames in use."""
        if used < 12:
            self._basis[:used] = np.random.default_rng(used).normal(size=(used, COMPONENTS))
            return
        trend = trend_basis(self._times[:used]).astype(np.float32)
        q = self._basis[:used]
        q = self._gram[:used, :used] @ (q - trend @ (trend.T @ q))
        self._basis[:used], size = orthonormal((q - trend @ (trend.T @ q)).astype(np.float64))
        self._strength[:] = np.sqrt(size)

    @property
    def times(self) -> Signal:
        """Times of the frames kept (T,), s, oldest first."""
        return self._times[self.order]

    @property
    def components(self) -> Signal:
        """Strongest movements of the picture (T, 3), strongest first, sign unknown, without slow trends."""
        return (self._basis[self.order] * self._strength).astype(np.float64)

    @property
    def lengths(self) -> Signal:
        """Contour lengths given with the frames (T,); NaN where there was none."""
        return self._extra[self.order, 0]

    @property
    def is_still(self) -> bool:
        """True while the picture does not change: a frozen or a dead image has no beat."""
        used = min(self._count, len(self._times))
        return used < 8 or float((self._strength**2).sum()) / used < MIN_ENERGY

    @property
    def motion_energy(self) -> Signal:
        """Squared motion since the frame before (T,), any unit: of the tracks where all are given, else of the image.

        The image's is the dissimilarity of neighbours per squared second, which is a squared distance.
        """
        order = self.order
        tracks = self._extra[order, 1]
        if np.isfinite(tracks[len(tracks) // 2 :]).mean() > 0.8:
            return tracks**2
        energy = np.full(len(order), np.nan)
        step = np.maximum(np.diff(self._times[order]), 1e-3)
        likeness = self._gram[order[1:], order[:-1]].astype(np.float64)
        energy[1:] = np.maximum(1.0 - likeness, 0.0) / step**2
        # Part of the change is decorrelation and noise, which a heart at rest shows too.
        return energy - NOISE_SHARE * np.nanmin(energy) if len(order) > 1 else energy


def wall_length(points: FloatArray) -> float | None:
    """Length of a tracked contour (N, 2), any unit, for the phase: unsure points count as well.

    Not for strain: it shall go on, smoothly, where a measure would have to stop. None while a point is not known.
    """
    if not np.isfinite(points).all():
        return None
    corners = _corners(len(points)) @ points
    return float(np.hypot(*np.diff(corners, axis=0).T).sum())


@cache
def _corners(n_points: int) -> Signal:
    """What takes points (N, 2) to the corners of a smoothed line: moving averages far enough apart not to overlap.

    Beyond its ends the line goes on as its own image, so that they are not pulled inwards.
    """
    reach = min(SMOOTH_POINTS // 2, (n_points - 1) // 2)
    padded = np.pad(np.eye(n_points), ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    smooth: Signal = windows.mean(axis=-1)
    return np.ascontiguousarray(smooth[:: max(reach, 1) * 2 + 1])


def _small(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Image (H, W) area-averaged to SIDE x SIDE, zero mean and unit norm, so that gain does not count; flattened."""
    half = cv2.resize(image, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_AREA)
    # The last step in float32: rounding to whole grey values would hide slow motion.
    small = cv2.resize(half.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    result: NDArray[np.float32] = small / norm if norm > 1e-3 else np.zeros_like(small)
    return result
