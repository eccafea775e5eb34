"""Study `bias`: does a network learn where hearts usually move, and does the affine augmentation cure it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray
from specktrack.training import polar
from specktrack.training.data import ExampleSettings
from specktrack.training.metrics import EVALUATION_SIDE_PX, Accuracy, mean_accuracy
from specktrack.training.study_bench import StudyBench, accuracy_of, track
from specktrack.training.study_clips import HeldOut
from specktrack.training.study_config import AffineName, StudyConfig
from specktrack.training.study_loop import AFFINES, draw_pairs
from specktrack.training.study_plots import colour, finite, new_figure, save_figure
from specktrack.training.study_report import Line, Report, accuracy_table, lines_as_data, plus_minus

MOVING_PX = 1.0  # at 256: shorter displacements have no direction
WRONG_PX = 2.0
PAIRS = 300  # drawn for the histograms of the training data

NAMES: dict[AffineName, str] = {
    "none": "no affine map",
    "zoom": "zoom and shift only",
    "flips": "with flips",
    "30": "rotation ±30°",
    "60": "rotation ±60°",
    "120": "rotation ±120°",
}

METHOD = """
Claim: networks trained on echo clips as they come learn the customary directions of motion; rotating, shearing and
flipping clip and tracks together cures it. One network a seed is trained on the known views with each augmentation
(`zoom` keeps zoom, stretch and shift but never turns or mirrors: what differs between it and the rotations is
direction alone) and tracks held-out clips of the known views, of a view it never saw, and of the known views turned,
whose motion goes another way (turning also turns the scanner's grain, the unseen view does not). Supported if the
augmentation gains little on known and much on unseen directions, and if errors without it point along the customary
axis. *Customary axis*: the line along which the training clips as they come move most; the table gives the share of
the squared error along it. A network that merely follows too little errs along the true motion, so look where that
is another: above 50 % there is habit. *Axis preference* is the length of the mean doubled angle: 0 all directions
alike, 1 all along one line.
"""


@dataclass(frozen=True)
class _Outcome:
    """One arm on one set of clips."""

    line: Line
    errors: FloatArray  # (M, 2) px at 256, of all seeds


def study_bias(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Train with and without the augmentation, track known and unknown directions."""
    sets = _clip_sets(config, bench)
    outcomes = [outcome for arm in config.bias.arms for outcome in _run_arm(config, bench, arm, sets)]
    raw, turned = (_pair_displacements(config, bench, arm) for arm in ("none", config.affine))
    axis = polar.main_axis(raw)
    motions = {name: np.concatenate([displacements(case) for case in cases]) for name, cases in sets.items()}
    data_figure = {
        "training pairs\nas they come": raw,
        f"training pairs\n{NAMES[config.affine]}": turned,
        **{f"held out,\n{name}": vectors for name, vectors in motions.items()},
    }
    figures = [_draw_data(data_figure, folder), _draw_errors(outcomes, motions, folder), _draw_gap(outcomes, folder)]
    lines = [outcome.line for outcome in outcomes]
    return Report(
        name="bias",
        title="Directional bias: augmentation on and off",
        method=METHOD,
        findings=_findings(config, lines, list(sets)),
        tables=[accuracy_table(lines), _direction_table(outcomes, axis), _motion_table(data_figure, axis)],
        figures=figures,
        data={
            "lines": lines_as_data(lines),
            "data_directions": {k: _histogram(v, MOVING_PX, axis) for k, v in data_figure.items()},
            "error_directions": {
                f"{o.line.arm}, {o.line.clips}": _histogram(o.errors, WRONG_PX, axis) for o in outcomes
            },
        },
    )


def _clip_sets(config: StudyConfig, bench: StudyBench) -> dict[str, list[HeldOut]]:
    turned = config.bias.turned_deg
    known = bench.held_out(config.train_views)
    return {
        f"known views ({', '.join(sorted({case.view for case in known}))})": known,
        f"unseen view ({', '.join(config.bias.unseen_views)})": bench.held_out(config.bias.unseen_views),
        f"known views, turned {turned:g}°": bench.held_out(config.train_views, turned_deg=turned),
    }


def _run_arm(config: StudyConfig, bench: StudyBench, arm: AffineName, sets: dict[str, list[HeldOut]]) -> list[_Outcome]:
    """Train the arm's seeds and track every set with each."""
    figures: dict[str, list[Accuracy]] = {name: [] for name in sets}
    errors: dict[str, list[FloatArray]] = {name: [] for name in sets}
    for seed in config.seeds:
        matcher = bench.trained(bench.run(seed, affine=arm), NAMES[arm])
        for name, cases in sets.items():
            parts = []
            for case in bench.each(cases, f"track {name}"):
                tracks = track(matcher, case, case.query_frame, config.search_px)
                parts.append(accuracy_of(case, tracks))
                errors[name].append(_judged(case, tracks - case.truth))
            figures[name].append(mean_accuracy(parts))
    return [_Outcome(Line(NAMES[arm], name, tuple(figures[name])), np.concatenate(errors[name])) for name in sets]


def _judged(case: HeldOut, vectors: FloatArray) -> FloatArray:
    """Of vectors (N, T, 2) those of visible points outside the query frame, (M, 2) px at 256."""
    counts = case.visible.copy()
    counts[:, case.query_frame] = False
    return vectors[counts] * np.float32(EVALUATION_SIDE_PX / case.frames.shape[1])


def displacements(case: HeldOut) -> FloatArray:
    """How far points of a clip are from where they were set, (M, 2) px at 256."""
    return _judged(case, case.truth - case.truth[:, case.query_frame, None])


def _pair_displacements(config: StudyConfig, bench: StudyBench, arm: AffineName) -> FloatArray:
    """Displacements (M, 2), px at 256, of the pairs a network is trained on."""
    settings = ExampleSettings(config.size, config.n_points, (), AFFINES[arm], False, config.query)
    batch = draw_pairs(config.seeds[0], 0, bench.train_clips, PAIRS, settings)
    seen = batch.visible[:, 0] & batch.visible[:, -1]
    moved = (batch.points[:, -1] - batch.points[:, 0])[seen]
    return moved * np.float32(EVALUATION_SIDE_PX / config.size)


def _histogram(vectors: FloatArray, least_px: float, axis: NDArray[np.float64]) -> dict[str, object]:
    directions = polar.directions_of(vectors, least_px)
    return {
        "vectors": len(directions),
        "shares": polar.histogram(directions).tolist(),
        "axis_preference": polar.preference(directions),
        "share_along_customary_axis": polar.share_along(vectors, axis),
        "peak_ratio": polar.peak_ratio(directions),
    }


def _findings(config: StudyConfig, lines: Sequence[Line], sets: Sequence[str]) -> list[str]:
    first, last = (NAMES[arm] for arm in (config.bias.arms[0], config.bias.arms[-1]))
    found = []
    for name in sets:
        without, with_ = (next(x for x in lines if (x.arm, x.clips) == (arm, name)) for arm in (first, last))
        change = 100 * (with_.mean("mte") / without.mean("mte") - 1)
        found.append(
            f"{name}: MTE {plus_minus(without.values('mte'), 2)} px with {first}, {plus_minus(with_.values('mte'), 2)} "
            f"px with {last} ({change:+.0f} %)."
        )
    return found


def _direction_table(outcomes: Sequence[_Outcome], axis: NDArray[np.float64]) -> str:
    rows = [
        f"| arm | clips | errors above {WRONG_PX:g} px | axis preference | squared error along the customary axis % |",
        "|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        directions = polar.directions_of(outcome.errors, WRONG_PX)
        rows.append(
            f"| {outcome.line.arm} | {outcome.line.clips} | {len(directions)} | {polar.preference(directions):.2f} | "
            f"{100 * polar.share_along(outcome.errors, axis):.0f} |"
        )
    return "\n".join(rows)


def _motion_table(motions: dict[str, FloatArray], axis: NDArray[np.float64]) -> str:
    rows = [
        f"| displacements above {MOVING_PX:g} px | axis preference | fullest sector / even | along customary axis % |",
        "|---|---|---|---|",
    ]
    for name, vectors in motions.items():
        directions = polar.directions_of(vectors, MOVING_PX)
        label = " ".join(name.split())
        share = 100 * polar.share_along(vectors, axis)
        rows.append(
            f"| {label} | {polar.preference(directions):.2f} | {polar.peak_ratio(directions):.1f} | {share:.0f} |"
        )
    return "\n".join(rows)


def _draw_data(motions: dict[str, FloatArray], folder: Path) -> str:
    figure = new_figure(2.1 * len(motions), 2.9)
    for k, (name, vectors) in enumerate(motions.items()):
        axes = figure.add_subplot(1, len(motions), k + 1, projection="polar")
        polar.draw(axes, polar.directions_of(vectors, MOVING_PX), colour(k))
        axes.set_title(name, fontsize=9)
    figure.suptitle(
        f"Directions of displacements above {MOVING_PX:g} px (held out: from the query frame; dashed: all alike)",
        fontsize=11,
    )
    return save_figure(figure, folder / "data_directions.png")


def _draw_errors(outcomes: Sequence[_Outcome], motions: dict[str, FloatArray], folder: Path) -> str:
    columns = len(motions)
    rows = len(outcomes) // columns
    figure = new_figure(3.0 * columns, 2.9 * rows + 0.5)
    for k, outcome in enumerate(outcomes):
        axes = figure.add_subplot(rows, columns, k + 1, projection="polar")
        motion = polar.directions_of(motions[outcome.line.clips], MOVING_PX)
        polar.draw(axes, polar.directions_of(outcome.errors, WRONG_PX), colour(k // columns), motion)
        axes.set_title(f"{outcome.line.arm}\n{outcome.line.clips}", fontsize=9)
    figure.suptitle(
        f"Directions of errors above {WRONG_PX:g} px (bars; dashed: all alike) and of the true motion (line)",
        fontsize=11,
    )
    return save_figure(figure, folder / "error_directions.png")


def _draw_gap(outcomes: Sequence[_Outcome], folder: Path) -> str:
    arms = list(dict.fromkeys(o.line.arm for o in outcomes))
    sets = list(dict.fromkeys(o.line.clips for o in outcomes))
    figure = new_figure(8.3, 3.6)
    for panel, (key, label) in enumerate((("average", "average position accuracy, %"), ("mte", "MTE, px at 256"))):
        axes = figure.add_subplot(1, 2, panel + 1)
        for k, arm in enumerate(arms):
            lines = [o.line for o in outcomes if o.line.arm == arm]
            where = np.arange(len(sets)) + (k - 0.5 * (len(arms) - 1)) * 0.8 / len(arms)
            axes.bar(
                where,
                [line.mean(key) for line in lines],
                0.8 / len(arms),
                yerr=finite([line.sd(key) for line in lines]),
                capsize=3,
                color=colour(k),
                label=arm,
            )
        axes.set_xticks(range(len(sets)), [name.replace(", ", ",\n") for name in sets], fontsize=8)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(arms), fontsize=9)
    return save_figure(figure, folder / "known_and_unknown.png")
