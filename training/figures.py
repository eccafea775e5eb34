"""Figures of `eval-tracker`, 1000 pixels wide. matplotlib is imported only here."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specktrack.rt.errors import InputError
from specktrack.training.score import CONFIDENCE_BINS
from specktrack.training.strain_agreement import Agreement
from specktrack.training.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")  # Okabe and Ito
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH_IN, DPI = 10.0, 100
PER_ROW = 3  # Bland-Altman plots
NO_MOTION = "no-motion"


def require_matplotlib() -> None:
    """Raises InputError with the remedy where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "figures need matplotlib, which is not installed; pip install 'specktrack[train]' or set figures=false"
        ) from error


def draw_figures(folder: Path, summaries: Sequence[Summary]) -> list[str]:
    """Write every figure there is data for; returns their file names."""
    drawn = []
    for name, draw in FIGURES.items():
        figure = draw(summaries)
        if figure is not None:
            figure.savefig(folder / name, dpi=DPI)
            drawn.append(name)
    return drawn


def _new(height_in: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, list(axes.flat)


def by_phase(summaries: Sequence[Summary]) -> "Figure | None":
    """Average accuracy and MTE in every phase of the beat, a bar for each tracker."""
    phases = list(dict.fromkeys(phase for summary in summaries for phase in summary.by_phase))
    if not phases:
        return None
    figure, (shares, errors) = _new(4.6, 1, 2)
    width = 0.8 / len(summaries)
    for k, summary in enumerate(summaries):
        accuracies = [summary.by_phase[phase].accuracy if phase in summary.by_phase else None for phase in phases]
        at = np.arange(len(phases)) + (k - 0.5 * (len(summaries) - 1)) * width
        average = [100 * a.average if a else np.nan for a in accuracies]
        mte = [_finite(a.median_trajectory_error_px) if a else np.nan for a in accuracies]
        shares.bar(at, average, width * 0.92, color=_colour(k), label=summary.tracker)
        errors.bar(at, mte, width * 0.92, color=_colour(k))
    for axis, label in ((shares, "average position accuracy, %"), (errors, "median trajectory error, px at 256")):
        axis.set_xticks(np.arange(len(phases)), [phase.replace("_", "\n") for phase in phases])
        axis.set_ylabel(label)
        axis.grid(axis="x", visible=False)
    shares.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=min(len(summaries), 6), frameon=False)
    return figure


def by_distance(summaries: Sequence[Summary]) -> "Figure | None":
    """Error against the distance from the query frame: median over clips, and the middle half of the clips."""
    figure, (axis,) = _new(5.0)
    highest = 0.0
    for k, summary in enumerate(summaries):
        profile = summary.profile
        axis.plot(profile.frames, profile.median_px, color=_colour(k), label=summary.tracker, linewidth=1.8)
        if summary.n_clips > 1:
            axis.fill_between(profile.frames, profile.lower_px, profile.upper_px, color=_colour(k), alpha=0.12, lw=0)
        highest = max([highest, *(v for v in profile.median_px if np.isfinite(v))])
    axis.set_xlabel("distance from the query frame, frames")
    axis.set_ylabel("error, px at 256")
    axis.set_xlim(left=0)
    axis.set_ylim(0, 1.3 * highest or 1.0)  # for the lines; the shade of a tracker that fails may leave the picture
    figure.legend(loc="outside upper center", ncols=min(len(summaries), 6), frameon=False)
    n_clips = max(summary.n_clips for summary in summaries)
    if n_clips > 1:
        axis.set_title(f"median over {n_clips} clips; shaded: the middle half of the clips", fontsize=10)
    return figure


def bland_altman(summaries: Sequence[Summary]) -> "Figure | None":
    """Difference against mean of measured and true GLS, one plot for each tracker, on the same axes.

    Without motion there is no strain, and a plot of it would only stretch the axes of the others.
    """
    shown = [(s, s.gls) for s in summaries if s.gls is not None and s.gls.n and s.tracker != NO_MOTION]
    if not shown:
        return None
    columns = 2 if len(shown) == 4 else min(len(shown), PER_ROW)
    rows = -(-len(shown) // columns)
    figure, axes = _new(0.5 + 3.6 * rows, rows, columns)
    points = {
        s.tracker: np.array([(p.truth, p.measured) for p in s.gls_pairs if p.measured is not None]) for s, _ in shown
    }
    everything = np.concatenate(list(points.values()))
    left, right = everything.mean(1).min() - 1.0, everything.mean(1).max() + 1.0
    reach = 1.15 * max(np.abs(np.diff(everything)).max(), *(abs(v) for _, a in shown for v in _lines(a)), 1.0)
    for axis, (summary, a) in zip(axes, shown, strict=False):
        truth, measured = points[summary.tracker].T
        axis.scatter(0.5 * (truth + measured), measured - truth, s=18, color=COLOURS[0], alpha=0.6, lw=0)
        axis.axhline(0, color="black", linewidth=0.6)
        for value, style, label in zip(_lines(a), ("-", "--", "--"), ("bias", "limits of agreement", ""), strict=False):
            axis.axhline(value, color="#444444", linewidth=1.2, linestyle=style, label=label)
        axis.set(xlim=(left, right), ylim=(-reach, reach))
        limits = f"limits {a.lower:+.1f} to {a.upper:+.1f}" if a.n > 1 else "one clip, no limits"
        axis.set_title(f"{summary.tracker}  (n = {a.n})\nbias {a.bias:+.2f}, {limits}", fontsize=10)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("mean of measured and true GLS, %", fontsize=10)
    figure.supylabel("measured less true GLS, strain points", fontsize=10)
    return figure


def _lines(a: Agreement) -> list[float]:
    """Bias and, with more than one clip, the limits of agreement."""
    return [value for value in (a.bias, a.lower, a.upper) if np.isfinite(value)]


def reliability(summaries: Sequence[Summary]) -> "Figure | None":
    """Share within 4 px against confidence, and how often each confidence is given."""
    shown = [(k, s.tracker, s.reliability) for k, s in enumerate(summaries) if s.reliability is not None]
    if not shown:
        return None
    figure, (curve, histogram) = _new(4.6, 1, 2)
    middles = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    width = 0.8 / CONFIDENCE_BINS / len(shown)
    curve.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="calibrated")
    for j, (k, tracker, r) in enumerate(shown):
        counts, good = np.array(r.counts, float), np.array(r.good, float)
        has = counts > 0
        curve.plot(middles[has], good[has] / counts[has], color=_colour(k), marker=MARKS[k % len(MARKS)], label=tracker)
        at = middles + (j - 0.5 * (len(shown) - 1)) * width
        histogram.bar(at, 100 * counts / max(counts.sum(), 1), width, color=_colour(k))
    curve.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share within 4 px (at 256)")
    histogram.set(xlim=(0, 1), xlabel="confidence", ylabel="positions, %")
    handles, names = curve.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 6), frameon=False)
    return figure


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _finite(value: float) -> float:
    return value if np.isfinite(value) else np.nan


FIGURES: dict[str, Callable[[Sequence[Summary]], "Figure | None"]] = {
    "accuracy_by_phase.png": by_phase,
    "error_by_distance.png": by_distance,
    "bland_altman.png": bland_altman,
    "reliability.png": reliability,
}
