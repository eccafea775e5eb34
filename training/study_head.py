"""Studies of the matching head: `combine` (multiply, add, learn), `gamma` (the exponent), `scales` (how many)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from specktrack.training.combination import plant_false_peak
from specktrack.training.specknet import STRIDES
from specktrack.training.study_bench import Disturb, StudyBench
from specktrack.training.study_clips import HeldOut
from specktrack.training.study_config import Arm, CombineStudy, StudyConfig
from specktrack.training.study_loop import PairMatcher
from specktrack.training.study_plots import colour, finite, new_figure, save_figure
from specktrack.training.study_report import Line, Report, accuracy_table, lines_as_data, plus_minus

PLAIN, PLANTED = "held out", "with a planted false peak"
SCALE_NAMES = ("fine", "middle", "coarse")
FIGURES = (("average", "average position accuracy, %"), ("within_1", "within 1 px, %"), ("mte", "MTE, px at 256"))

COMBINE_METHOD = """
Claim: multiplying the similarity maps of three scales removes false matches that live in one map only, and this shows
below 1 px most of all; a sum keeps them. Each arm trains its own networks. A product of three maps is also three times
as sharp as one map or a sum at the same exponent, so an arm adds with a tripled exponent: what then remains of the
difference is the AND itself. `learned` is a 1x1 convolutional net (16 hidden channels) over the logarithms of the
three upsampled maps; it could become the product. With a planted false peak: at the test only, a round peak of
similarity {height:g} is put {near:g} to {far:g} px from the truth into one scale (each of those that the arm uses in
turn). Supported if the product is best below 1 px and loses least to the planted peak; contradicted if the learned
net or the sum is as good.
"""
GAMMA_METHOD = """
Claim: an exponent near 15 is best, too low a one leaves peaks indistinct, too high a one starves training of
gradients. Networks are retrained with each exponent; those trained with {gamma:g} are also asked with the others
(*inference only*). The learned exponent starts at {start:g}. Supported by a broad optimum near 15.
"""
SCALES_METHOD = """
Claim: each scale adds something. Networks are retrained with the product over some scales (fine: stride 2, middle:
stride 4, coarse: stride 8). Supported by a monotone gain; contradicted if the last scale is idle.
"""


def study_combine(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Train every way to combine and test it with and without planted peaks."""
    settings = config.combine
    cases = bench.held_out(config.train_views)
    lines = [line for arm in settings.arms for line in _combine_arm(config, bench, arm, cases)]
    near, far = settings.false_peak_px
    plain = [line for line in lines if line.clips == PLAIN]
    best = max(plain, key=lambda line: line.mean("within_1"))
    findings = [f"Best below 1 px: {best.arm}, {plus_minus(best.values('within_1'), 1)} %."]
    for line, planted in zip(plain, (x for x in lines if x.clips == PLANTED), strict=True):
        loss = [b - a for a, b in zip(line.values("within_1"), planted.values("within_1"), strict=True)]
        findings.append(f"{line.arm}: the planted peak changes the share below 1 px by {plus_minus(loss, 1)} points.")
    return Report(
        name="combine",
        title="Multiply, add or learn the combination of scales",
        method=COMBINE_METHOD.format(height=settings.false_peak_height, near=near, far=far),
        findings=findings,
        tables=[accuracy_table(lines)],
        figures=[_draw_arms(plain, [x for x in lines if x.clips == PLANTED], folder / "combine.png")],
        data={"lines": lines_as_data(lines)},
    )


def _combine_arm(config: StudyConfig, bench: StudyBench, arm: Arm, cases: Sequence[HeldOut]) -> list[Line]:
    plain, planted = [], []
    for seed in config.seeds:
        run = bench.run(seed, kind=arm.kind, scales=tuple(arm.scales), gamma=arm.gamma)
        matcher = bench.trained(run, arm.name)
        plain.append(bench.score(matcher, cases, f"test {arm.name}"))
        disturbed = list(cases) * len(arm.scales)
        scales = [scale for scale in arm.scales for _ in cases]
        disturb = [_planting(config.combine, scale, arm.gamma, seed) for scale in scales]
        planted.append(bench.score(matcher, disturbed, f"test {arm.name}, planted peak", disturb))
    return [Line(arm.name, PLAIN, tuple(plain)), Line(arm.name, PLANTED, tuple(planted))]


