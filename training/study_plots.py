"""Figures of the studies: one look, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specktrack.rt.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1495b", "#3d8b5f", "#e09f3e", "#6a4c93", "#5c5c5c", "#00798c")
DOTS_PER_INCH = 120


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure; raises InputError when matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("matplotlib is not installed; install it with pip install specktrack[train]") from error
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> str:
    """Write a PNG; its name, to link to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path.name


def colour(index: int) -> str:
    """The same colour for the same arm in every panel."""
    return COLOURS[index % len(COLOURS)]


def finite(values: Sequence[float]) -> list[float]:
    """NaN as 0: the SD of a single seed draws no bar."""
    return [0.0 if v != v else v for v in values]
