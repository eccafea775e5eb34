"""Optical flow between neighbouring frames: where the motion prior of the next match is centred.

Two cheap, well-known estimators look at the same frames: DIS flow (dense, smooth) and, from there, Lucas-Kanade (each
point on its own). They err differently, so their mean is better than either, and their difference tells how far both
can be trusted. Both follow small motion very well and drift, which the anchored match corrects.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.dense_flow import DenseEstimator, DenseFlow
from specktrack.rt.geometry import FloatArray, is_known
from specktrack.rt.lucas_kanade import LARGE, SMALL, PaddedImages, fit, padded
from specktrack.rt.lucas_kanade_kernel import Padded

UNALIGNED = 40.0  # residual where there is nothing to align


@dataclass(frozen=True)
class Step:
    """Motion of the points since the frame before; NaN for a lost point."""

    displacement: FloatArray  # (N, 2) pixels
    half_difference: FloatArray  # (N, 2) dense flow minus the mean of both, pixels
    aligned: tuple["Aligned", ...] = ()  # patches of earlier frames, around where the points are expected now
    dense: DenseFlow | None = None  # what was computed for it, to be read again


@dataclass(frozen=True)
class Aligned:
    """Where patches of an earlier frame fit best in this one."""

    offset: FloatArray  # (N, 2) pixels from the expected position; zero where there is nothing to align
    residual: FloatArray  # (N,) gray levels by which patch and picture still differ


@dataclass(frozen=True)
class Patches:
    """Where the points were in an earlier frame: its picture around them is aligned to the newest one."""

    image: NDArray[np.uint8]
    points: FloatArray  # (N, 2) pixels


class PointFlow:
    """Displacement of points from the previous image to this one."""

    def __init__(self) -> None:
        self._dense = DenseEstimator()
        self._padded = PaddedImages()
        self._previous: NDArray[np.uint8] | None = None
        self._begun: tuple[Future[Step], list[Future[Aligned]]] | None = None

    def begin(self, image: NDArray[np.uint8], points: FloatArray, earlier: Sequence[Patches] = ()) -> None:
        """Start on what `update` will be asked next, with the same arguments, beside what the caller does now."""
        if self._previous is not None:
            step = flow_worker().submit(self._step, self._previous, image, points, None)
            aligned = [flow_worker().submit(self._align_beside, patch, image, points, step) for patch in earlier]
            self._begun = step, aligned

    def update(
        self,
        image: NDArray[np.uint8],
        points: FloatArray,
        earlier: Sequence[Patches] = (),
        smooth: FloatArray | None = None,
    ) -> Step | None:
        """How far points (N, 2) of the previous image moved to this one (H, W); None for the first image.

        earlier  patches of frames before, which are aligned to this image around where the points are expected
        smooth   (N, 2) their displacement in a dense flow that is known already
        """
        previous, self._previous = self._previous, image
        begun, self._begun = self._begun, None
        if previous is None:
            return None
        if begun is None:
            step = self._step(previous, image, points, smooth)
            return replace(step, aligned=tuple(self._align(patch, image, points, step) for patch in earlier))
        step, under_way = begun[0].result(), list(zip(earlier, begun[1], strict=True))
        aligned: list[Aligned] = []
        for patch, task in reversed(under_way):  # those that nobody has begun are done here meanwhile
            aligned.append(self._align(patch, image, points, step) if task.cancel() else task.result())
        return replace(step, aligned=tuple(reversed(aligned)))

    def reset(self) -> None:
        """Forget the last image: the next one starts anew."""
        if self._begun is not None:
            step, aligned = self._begun
            step.result()
            wait(aligned)
        self._previous = self._begun = None
        self._dense.reset()

    def _step(
        self,
        previous: NDArray[np.uint8],
        image: NDArray[np.uint8],
        points: FloatArray,
        smooth: FloatArray | None,
    ) -> Step:
        dense = None
        if smooth is None:
            dense = self._dense.estimate(previous, image, points)
            smooth = dense.at(points)
        own = _each_alone(self._padded.of(previous), self._padded.of(image), points, smooth)
        return Step(0.5 * (smooth + own), 0.5 * (smooth - own), (), dense)

    def _align(self, patch: Patches, image: NDArray[np.uint8], points: FloatArray, step: Step) -> Aligned:
        expected = points + step.displacement
        return _aligned(self._padded.of(patch.image), self._padded.of(image), patch.points, expected)

    def _align_beside(
        self, patch: Patches, image: NDArray[np.uint8], points: FloatArray, step: Future[Step]
    ) -> Aligned:
        return self._align(patch, image, points, step.result())  # the one worker has finished it before


@cache
def flow_worker() -> ThreadPoolExecutor:
    """One thread for the optical flow of all streams; OpenCV lets go of the interpreter while it works."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="flow")


def _each_alone(before: Padded, after: Padded, points: FloatArray, smooth: FloatArray) -> FloatArray:
    """Displacement (N, 2) of each point by itself, from the dense one on; the dense one where it finds none."""
    known, own = is_known(points), smooth.copy()
    found = fit(before, after, points[known], (points + smooth)[known], SMALL)
    own[known] = np.where(found.is_found[:, None], found.points - points[known], smooth[known])
    return own


def align(before: NDArray[np.uint8], after: NDArray[np.uint8], points: FloatArray, expected: FloatArray) -> Aligned:
    """Fit the patches around points (N, 2) of one image to another, beginning at the expected positions (N, 2).

    A lost (NaN) point has nothing to align.
    """
    return _aligned(padded(before), padded(after), points, expected)


def _aligned(before: Padded, after: Padded, points: FloatArray, expected: FloatArray) -> Aligned:
    offset = np.zeros(points.shape, np.float32)
    residual = np.full(len(points), UNALIGNED, np.float32)
    known = is_known(points) & is_known(expected)
    found = fit(before, after, points[known], expected[known], LARGE)
    offset[known] = np.where(found.is_found[:, None], found.points - expected[known], 0.0)
    residual[known] = np.where(found.is_found, found.residual, UNALIGNED)
    return Aligned(offset, residual)