def _planting(settings: CombineStudy, scale: int, gamma: float, seed: int) -> Disturb:
    """Puts a false peak into one scale, somewhere in a ring around the truth, the same for every arm."""
    generator = torch.Generator().manual_seed(seed)
    near, far = settings.false_peak_px

    def disturb(logs: Tensor, centre: Tensor, truth: Tensor) -> Tensor:
        distance, turn = torch.rand(2, *truth.shape[:-1], generator=generator)
        distance, turn = near + (far - near) * distance, 2 * math.pi * turn
        ring = torch.stack((turn.cos(), turn.sin()), -1) * distance[..., None]
        side = logs.shape[-1]
        at = (truth + ring.to(truth.device) - centre + side // 2).clamp(0, side - 1)
        return plant_false_peak(logs, scale, at, gamma, float(STRIDES[scale]), settings.false_peak_height)

    return disturb


def study_gamma(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Retrain with each exponent, and ask one network with all of them."""
    cases = bench.held_out(config.train_views)
    retrained, asked = [], []
    for gamma in config.gammas.values:
        trained = [bench.trained(bench.run(seed, gamma=gamma), f"gamma {gamma:g}") for seed in config.seeds]
        retrained.append(_line(bench, f"{gamma:g}", "retrained", trained, cases))
        same = [bench.trained(bench.run(seed), f"gamma {config.gamma:g}") for seed in config.seeds]
        for matcher in same:
            matcher.set_gamma(gamma)
        asked.append(_line(bench, f"{gamma:g}", "inference only", same, cases))
    start = config.gammas.learned_from
    runs = [bench.run(seed, gamma=start, is_gamma_learned=True) for seed in config.seeds]
    free = [bench.trained(run, "learned gamma") for run in runs]
    learned = _line(bench, "learned", "retrained", free, cases)
    exponents = [matcher.gamma for matcher in free]
    best = max(retrained, key=lambda line: line.mean("average"))
    lines = [*retrained, learned, *asked]
    return Report(
        name="gamma",
        title="The exponent gamma",
        method=GAMMA_METHOD.format(gamma=config.gamma, start=start),
        findings=[
            f"Best when retrained: gamma {best.arm}, average {plus_minus(best.values('average'), 1)} %.",
            f"Learned from {start:g}, gamma ends at {plus_minus(exponents, 1)}.",
        ],
        tables=[accuracy_table(lines)],
        figures=[_draw_gamma(config, retrained, asked, learned, exponents, folder / "gamma.png")],
        data={"lines": lines_as_data(lines), "learned_gamma": exponents},
    )


def study_scales(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Retrain with fewer scales."""
    cases = bench.held_out(config.train_views)
    lines = []
    for subset in config.scales.subsets:
        name = " + ".join(SCALE_NAMES[scale] for scale in subset)
        trained = [bench.trained(bench.run(seed, scales=tuple(subset)), name) for seed in config.seeds]
        lines.append(_line(bench, name, PLAIN, trained, cases))
    steps = [
        f"From {a.arm} to {b.arm}: average {b.mean('average') - a.mean('average'):+.1f}, within 1 px "
        f"{b.mean('within_1') - a.mean('within_1'):+.1f} points, MTE {b.mean('mte') - a.mean('mte'):+.2f} px."
        for a, b in pairwise(lines)
    ]
    return Report(
        name="scales",
        title="Number of scales",
        method=SCALES_METHOD,
        findings=steps,
        tables=[accuracy_table(lines)],
        figures=[_draw_arms(lines, [], folder / "scales.png")],
        data={"lines": lines_as_data(lines)},
    )


def _line(bench: StudyBench, arm: str, clips: str, trained: Sequence[PairMatcher], cases: Sequence[HeldOut]) -> Line:
    return Line(arm, clips, tuple(bench.score(matcher, cases, f"test {arm}") for matcher in trained))


def _draw_arms(plain: Sequence[Line], planted: Sequence[Line], path: Path) -> str:
    """Horizontal bars, one an arm, a paler one below it with the planted peak."""
    figure = new_figure(10.0, 1.4 + 0.55 * len(plain))
    for panel, (key, label) in enumerate(FIGURES):
        axes = figure.add_subplot(1, len(FIGURES), panel + 1)
        for offset, lines, alpha, name in ((-0.2, plain, 1.0, PLAIN), (0.2, planted, 0.45, PLANTED)):
            if lines:
                axes.barh(
                    [k + (offset if planted else 0.0) for k in range(len(lines))],
                    [line.mean(key) for line in lines],
                    0.38 if planted else 0.6,
                    xerr=finite([line.sd(key) for line in lines]),
                    capsize=3,
                    color=colour(0),
                    alpha=alpha,
                    label=name,
                )
        axes.set_yticks(
            range(len(plain)), [line.arm for line in plain] if panel == 0 else [""] * len(plain), fontsize=9
        )
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    if planted:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=9)
    return save_figure(figure, path)


def _draw_gamma(
    config: StudyConfig,
    retrained: Sequence[Line],
    asked: Sequence[Line],
    learned: Line,
    exponents: Sequence[float],
    path: Path,
) -> str:
    figure = new_figure(10.0, 3.6)
    for panel, (key, label) in enumerate(FIGURES):
        axes = figure.add_subplot(1, len(FIGURES), panel + 1)
        for k, (lines, name) in enumerate(((retrained, "retrained"), (asked, "inference only"))):
            axes.errorbar(
                config.gammas.values,
                [line.mean(key) for line in lines],
                finite([line.sd(key) for line in lines]),
                marker="o",
                capsize=3,
                color=colour(k),
                label=name,
            )
        axes.plot(exponents, learned.values(key), "*", color=colour(2), markersize=11, label="learned, each seed")
        axes.set_xscale("log")
        axes.set_xticks(config.gammas.values, [f"{v:g}" for v in config.gammas.values])
        axes.minorticks_off()
        axes.set_xlabel("gamma")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9)
    return save_figure(figure, path)
