"""`eval-tracker`: position accuracy of trackers on annotated clips, side by side, as a table and as JSON.

Networks and block matching run through the tracker of the stream (rt/tracker.py) without re-anchoring, forward and
backward from the query frame; classical flows beside them see the same images.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import Field
from rich.progress import track

from specktrack.rt import console
from specktrack.rt.clip import open_clip
from specktrack.rt.config import MatchConfig, ModelConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.rt.preprocess import preprocess
from specktrack.rt.settings import Section, load_settings
from specktrack.rt.tracker import PointTracker
from specktrack.training.classical import CLASSICAL
from specktrack.training.clip_format import clip_files, load_clip
from specktrack.training.metrics import THRESHOLDS_PX, Accuracy, accuracy, errors_px, mean_accuracy

CLASSICAL_SIZE = (256, 256)
CONFIDENT = 0.8
GOOD_PX = 4.0

app = console.new_app()


class Reference(Section):
    """A clip whose tracks lie in another file."""

    clip: str
    tracks: str  # .npz with tracks (N, T, 2), visible (N, T), query_frame


class EvalConfig(Section):
    """What `eval-tracker` compares, and on what."""

    models: tuple[str, ...] = ("specknet-s", "block", *CLASSICAL)
    data: tuple[str, ...] = ()  # folders of training clips
    references: tuple[Reference, ...] = ()
    clips: int = Field(default=0, ge=0)  # at most so many of each folder; 0: all
    query: Literal["first", "middle"] = "first"
    match: MatchConfig = MatchConfig()
    out: str = "runs/evaluation"


@dataclass(frozen=True)
class Case:
    """One clip to track: frames (T, H, W), truth (N, T, 2) in its pixels, visible (N, T)."""

    name: str
    frames: NDArray[np.uint8]
    truth: FloatArray
    visible: NDArray[np.bool_]
    query_frame: int


@dataclass(frozen=True)
class Row:
    """Figures of one tracker."""

    tracker: str
    accuracy: Accuracy
    confident_share: float  # of positions with confidence above 0.8
    confident_within_4px: float
    ms_per_frame: float  # this machine, this run: compare rows, not runs


@app.command()
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="YAML file; see configs/eval.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
) -> None:
    """Compare trackers on annotated clips. Research use only."""
    settings = load_settings(EvalConfig, config, set_ or [])
    cases = load_cases(settings)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = [_evaluate(name, cases, settings.match) for name in settings.models]
    table = markdown(rows, len(cases))
    (out / "accuracy.md").write_text(table, encoding="utf-8")
    (out / "accuracy.json").write_text(json.dumps([_as_json(row) for row in rows], indent=1), encoding="utf-8")
    typer.echo(table)
    typer.echo(f"Written: {out / 'accuracy.md'}, {out / 'accuracy.json'}")


def load_cases(settings: EvalConfig) -> list[Case]:
    """Every clip named by the settings; raises InputError when there is none."""
    cases = []
    for folder in settings.data:
        files = clip_files(Path(folder))
        for path in files[: settings.clips or len(files)]:
            clip = load_clip(path)
            query = 0 if settings.query == "first" else len(clip.frames) // 2
            seen = clip.visible[:, query]
            if seen.any():
                cases.append(Case(clip.name, clip.frames, clip.tracks[seen], clip.visible[seen], query))
    cases.extend(_load_reference(reference) for reference in settings.references)
    if not cases:
        raise InputError("nothing to evaluate; give data (folders of clips) or references in the config")
    return cases


def _load_reference(reference: Reference) -> Case:
    frames = np.stack(list(open_clip(reference.clip).frames()))
    try:
        with np.load(reference.tracks, allow_pickle=False) as fields:
            truth, visible = fields["tracks"].astype(np.float32), fields["visible"].astype(bool)
            query = int(fields["query_frame"]) if "query_frame" in fields.files else 0
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{reference.tracks}: not a reference of tracks and visible ({error})") from error
    if truth.ndim != 3 or truth.shape[1:] != (len(frames), 2):
        raise InputError(f"{reference.tracks}: tracks must be [N, {len(frames)}, 2], found {list(truth.shape)}")
    return Case(Path(reference.clip).name, frames, truth, visible, query)


def track_case(engine: Engine, case: Case, config: MatchConfig) -> tuple[FloatArray, FloatArray]:
    """Tracks (N, T, 2) in clip pixels and confidence (N, T), both ways from the query frame."""
    tracks = np.empty_like(case.truth)
    confidence = np.ones(case.truth.shape[:2], np.float32)
    query = case.truth[:, case.query_frame]
    for order in _orders(case):
        tracker = PointTracker(engine, config)
        for step, k in enumerate(order):
            image, scale = preprocess(case.frames[k], engine.input_size)
            features = engine.encode(image)
            if step == 0:
                tracker.start(features, scale.forward(query), image)
                tracks[:, k] = query
                continue
            matched = tracker.update(features, image)
            tracks[:, k], confidence[:, k] = scale.back(matched.points), matched.confidence
    return tracks, confidence


def _orders(case: Case) -> list[list[int]]:
    """Frame numbers forward and backward, each beginning with the query frame."""
    last, query = len(case.frames) - 1, case.query_frame
    return [order for order in (list(range(query, last + 1)), list(range(query, -1, -1))) if len(order) > 1]


def track_classical(name: str, case: Case) -> FloatArray:
    """Tracks (N, T, 2) in clip pixels by one of the classical trackers, both ways from the query frame."""
    tracks = np.empty_like(case.truth)
    for order in _orders(case):
        pairs = [preprocess(case.frames[k], CLASSICAL_SIZE) for k in order]
        scale = pairs[0][1]
        found = CLASSICAL[name]([image for image, _ in pairs], scale.forward(case.truth[:, case.query_frame]))
        tracks[:, order] = scale.back(found)
    return tracks


def _evaluate(name: str, cases: Sequence[Case], config: MatchConfig) -> Row:
    engine = None if name in CLASSICAL else open_engine(ModelConfig(name=name))
    parts, sure, good, frames, seconds = [], 0.0, 0.0, 0, 0.0
    count = 0
    for case in track(cases, description=name):
        start = time.perf_counter()
        if engine is None:
            tracks, confidence = track_classical(name, case), None
        else:
            tracks, confidence = track_case(engine, case, config)
        seconds += time.perf_counter() - start
        frames += len(case.frames)
        size = case.frames.shape[1], case.frames.shape[2]
        parts.append(accuracy(tracks, case.truth, case.visible, case.query_frame, size))
        if confidence is not None:
            counts = case.visible.copy()
            counts[:, case.query_frame] = False
            confident = counts & (confidence > CONFIDENT)
            sure += confident.sum()
            good += (errors_px(tracks, case.truth, size)[confident] < GOOD_PX).sum()
            count += counts.sum()
    if engine is not None:
        engine.close()
    share = sure / count if count else float("nan")
    return Row(name, mean_accuracy(parts), share, good / sure if sure else float("nan"), 1e3 * seconds / frames)


def markdown(rows: Sequence[Row], n_clips: int) -> str:
    """The table as Markdown."""
    heads = ["tracker", "average %", "MTE px", *(f"<{k}" for k in THRESHOLDS_PX), "survival 16"]
    heads += ["confident %", "of these < 4 px %", "ms a frame"]
    lines = [f"{n_clips} clip(s), errors at 256 x 256", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        a = row.accuracy
        cells = [row.tracker, f"{100 * a.average:.1f}", f"{a.median_trajectory_error_px:.2f}"]
        cells += [f"{100 * w:.0f}" for w in a.within] + [f"{100 * a.survival_16:.0f}"]
        cells += [_percent(row.confident_share), _percent(row.confident_within_4px), f"{row.ms_per_frame:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f}"


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "average": row.accuracy.average}


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
