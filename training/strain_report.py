"""The report of `eval-strain`: figures over hearts, strain.md, strain.json and a Bland-Altman plot."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.training.strain_agreement import LIMITS_SD, Agreement, StrainPair, agreement
from specktrack.training.strain_config import StrainEvalConfig
from specktrack.training.strain_trial import BeatScore, HeartScore

Reading = Callable[[BeatScore], float | None]
ROWS: dict[str, Reading] = {
    "settled beats, accepted": lambda beat: beat.measured if beat.accepted else None,
    "settled beats, all with a value": lambda beat: beat.measured,
    "the same tracks at the true ED and ES (tracking alone)": lambda beat: beat.tracked,
    "the true contour at the ED and ES found (timing alone)": lambda beat: beat.timed,
}
RATE_BANDS_BPM = ((0.0, 60.0), (60.0, 80.0), (80.0, 1000.0))
FEWEST_DRIFT_BEATS = 6  # accepted ones, to say how far strain moves over a session
WEAK, STRONG = 0.4, 0.75  # a segment this share of its heart's mean or weaker lies among ones this share or stronger


@dataclass(frozen=True)
class Findings:
    """Everything `eval-strain` measured."""

    hearts: Sequence[HeartScore]
    drift: Mapping[str, Sequence[HeartScore]] = field(default_factory=dict)  # long recordings, by kind of session
    clips: Sequence[HeartScore] = ()  # single beats at their true events
    rates: Mapping[float, Sequence[HeartScore]] = field(default_factory=dict)  # the same hearts at several frame rates


def per_heart(scores: Sequence[HeartScore], reading: Reading) -> list[StrainPair]:
    """One pair for each heart: means over the beats that have a value."""
    pairs = []
    for score in scores:
        known = [(beat.truth, value) for beat in score.beats if (value := reading(beat)) is not None]
        truth = float(np.mean([t for t, _ in known])) if known else float("nan")
        pairs.append(StrainPair(truth, float(np.mean([m for _, m in known])) if known else None))
    return pairs


def segment_errors(scores: Sequence[HeartScore]) -> NDArray[np.float64]:
    """Measured less true strain of every segment (B, 6) of the accepted beats; NaN for a rejected one."""
    rows = [
        [np.nan if m is None else m - t for m, t in zip(beat.segments, beat.segments_truth, strict=True)]
        for score in scores
        for beat in score.beats
        if beat.accepted
    ]
    return np.array(rows, np.float64).reshape(-1, 6)


def weak_segments(scores: Sequence[HeartScore]) -> tuple[int, int]:
    """Truly weak segments between stronger ones: how many there are, and how many are measured as weaker than both."""
    n, told = 0, 0
    for score in scores:
        for beat in (b for b in score.beats if b.accepted):
            for k in range(1, 5):
                true, seen = beat.segments_truth[k - 1 : k + 2], beat.segments[k - 1 : k + 2]
                is_weak = true[1] > WEAK * beat.truth and max(true[0], true[2]) < STRONG * beat.truth
                if is_weak and None not in seen:
                    n += 1
                    told += all(seen[1] > v for v in (seen[0], seen[2]))  # type: ignore[operator]
    return n, told


def markdown(config: StrainEvalConfig, found: Findings) -> str:
    """The report as text."""
    lines = ["# Strain of virtual hearts", "", *(_stream_lines(config, found.hearts) if found.hearts else [])]
    return "\n".join([*lines, *_rate_lines(found), *_clip_lines(found.clips), *_drift_lines(found.drift)]) + "\n"


def _stream_lines(config: StrainEvalConfig, scores: Sequence[HeartScore]) -> list[str]:
    """Beats of streams, found and settled by the session."""
    beats = [beat for score in scores for beat in score.beats]
    n_true = sum(score.n_true_beats for score in scores)
    accepted = [beat for beat in beats if beat.accepted]
    lines = [
        f"{len(scores)} assessable random hearts (from seed {config.hearts.seed}), {config.hearts.seconds:g} s at "
        f"{config.hearts.frame_rate_hz:g} frames a second, {config.hearts.size_px} px, no ECG; the true mid-wall line "
        f"is drawn once, at {'end-diastole' if config.drawn == 'ed' else 'diastasis'}; {config.model}. "
        f"{n_true} whole beats, {len(beats)} found near a true one, {len(accepted)} accepted.",
        "",
        "Measured less true GLS in strain points, one mean for each heart:",
        "",
        "| reading | hearts | bias | SD | mean absolute | limits of agreement |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(name, agreement(per_heart(scores, reading))) for name, reading in ROWS.items()]
    return [*lines, *_segment_lines(scores), *_time_lines(accepted)]


def by_heart_rate(scores: Sequence[HeartScore]) -> dict[str, list[HeartScore]]:
    """Hearts of which the rate is known, in bands."""
    bands = {}
    for low, high in RATE_BANDS_BPM:
        name = f"under {high:g}" if not low else f"{low:g} and over" if high > 200 else f"{low:g} to {high:g}"
        bands[name] = [s for s in scores if s.heart_rate_bpm is not None and low <= s.heart_rate_bpm < high]
    return bands


def _rate_lines(found: Findings) -> list[str]:
    """GLS by heart rate, and of the same hearts by frame rate."""
    tables: list[tuple[str, Mapping[str, Sequence[HeartScore]]]] = [
        ("heart rate, beats/min", by_heart_rate(found.hearts)),
        ("frames a second, the same hearts", {f"{rate:g}": scores for rate, scores in found.rates.items()}),
    ]
    lines: list[str] = []
    for title, groups in tables:
        rows = [
            _row(name, agreement(per_heart(scores, ROWS["settled beats, accepted"])))
            for name, scores in groups.items()
            if scores
        ]
        if rows:
            lines += [
                "",
                f"| {title} | hearts | bias | SD | mean absolute | limits of agreement |",
                "|---|---|---|---|---|---|",
            ]
            lines += rows
    return lines


def _clip_lines(clips: Sequence[HeartScore]) -> list[str]:
    """Single beats of clips, at their true events."""
    if not clips:
        return []
    n_accepted = sum(beat.accepted for score in clips for beat in score.beats)
    lines = [
        "",
        "## Single beats at their true events",
        "",
        f"{len(clips)} clips whose wall stays in the picture, the true mid-wall line drawn at end-diastole, tracked to "
        f"diastasis and back; {n_accepted} accepted.",
        "",
        "| reading | clips | bias | SD | mean absolute | limits of agreement |",
        "|---|---|---|---|---|---|",
        _row("accepted", agreement(per_heart(clips, ROWS["settled beats, accepted"]))),
        _row("all, however unsure", agreement(per_heart(clips, lambda beat: beat.tracked))),
    ]
    return [*lines, *_segment_lines(clips)]


def _segment_lines(scores: Sequence[HeartScore]) -> list[str]:
    lines: list[str] = []
    errors = segment_errors(scores)
    n_weak, n_told = weak_segments(scores)
    if np.isfinite(errors).any():
        known = [part[np.isfinite(part)] for part in errors.T]
        by_part = " / ".join(f"{part.mean():.1f}" if len(part) else "-" for part in known)
        lines += ["", f"Segments: error SD {np.nanstd(errors):.1f} points; mean by position {by_part}."]
    return [*lines, f"Weak segments between stronger ones, told from both neighbours: {n_told} of {n_weak}."]


def _row(name: str, found: Agreement) -> str:
    limits = f"{found.lower:.1f} to {found.upper:.1f}"
    return f"| {name} | {found.n} | {found.bias:+.2f} | {found.sd:.2f} | {found.mad:.2f} | {limits} |"


def _time_lines(beats: Sequence[BeatScore]) -> list[str]:
    if not beats:
        return []
    ed, es = (np.array([getattr(beat, key) for beat in beats]) for key in ("ed_late_ms", "es_late_ms"))
    waited = np.array([beat.waited_beats for beat in beats])
    error = np.median([beat.error_mm for beat in beats])
    return [
        f"ED found {ed.mean():+.0f} ± {ed.std():.0f} ms, ES {es.mean():+.0f} ± {es.std():.0f} ms from the truth; "
        f"published {np.median(waited):.2f} beats (median; at most {waited.max():.2f}) after the beat was over; "
        f"points {error:.2f} mm from the truth (median)."
    ]


def _drift_lines(drift: Mapping[str, Sequence[HeartScore]]) -> list[str]:
    if not any(drift.values()):
        return []
    lines = ["", "## Drift", "", "| session | heart | beats | points strayed, mm, after 1, 10, last | GLS moved |"]
    lines += ["|---|---|---|---|---|"]
    for name, scores in drift.items():
        for score in scores:
            stray = score.stray_mm
            picked = [f"{stray[k]:.2f}" if k < len(stray) else "-" for k in (1, 10, len(stray) - 1)]
            lines.append(f"| {name} | {score.name} | {len(stray) - 1} | {', '.join(picked)} | {_moved(score)} |")
    return lines


def _moved(score: HeartScore) -> str:
    """How far the error of GLS has moved over the session: the line fitted to all accepted beats, last less first.

    A mean of the first and the last few beats would mostly tell how one beat differs from the next.
    """
    known = [(b.beat, b.measured - b.truth) for b in score.beats if b.accepted and b.measured is not None]
    if len(known) < FEWEST_DRIFT_BEATS:
        return "too few beats"
    beats, errors = np.array(known).T
    return f"{np.polyfit(beats, errors, 1)[0] * np.ptp(beats):+.2f}"


def write_json(path: Path, config: StrainEvalConfig, found: Findings) -> None:
    """Everything measured, for programs."""
    content: dict[str, Any] = {
        "settings": config.model_dump(mode="json"),
        "agreement": {name: vars(agreement(per_heart(found.hearts, reading))) for name, reading in ROWS.items()},
        "hearts": [score.model_dump(mode="json") for score in found.hearts],
        "rates": {f"{rate:g}": [score.model_dump(mode="json") for score in some] for rate, some in found.rates.items()},
        "clips": [score.model_dump(mode="json") for score in found.clips],
        "drift": {name: [score.model_dump(mode="json") for score in some] for name, some in found.drift.items()},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def draw(path: Path, scores: Sequence[HeartScore]) -> None:
    """Bland-Altman plot, one mark for each heart: settled beats, and what tracking alone does."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, 2, sharey=True), list(ROWS)[0:3:2], strict=True):
        known = [(p.truth, p.measured) for p in per_heart(scores, ROWS[name]) if p.measured is not None]
        truth, measured = np.array(known).reshape(-1, 2).T
        axis.scatter((truth + measured) / 2, measured - truth, s=28, color="#0072b2")
        if len(truth) > 1:
            bias, sd = (measured - truth).mean(), (measured - truth).std(ddof=1)
            for level, style in ((bias, "-"), (bias - LIMITS_SD * sd, "--"), (bias + LIMITS_SD * sd, "--")):
                axis.axhline(level, color="#d55e00", linestyle=style, linewidth=1.2)
        axis.axhline(0.0, color="#999999", linewidth=0.8)
        axis.set(title=name, xlabel="mean of measured and true GLS, %", ylabel="measured less true, points")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
