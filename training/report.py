"""The report of `eval-tracker`: accuracy.md for people, accuracy.json for programs."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from specktrack.training.metrics import THRESHOLDS_PX, Accuracy
from specktrack.training.score import CONFIDENCE_BINS
from specktrack.training.summary import Part, Summary

NOTICE = "Research use only. Not a medical device."
Split = Callable[[Summary], Mapping[str, Part]]

BREAKDOWNS: tuple[tuple[str, Split], ...] = (
    ("Phase of the beat", lambda summary: summary.by_phase),
    ("View", lambda summary: summary.by_view),
    ("Layer of the wall", lambda summary: summary.by_layer),
    ("Distance from the query", lambda summary: summary.by_distance),
)


def write_json(path: Path, summaries: Sequence[Summary], about: Mapping[str, Any]) -> None:
    """All figures; a number that is not known or not finite is null."""
    trackers = [{**asdict(summary), "average": summary.overall.average} for summary in summaries]
    path.write_text(json.dumps(_plain({**about, "trackers": trackers}), indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Only what JSON knows."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(summaries: Sequence[Summary], introduction: str, pictures: Sequence[str]) -> str:
    """The whole report; sections without data are left out."""
    sections = ["# Accuracy", introduction, main_table(summaries)]
    sections += [
        f"## {title}\n\n{_breakdown(summaries, split)}" for title, split in BREAKDOWNS if _has(summaries, split)
    ]
    if any(summary.gls is not None for summary in summaries):
        sections.append(f"## Global longitudinal strain\n\n{_strain_table(summaries)}")
    if any(summary.reliability is not None for summary in summaries):
        sections.append(f"## Confidence\n\n{_confidence_table(summaries)}")
    sections.append(f"## Cost\n\n{_cost_table(summaries)}")
    sections += [f"![{picture.removesuffix('.png').replace('_', ' ')}]({picture})" for picture in pictures]
    return "\n\n".join([*sections, NOTICE]) + "\n"


def main_table(summaries: Sequence[Summary]) -> str:
    """One row a tracker."""
    heads = ["tracker", "average %", *(f"<{k} px %" for k in THRESHOLDS_PX), "MTE px", "survival 16 %", "survival 50 %"]
    rows = []
    for summary in summaries:
        a = summary.overall
        shares = [_percent(share) for share in a.within]
        survivals = [_percent(a.survival_16), _percent(a.survival_50)]
        millimetres = [_number(a.median_trajectory_error_mm), _number(a.p95_mm, 1)]
        row = [summary.tracker, _percent(a.average, 1), *shares, _number(a.median_trajectory_error_px), *survivals]
        rows.append([*row, *millimetres])
    return _table([*heads, "MTE mm", "p95 mm"], rows)


def _has(summaries: Sequence[Summary], split: Split) -> bool:
    return any(split(summary) for summary in summaries)


def _breakdown(summaries: Sequence[Summary], split: Split) -> str:
    """Average and MTE of every tracker (rows) in every part (columns)."""
    names = list(dict.fromkeys(name for summary in summaries for name in split(summary)))
    n_clips = {name: max(split(s)[name].n_clips for s in summaries if name in split(s)) for name in names}
    heads = ["tracker", *(f"{name.replace('_', ' ')} ({plural(n_clips[name], 'clip')})" for name in names)]
    has_mm = any(not math.isnan(s.overall.median_trajectory_error_mm) for s in summaries)
    rows = [[s.tracker, *(_part_cell(split(s).get(name), has_mm) for name in names)] for s in summaries]
    return f"Average % / MTE px{' / MTE mm' * has_mm}\n\n" + _table(heads, rows)


def _part_cell(part: Part | None, has_mm: bool) -> str:
    if part is None:
        return "-"
    a: Accuracy = part.accuracy
    cells = [_percent(a.average, 1), _number(a.median_trajectory_error_px), _number(a.median_trajectory_error_mm)]
    return " / ".join(cells[: 3 if has_mm else 2])


def _strain_table(summaries: Sequence[Summary]) -> str:
    heads = ["tracker", "clips", "rejected", "bias", "SD", "MAD", "limits of agreement"]
    rows = []
    for summary in summaries:
        if (a := summary.gls) is not None:
            limits = f"{_number(a.lower, 1)} to {_number(a.upper, 1)}"
            figures = [_number(a.bias), _number(a.sd), _number(a.mad), limits]
            rows.append([summary.tracker, str(a.n), str(a.n_rejected), *figures])
    return "Measured less true GLS, strain points\n\n" + _table(heads, rows)


def _confidence_table(summaries: Sequence[Summary]) -> str:
    """How sure, and how often right, for trackers that say."""
    sure = [(s.tracker, s.reliability) for s in summaries if s.reliability is not None]
    rows = []
    for tracker, r in sure:
        share, good = _ratio(r.confident, sum(r.counts)), _ratio(r.confident_good, r.confident)
        rows.append([tracker, _percent(share, 1), _percent(good, 1)])
    head = _table(["tracker", "above 0.8 %", "of these within 4 px %"], rows)
    bins = []
    for b in range(CONFIDENCE_BINS):
        cells = [f"{_percent(_ratio(r.good[b], r.counts[b]))} ({r.counts[b]})" for _, r in sure]
        bins.append([f"{b / CONFIDENCE_BINS:.1f}-{(b + 1) / CONFIDENCE_BINS:.1f}", *cells])
    table = _table(["confidence", *(tracker for tracker, _ in sure)], bins)
    return f"{head}\n\nShare within 4 px, % (and number of positions), by confidence\n\n{table}"


def _cost_table(summaries: Sequence[Summary]) -> str:
    heads = ["tracker", "ms a frame, median", "peak memory MB", "of the GPU MB"]
    rows = [
        [s.tracker, _number(s.ms_per_frame, 1), _number(s.memory.host_mb, 0), _number(s.memory.device_mb, 0)]
        for s in summaries
    ]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plural(n: int, noun: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{n} {noun}{'s' * (n != 1)}"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _percent(share: float, digits: int = 0) -> str:
    return _number(100 * share, digits)


def _number(value: float | None, digits: int = 2) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "lost"
