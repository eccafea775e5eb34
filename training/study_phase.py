"""Study `phase`: the moment of the beat at which points are set, swept over the whole cycle."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import cycle
from specktrack.rt.config import MatchConfig, PhaseConfig
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training import phases
from specktrack.training.cases import Case
from specktrack.training.follow import open_follower
from specktrack.training.metrics import figures, measure
from specktrack.training.study_bench import StudyBench, encode, track
from specktrack.training.study_clips import HeldOut
from specktrack.training.study_config import StudyConfig
from specktrack.training.study_loop import matcher_from
from specktrack.training.study_plots import colour, new_figure, save_figure
from specktrack.training.study_report import Report

FIXED_PHASE = 0.72  # the paper's
RESAMPLES = 500  # of the clips, for the spread of the minimum
FIGURES = ("mte_px", "average_percent")
UNCLEAR_PERCENT = 50.0  # of the beat: a minimum spread wider is none
FEWEST_POINTS = 4  # seen throughout; a clip with fewer uses all its points

METHOD = """
Claim: points set in diastasis (about 72 % of the beat) are followed better over the whole cycle than points set
elsewhere. Trained weights are fixed; every held-out clip is tracked from a query frame at each phase, forward and
backward, and judged on all other frames of the clip, the same points each time. `network`: every frame asked on its
own, in a square of {search} px around the query point at {size} px. `stream`: the tracker of the stream with motion
prior and recent templates, without re-anchoring. Diastasis is that of the heart-rate model of the runtime. The spread
of the minimum is over resampled clips (5th to 95th percentile). Supported if the minimum lies inside diastasis and
moves with the heart rate; contradicted by a flat curve or a minimum elsewhere.
"""

Curves = NDArray[np.float64]  # (clips, phases, 2): MTE px, average %; NaN where a clip has no frame at the phase


@dataclass(frozen=True)
class Group:
    """Clips of similar heart rate."""

    name: str
    clips: NDArray[np.int64]
    window: cycle.Window  # diastasis at the median rate


def study_phase(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Sweep the query phase with trained weights."""
    settings = config.phase
    found = bench.held_out(settings.views, settings.size)
    cases = [_seen_throughout(case) for case in found if math.isfinite(case.rate_bpm)]
    if not cases:
        raise InputError(f"{', '.join(config.held_out)}: no clip knows its phase; give clips phase or two ed_frames")
    grid = np.arange(0.0, 1.0, settings.step_percent / 100)
    curves = {"network": _sweep(bench, "network", cases, grid, _by_network(config))}
    if settings.stream:
        follower = open_follower(settings.stream, MatchConfig(), config.threads)
        curves["stream"] = _sweep(
            bench,
            "stream",
            cases,
            grid,
            lambda case, frame: follower.follow(_as_case(case, frame), case.truth[:, frame]).tracks,
        )
        follower.close()
    groups = group_by_rate(cases, settings.rate_edges_bpm)
    own = np.array([_middle_of_diastasis(case.rate_bpm) for case in cases])
    summary = {name: [_summary(group, values, grid, own) for group in groups] for name, values in curves.items()}
    return Report(
        name="phase",
        title="Query phase",
        method=METHOD.format(search=settings.search_px, size=settings.size),
        findings=[_finding(name, row) for name, rows in summary.items() for row in rows],
        tables=[_table(summary)],
        figures=[_draw(name, values, grid, groups, folder) for name, values in curves.items()],
        data={
            "phase_percent": (100 * grid).tolist(),
            "summary": summary,
            "curves": {
                name: [
                    {"clip": case.name, "rate_bpm": case.rate_bpm, **dict(zip(FIGURES, rows.T.tolist(), strict=True))}
                    for case, rows in zip(cases, values, strict=True)
                ]
                for name, values in curves.items()
            },
        },
    )


def _seen_throughout(case: HeldOut) -> HeldOut:
    """The clip with the points that are visible in every frame: the same ones can be set at any phase."""
    always = case.visible.all(1)
    if np.count_nonzero(always) < FEWEST_POINTS:
        return case
    return replace(case, truth=case.truth[always], visible=case.visible[always])


