"""Directions of motion: polar histograms and how strongly one axis is preferred (directional motion bias)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

BINS = 24
Directions = NDArray[np.float64]  # (M,) radians, 0 to the right, a quarter turn up in the image


def directions_of(vectors: FloatArray, least_px: float) -> Directions:
    """Directions of the vectors (M, 2) x, y in pixels that are longer than `least_px`."""
    length = np.linalg.norm(vectors, axis=-1)
    moving = vectors[length > least_px].astype(np.float64)
    return np.arctan2(-moving[:, 1], moving[:, 0])


def histogram(directions: Directions) -> NDArray[np.float64]:
    """Share of the directions in each of BINS sectors, the first one centred on 0; zeros when there are none."""
    sector = np.floor(directions / (2 * math.pi) * BINS + 0.5).astype(int) % BINS
    counts = np.bincount(sector, minlength=BINS).astype(np.float64)
    return counts / max(counts.sum(), 1.0)


def preference(directions: Directions) -> float:
    """How strongly one axis is preferred: 0 all alike, 1 all along one line (length of the mean doubled angle)."""
    if not len(directions):
        return math.nan
    return float(abs(np.exp(2j * directions).mean()))


def main_axis(vectors: FloatArray) -> NDArray[np.float64]:
    """The line (2,) x, y of unit length along which vectors (M, 2) have most of their squared length."""
    wide = vectors.astype(np.float64)
    axis: NDArray[np.float64] = np.linalg.eigh(wide.T @ wide)[1][:, -1]
    return axis


def share_along(vectors: FloatArray, axis: NDArray[np.float64]) -> float:
    """Share of the squared length of vectors (M, 2) along an axis: 0.5 when they prefer none."""
    wide = vectors.astype(np.float64)
    return float(((wide @ axis) ** 2).sum() / max((wide**2).sum(), 1e-12))


def peak_ratio(directions: Directions) -> float:
    """The fullest sector against an even spread; 1 is impartial."""
    return float(histogram(directions).max() * BINS) if len(directions) else math.nan


def draw(axes: Any, directions: Directions, colour: str, outline: Directions | None = None) -> None:
    """Bars of the histogram on polar axes of matplotlib, the even spread as a dashed circle.

    outline  other directions, drawn as a line that fills the axes whatever its height
    """
    centres = np.arange(BINS) * 2 * math.pi / BINS
    shares = histogram(directions)
    axes.bar(centres, shares, width=2 * math.pi / BINS, color=colour, alpha=0.75, edgecolor="white", linewidth=0.4)
    circle = np.linspace(0, 2 * math.pi, 100)
    axes.plot(circle, np.full(100, 1 / BINS), color="#333333", linewidth=1, linestyle="--")
    highest = max(float(shares.max()), 1 / BINS)
    if outline is not None:
        edge = histogram(outline)
        edge = np.append(edge, edge[0]) * highest / max(float(edge.max()), 1e-12)
        axes.plot(np.append(centres, 2 * math.pi), edge, color="#111111", linewidth=1.4)
    axes.set_ylim(0, 1.08 * highest)
    axes.set_yticks([])
    axes.set_xticks([0, math.pi / 2, math.pi, 3 * math.pi / 2])
    axes.set_xticklabels(["right", "up", "left", "down"], fontsize=8)
