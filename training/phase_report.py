"""The report of `eval-phase`: phase.md for people, phase.json for programs."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from specktrack.training.phase_config import PhaseEvalConfig
from specktrack.training.phase_score import LATENCIES_FRAMES, PhaseScore

NOTICE = "Research use only. Not a medical device."


@dataclass(frozen=True)
class Judged:
    """One recording as it was played."""

    name: str
    group: str
    playing: str
    rate_bpm: float
    score: PhaseScore


@dataclass(frozen=True)
class Figures:
    """Of several recordings; None where nothing was to be judged."""

    recordings: int
    beats: int  # whole true ones after the first lock
    found_percent: float | None
    wrong: int  # published beats that are none
    wrong_rate: int  # beats with a double or half rate
    unlocked: int  # beats in which it was said not to be locked
    ed_frames: float | None  # mean absolute errors
    ed_bias_frames: float | None
    es_frames: float | None
    es_bias_frames: float | None
    cycle_ms: float | None  # of the published rate
    beat_cycle_ms: float | None  # of every single beat
    phase_percent: float | None
    delay_ms: float | None  # median
    locked_in_time: int  # recordings
    ever_locked: int
    belief_frames: dict[str, float | None]  # mean absolute error of the ED believed so many frames after it


def figures(scores: Sequence[PhaseScore]) -> Figures:
    """All errors of all beats together."""
    n_true = sum(score.n_true for score in scores)
    return Figures(
        recordings=len(scores),
        beats=n_true,
        found_percent=100.0 * sum(score.n_found for score in scores) / n_true if n_true else None,
        wrong=sum(score.n_wrong for score in scores),
        wrong_rate=sum(score.n_wrong_rate for score in scores),
        unlocked=sum(score.n_unlocked for score in scores),
        ed_frames=_size(x for score in scores for x in score.ed_frames),
        ed_bias_frames=_mean(x for score in scores for x in score.ed_frames),
        es_frames=_size(x for score in scores for x in score.es_frames),
        es_bias_frames=_mean(x for score in scores for x in score.es_frames),
        cycle_ms=_size(x for score in scores for x in score.cycle_ms),
        beat_cycle_ms=_size(x for score in scores for x in score.beat_cycle_ms),
        phase_percent=_size(x for score in scores for x in score.phase_percent),
        delay_ms=_median(1e3 * x for score in scores for x in score.delay_s),
        locked_in_time=sum(score.is_locked_in_time for score in scores),
        ever_locked=sum(score.is_locked_at_all for score in scores),
        belief_frames={
            str(k): _size(x for score in scores for x in score.belief_ed_frames.get(str(k), ()))
            for k in LATENCIES_FRAMES
        },
    )


def write_report(out: Path, judged: Sequence[Judged], config: PhaseEvalConfig, missing: int) -> None:
    """Write phase.md and phase.json of what was judged so far."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "phase.md").write_text(markdown(judged, config, missing), encoding="utf-8")
    groups = [{"group": a, "playing": b, **asdict(figures(scores))} for (a, b), scores in _by_group(judged).items()]
    each = [
        {"name": j.name, "playing": j.playing, "rate_bpm": j.rate_bpm, **j.score.model_dump(mode="json")}
        for j in judged
    ]
    whole = {"settings": config.model_dump(mode="json"), "missing": missing, "groups": groups, "recordings": each}
    (out / "phase.json").write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def markdown(judged: Sequence[Judged], config: PhaseEvalConfig, missing: int) -> str:
    """The whole report."""
    left = f" {missing} more were not played." if missing else ""
    introduction = (
        f"{len(judged)} phantom recordings played through the session ({config.model}), seed {config.seed}.{left} "
        "Errors are mean absolute ones, in frames of the stream; bias is late when positive."
    )
    groups = {f"{group}, {playing}": scores for (group, playing), scores in _by_group(judged).items()}
    rates: dict[str, list[PhaseScore]] = {}
    for j in sorted(judged, key=lambda j: j.rate_bpm):
        if j.group == "hearts" and j.playing == "image":
            rates.setdefault(f"{j.rate_bpm:g}/min", []).append(j.score)
    sections = ["# Phase", introduction, _table(groups), "## By heart rate, image alone", _table(rates)]
    sections += ["## Error of the end-diastole believed so many frames after it", _beliefs(groups), NOTICE]
    return "\n\n".join(sections) + "\n"


def _by_group(judged: Iterable[Judged]) -> dict[tuple[str, str], list[PhaseScore]]:
    groups: dict[tuple[str, str], list[PhaseScore]] = {}
    for j in judged:
        groups.setdefault((j.group, j.playing), []).append(j.score)
    return groups


def _table(rows: Mapping[str, Sequence[PhaseScore]]) -> str:
    heads = [
        "",
        "recordings",
        "beats",
        "found %",
        "wrong beats",
        "wrong rate",
        "not locked",
        "ED",
        "bias",
        "ES",
        "bias",
    ]
    heads += ["cycle ms", "single cycle ms", "phase %", "delay ms", "locked in 2 beats"]
    lines = []
    for name, scores in rows.items():
        f = figures(scores)
        counts = [str(f.recordings), str(f.beats), _number(f.found_percent, 1)]
        counts += [str(f.wrong), str(f.wrong_rate), str(f.unlocked)]
        errors = [_number(x, 2) for x in (f.ed_frames, f.ed_bias_frames, f.es_frames, f.es_bias_frames)]
        others = [_number(x, 1) for x in (f.cycle_ms, f.beat_cycle_ms, f.phase_percent)]
        lines.append([name, *counts, *errors, *others, _number(f.delay_ms, 0), f"{f.locked_in_time}/{f.recordings}"])
    return _grid(heads, lines)


def _beliefs(rows: Mapping[str, Sequence[PhaseScore]]) -> str:
    lines = [
        [name, *(_number(figures(scores).belief_frames[str(k)], 2) for k in LATENCIES_FRAMES)]
        for name, scores in rows.items()
    ]
    return _grid(["", *(str(k) for k in LATENCIES_FRAMES)], lines)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None


def _size(values: Iterable[float]) -> float | None:
    return _mean(abs(value) for value in values)


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.median(known)) if known else None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
