"""Study `selfsup`: does fine-tuning on clips without tracks help? (The paper's first open question.)"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError
from specktrack.training.augment import warp_frames
from specktrack.training.beat_length import beat_length
from specktrack.training.cases import EvalConfig, Reference, load_cases
from specktrack.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.clip_format import TrainingClip
from specktrack.training.metrics import Accuracy, mean_accuracy
from specktrack.training.selfsup import FineTuned, Unlabelled, fine_tune
from specktrack.training.study_bench import StudyBench, accuracy_of, track
from specktrack.training.study_clips import HeldOut, fit, hold_out
from specktrack.training.study_config import SelfSupervision, StudyConfig
from specktrack.training.study_loop import PairMatcher, matcher_from, trained_state
from specktrack.training.study_plots import colour, finite, new_figure, save_figure
from specktrack.training.study_report import Line, Report, accuracy_table, lines_as_data

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".npz", ".npy")
BEFORE, LABELLED, CYCLE, CLOSURE = "before", "labelled only", "with cycle", "with cycle and closure"

METHOD = """
Open question of the paper: can unlabelled clips improve the network? Trained weights are fine-tuned on clips without
tracks: points matched to another frame (or over two) and back must return to where they began, and must be at the same
place one beat later (beat length by autocorrelation of the frames; the shift common to all points is not counted).
Every step also learns from labelled simulated pairs, an anchor against collapse. The searched squares are shifted at
random: a network that ignores the image answers with their middle and does not come back. `labelled only` fine-tunes
for as many steps without the unlabelled clips: only what exceeds it is due to them. A run whose features lose their
variance is stopped and its last sound weights are kept. Judged as a network alone, in a square of {search} px around
the query point at {size} px.
"""


def study_selfsup(config: StudyConfig, bench: StudyBench, folder: Path) -> Report:
    """Fine-tune with and without the unlabelled clips, compare before and after."""
    settings = config.selfsup
    unlabelled = [load_unlabelled(path, settings) for path in unlabelled_paths(settings)]
    sets = {"simulated, held out": bench.held_out(config.train_views, settings.size)}
    if settings.reference_clip:
        sets["reference clip"] = [_reference(settings, config.n_points)]
    before = matcher_from(settings.weights).to(config.device)
    lines = [Line(BEFORE, name, (_score(before, cases, settings),)) for name, cases in sets.items()]
    stops: list[str] = []
    for arm, (cycle, closure) in _arms(settings).items():
        scores: dict[str, list[Accuracy]] = {name: [] for name in sets}
        for seed in config.seeds:
            changed = settings.model_copy(update={"cycle_weight": cycle, "closure_weight": closure})
            tuned = _tuned(config, bench, arm, seed, changed, unlabelled, folder)
            if tuned.stopped:
                stops.append(f"{arm}, seed {seed}: {tuned.stopped}")
            for name, cases in sets.items():
                scores[name].append(_score(tuned.matcher, cases, settings))
        lines += [Line(arm, name, tuple(parts)) for name, parts in scores.items()]
    return Report(
        name="selfsup",
        title="Self-supervision on unlabelled clips",
        method=METHOD.format(search=settings.search_px, size=settings.size),
        findings=[*_findings(lines, list(sets)), _data_finding(unlabelled, settings), *stops],
        tables=[accuracy_table(lines)],
        figures=[_draw(lines, folder)],
        data={"lines": lines_as_data(lines), "stopped": stops, "beats": [clip.beat_frames for clip in unlabelled]},
    )


def _arms(settings: SelfSupervision) -> dict[str, tuple[float, float]]:
    """Weights of cycle and closure of each arm."""
    return {
        LABELLED: (0.0, 0.0),
        CYCLE: (settings.cycle_weight, 0.0),
        CLOSURE: (settings.cycle_weight, settings.closure_weight),
    }


def unlabelled_paths(settings: SelfSupervision) -> list[Path]:
    """Clips and the clips of folders; raises InputError when there is none."""
    paths: list[Path] = []
    for name in settings.clips:
        path = Path(name)
        paths += sorted(p for p in path.iterdir() if p.suffix in VIDEO_SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise InputError("selfsup.clips: no unlabelled clip; give videos, .npz or .npy files, or folders of them")
    return paths


def load_unlabelled(path: Path, settings: SelfSupervision) -> Unlabelled:
    """Frames of any clip, fitted into the crop, and the length of its beat."""
    clip = open_clip(path)
    frames = np.stack(list(clip.frames()))
    if len(frames) < 3:
        raise InputError(f"{path}: {len(frames)} frame(s); cycle consistency needs 3 or more")
    height, width = frames.shape[1:]
    fitted = warp_frames(frames, fit((height, width), settings.size), settings.size)
    rate = clip.frame_rate_hz or settings.frame_rate_hz
    return Unlabelled(path.name, fitted, beat_length(fitted, rate))


def _reference(settings: SelfSupervision, n_points: int) -> HeldOut:
    """The clip with reference tracks."""
    reference = Reference(clip=settings.reference_clip, tracks=settings.reference_tracks)
    case = load_cases(EvalConfig(references=(reference,)))[0]
    clip = TrainingClip(
        case.name, case.frames, case.truth, case.visible, settings.frame_rate_hz, None, query_frame=case.query_frame
    )
    return hold_out(clip, case.view, settings.size, n_points)


def _score(matcher: PairMatcher, cases: Sequence[HeldOut], settings: SelfSupervision) -> Accuracy:
    parts = [accuracy_of(case, track(matcher, case, case.query_frame, settings.search_px)) for case in cases]
    return mean_accuracy(parts)


def _tuned(
    config: StudyConfig,
    bench: StudyBench,
    arm: str,
    seed: int,
    settings: SelfSupervision,
    unlabelled: Sequence[Unlabelled],
    folder: Path,
) -> FineTuned:
    """A fine-tuned network, made now or found on disk; written so that export-trt and eval-tracker can take it."""
    path = folder / f"{'-'.join(arm.split())}-seed{seed}.pt"
    start = load_checkpoint(find_checkpoint(settings.weights))
    made_with = {
        **settings.model_dump(mode="json"),
        "seed": seed,
        "labelled": bench.data,
        "batch": config.batch,
        "likelihood": config.likelihood,
        "base_step": start.step,
    }
    if path.exists():
        done = load_checkpoint(path)
        if done.settings == made_with:
            matcher = matcher_from(str(path)).to(config.device)
            return FineTuned(matcher, str(done.state["stopped"]))
    with bench.bar(f"fine-tune {arm}, seed {seed}") as advance:
        tuned = fine_tune(config, settings, seed, bench.train_clips, unlabelled, advance)
    # What the stream has learned besides the network (its fusion) was not trained here and stays as it was.
    state = {**trained_state(start), "network": tuned.matcher.network.state_dict(), "stopped": tuned.stopped}
    save_checkpoint(path, Checkpoint(start.model, start.step + settings.steps, state, made_with))
    return tuned


def _findings(lines: Sequence[Line], sets: Sequence[str]) -> list[str]:
    found = []
    for name in sets:
        mine = {line.arm: line for line in lines if line.clips == name}
        base = mine[LABELLED]
        for arm in (CYCLE, CLOSURE):
            gain = [a - b for a, b in zip(mine[arm].values("average"), base.values("average"), strict=True)]
            verdict = "nothing beyond the seeds' spread" if abs(np.mean(gain)) <= _spread(gain) else "a difference"
            found.append(
                f"{name}: {arm} against {LABELLED}, average {np.mean(gain):+.2f} points over the seeds "
                f"({', '.join(f'{g:+.2f}' for g in gain)}): {verdict}."
            )
    return found


def _spread(gain: Sequence[float]) -> float:
    """Twice the standard error of the mean over seeds; a single seed says nothing."""
    return float(2 * np.std(gain, ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")


def _data_finding(unlabelled: Sequence[Unlabelled], settings: SelfSupervision) -> str:
    with_beat = sum(clip.beat_frames is not None for clip in unlabelled)
    found = f"{len(unlabelled)} unlabelled clip(s); {with_beat} hold more than one beat and can close a loop."
    reference = Path(settings.reference_clip).resolve()
    if settings.reference_clip and any(path.resolve() == reference for path in unlabelled_paths(settings)):
        found += " The reference clip is one of them: its frames were learned from, its tracks were not."
    return found


def _draw(lines: Sequence[Line], folder: Path) -> str:
    sets = list(dict.fromkeys(line.clips for line in lines))
    figure = new_figure(9.0, 0.8 + 1.9 * len(sets))
    for row, name in enumerate(sets):
        mine = [line for line in lines if line.clips == name]
        for column, (key, label) in enumerate((("average", "average position accuracy, %"), ("mte", "MTE, px at 256"))):
            axes = figure.add_subplot(len(sets), 2, 2 * row + column + 1)
            means, spread = [line.mean(key) for line in mine], finite([line.sd(key) for line in mine])
            axes.errorbar(means, range(len(mine)), xerr=spread, fmt="o", capsize=3, color=colour(row))
            axes.axvline(means[0], color="#333333", lw=1, ls="--")
            axes.margins(y=0.15)
            axes.grid(axis="x", alpha=0.3)
            axes.set_yticks(range(len(mine)), [x.arm for x in mine] if column == 0 else [""] * len(mine), fontsize=9)
            axes.invert_yaxis()
            axes.set_xlabel(label)
            axes.set_title(name, fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, folder / "selfsup.png")