def _by_network(config: StudyConfig) -> Callable[[HeldOut, int], FloatArray]:
    matcher = matcher_from(config.phase.weights).to(config.device)
    last: list[Any] = [None, None]  # clip and its maps: every phase of a clip needs the same

    def tracks(case: HeldOut, frame: int) -> FloatArray:
        if last[0] is not case:
            last[:] = [case, encode(matcher, case)]
        return track(matcher, case, frame, config.phase.search_px, maps=last[1])

    return tracks


def _as_case(case: HeldOut, query_frame: int) -> Case:
    return Case(case.name, case.frames, case.truth, case.visible, query_frame)


def _sweep(
    bench: StudyBench,
    name: str,
    cases: Sequence[HeldOut],
    grid: NDArray[np.float64],
    tracks: Callable[[HeldOut, int], FloatArray],
) -> Curves:
    """Error of every clip from every phase."""
    curves = np.full((len(cases), len(grid), len(FIGURES)), np.nan)
    for row, case in enumerate(bench.each(cases, f"sweep, {name}")):
        for column, phase in enumerate(grid):
            frame = frame_near(case.phase, float(phase))
            if frame is None:
                continue
            errors = measure(tracks(case, frame), case.truth, case.visible, frame, case.extent_px)
            judged = figures(errors)
            if judged is not None:
                curves[row, column] = judged.median_trajectory_error_px, 100 * judged.average
    return curves


def frame_near(phase: FloatArray, wanted: float) -> int | None:
    """The frame at a phase; None when the nearest is further off than a frame."""
    frame = phases.frame_at(phase, wanted)
    steps = np.diff(phase) % 1.0
    if frame is None or not np.isfinite(steps).any():
        return None
    off = abs((float(phase[frame]) - wanted + 0.5) % 1.0 - 0.5)
    return frame if off <= float(np.nanmedian(steps)) else None


def _window(rate_bpm: float) -> cycle.Window:
    config = PhaseConfig()
    return cycle.diastasis_window(60.0 / rate_bpm, cycle.systole_s(rate_bpm, config), config)


def _middle_of_diastasis(rate_bpm: float) -> float:
    window = _window(rate_bpm)
    return 0.5 * (window.start + window.end)


def group_by_rate(cases: Sequence[HeldOut], edges_bpm: Sequence[float]) -> list[Group]:
    """All clips together, then slow to fast; groups without a clip are left out, and a single one."""
    rates = np.array([case.rate_bpm for case in cases])
    bounds = [0.0, *edges_bpm, math.inf]
    everyone = Group("all", np.arange(len(rates)), _window(float(np.median(rates))))
    groups = []
    for low, high in pairwise(bounds):
        members = np.flatnonzero((rates >= low) & (rates < high))
        if len(members):
            name = f"below {high:g}/min" if low == 0 else f"{low:g}/min and more" if high == math.inf else ""
            groups.append(Group(name or f"{low:g} to {high:g}/min", members, _window(float(np.median(rates[members])))))
    return [everyone, *groups] if len(groups) > 1 else [everyone]


def _summary(group: Group, curves: Curves, grid: NDArray[np.float64], own: NDArray[np.float64]) -> dict[str, Any]:
    """Where the error is least and what it is at the phases in question."""
    mine = curves[group.clips]
    mean = _mean_curve(mine)
    centre, low, high = minimum_with_spread(mine[:, :, 0], grid)

    def at(phase: float, curve: NDArray[np.float64]) -> float:
        return float(curve[np.abs((grid - phase + 0.5) % 1.0 - 0.5).argmin(), 0])

    best = int(np.nanargmin(mean[:, 0]))
    at_own = [at(float(own[k]), curves[k]) for k in group.clips]
    return {
        "group": group.name,
        "clips": len(group.clips),
        "diastasis_percent": [100 * group.window.start, 100 * group.window.end],
        "minimum_percent": 100 * centre,
        "minimum_from_percent": 100 * low,
        "minimum_to_percent": 100 * high,
        "mte_at_minimum_px": float(mean[best, 0]),
        "mte_at_end_diastole_px": at(0.0, mean),
        "mte_at_72_percent_px": at(FIXED_PHASE, mean),
        "mte_at_own_diastasis_px": float(np.nanmean(at_own)) if np.isfinite(at_own).any() else math.nan,
        "mte_worst_px": float(np.nanmax(mean[:, 0])),
    }


def _mean_curve(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over clips; NaN where no clip has the phase."""
    known = np.isfinite(curves)
    total = np.where(known, curves, 0.0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


def minimum_with_spread(errors: NDArray[np.float64], grid: NDArray[np.float64]) -> tuple[float, float, float]:
    """Phase of the least mean error of (clips, phases), and the 5th and 95th percentile over resampled clips.

    The ends count from the minimum both ways round the circle; they may lie below 0 or above 1.
    """
    rng = np.random.default_rng(0)
    best = float(grid[np.nanargmin(_mean_curve(errors))])
    others = []
    for _ in range(RESAMPLES):
        mean = _mean_curve(errors[rng.integers(len(errors), size=len(errors))])
        others.append(float(grid[np.nanargmin(mean)]))
    away = (np.array(others) - best + 0.5) % 1.0 - 0.5
    low, high = np.percentile(away, [5, 95])
    return best, best + float(low), best + float(high)


def _finding(tracker: str, row: dict[str, Any]) -> str:
    start, end = row["diastasis_percent"]
    window = f"diastasis {start:.0f} to {end:.0f} %" if end > start else "no diastasis at this rate"
    low, high = row["minimum_from_percent"], row["minimum_to_percent"]
    where = f"least error at {row['minimum_percent']:.0f} % ({low:.0f} to {high:.0f} %)"
    if high - low > UNCLEAR_PERCENT:
        where = "no clear minimum"
    return f"{tracker}, {row['group']} ({row['clips']} clips, {window}): {where}."


def _table(summary: dict[str, list[dict[str, Any]]]) -> str:
    heads = (
        "| tracker | heart rate | clips | minimum at % | MTE there px | at ED | at 72 % | in own diastasis | worst |"
    )
    rows = [heads, "|---" * 9 + "|"]
    for tracker, groups in summary.items():
        for row in groups:
            keys = ("at_minimum", "at_end_diastole", "at_72_percent", "at_own_diastasis")
            errors = " | ".join(f"{row[f'mte_{key}_px']:.2f}" for key in keys)
            rows.append(
                f"| {tracker} | {row['group']} | {row['clips']} | {row['minimum_percent']:.0f} | {errors} | "
                f"{row['mte_worst_px']:.2f} |"
            )
    return "\n".join(rows)


def _draw(tracker: str, curves: Curves, grid: NDArray[np.float64], groups: Sequence[Group], folder: Path) -> str:
    figure = new_figure(max(2.9 * len(groups) + 0.6, 5.0), 5.4)
    labels = ("MTE, px at 256", "average position accuracy, %")
    for k, group in enumerate(groups):
        mine = curves[group.clips]
        for row, label in enumerate(labels):
            axes = figure.add_subplot(2, len(groups), row * len(groups) + k + 1)
            mean = _mean_curve(mine)[:, row]
            error = np.array([_standard_error(mine[:, column, row]) for column in range(len(grid))])
            percent, mean, error = np.append(100 * grid, 100.0), np.append(mean, mean[0]), np.append(error, error[0])
            if group.window.is_open:
                axes.axvspan(100 * group.window.start, 100 * group.window.end, color="#e09f3e", alpha=0.3, lw=0)
            axes.axvline(100 * FIXED_PHASE, color="#333333", lw=1, ls="--")
            axes.fill_between(percent, mean - error, mean + error, color=colour(row), alpha=0.25, lw=0)
            axes.plot(percent, mean, color=colour(row), marker=".")
            axes.set_xlim(0, 100)
            axes.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axes.set_title(f"{group.name} ({len(group.clips)} clips)", fontsize=9)
            else:
                axes.set_xlabel("query phase, % of the beat")
            if k == 0:
                axes.set_ylabel(label)
    figure.suptitle(
        f"{tracker}: error over the whole cycle by query phase\nshaded: diastasis, dashed: 72 %", fontsize=10
    )
    return save_figure(figure, folder / f"phase_{tracker}.png")


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean over clips; 0 where fewer than two clips are known."""
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else 0.0
