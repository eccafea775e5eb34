"""`eval-tracker`: how good trackers are on annotated clips, side by side: accuracy.md, accuracy.json and figures.

cases.py            the clips, loaded one at a time, and the frame to query (phases.py)
follow.py           trackers at work on a clip
score.py            figures of a tracker on a clip (metrics.py, strain_agreement.py)
score_cache.py      those kept on disk: a stopped run goes on; jobs.py several clips at the same time
peak_memory.py      what a tracker takes
summary.py          figures over all clips
report.py           accuracy.md and accuracy.json; figures.py the pictures
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.settings import load_settings
from specktrack.training.cases import ClipSource, EvalConfig, find_sources
from specktrack.training.figures import draw_figures, require_matplotlib
from specktrack.training.jobs import Task, Worker, run_in_processes
from specktrack.training.peak_memory import PeakMemory, peak_memory
from specktrack.training.report import main_table, markdown, plural, write_json
from specktrack.training.score import ClipScore
from specktrack.training.score_cache import ScoreCache
from specktrack.training.summary import Summary, summarise

app = console.new_app()


@app.command()
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="YAML file; see configs/eval.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what an earlier run has measured.")] = False,
) -> None:
    """Compare trackers on annotated clips. Research use only."""
    settings = load_settings(EvalConfig, config, set_ or [])
    if settings.figures:
        require_matplotlib()
    summaries, n_skipped = measure(settings, fresh)
    out = Path(settings.out)
    written = write_report(out, settings, summaries, n_skipped)
    typer.echo(f"{main_table(summaries)}\n\nWritten to {out}: {', '.join(written)}")


def measure(settings: EvalConfig, fresh: bool = False) -> tuple[list[Summary], int]:
    """Figures of every tracker, and how many clips were left out for want of a visible point.

    Scores of an earlier run are used again unless `fresh`. A model, a folder or a file that is not there raises
    InputError or EngineError before anything is tracked.
    """
    sources = find_sources(settings)
    kept = ScoreCache(Path(settings.out) / "scores", settings)
    todo = [Task(source, settings, _missing(source, settings, kept, fresh)) for source in sources]
    for task, scores in _with_progress([task for task in todo if task.trackers], settings.jobs, len(todo)):
        for tracker, score in scores.items():
            kept.save(tracker, task.source, score)
    return _summaries(sources, settings, kept, fresh)


def write_report(out: Path, settings: EvalConfig, summaries: Sequence[Summary], n_skipped: int) -> list[str]:
    """Write accuracy.md, accuracy.json and the figures; returns their file names."""
    pictures = draw_figures(out, summaries) if settings.figures else []
    n_clips = summaries[0].n_clips
    (out / "accuracy.md").write_text(
        markdown(summaries, _introduction(settings, n_clips, n_skipped), pictures), encoding="utf-8"
    )
    about = {"settings": settings.model_dump(mode="json"), "clips": n_clips, "skipped": n_skipped}
    write_json(out / "accuracy.json", summaries, about)
    return ["accuracy.md", "accuracy.json", *pictures]


def _missing(source: ClipSource, settings: EvalConfig, kept: ScoreCache, fresh: bool) -> tuple[str, ...]:
    return tuple(tracker for tracker in settings.models if fresh or kept.load(tracker, source) is None)


def _with_progress(tasks: Sequence[Task], jobs: int, n_clips: int) -> Iterator[tuple[Task, dict[str, ClipScore]]]:
    """Every task with its scores, as they are done; of n_clips the others were measured before."""
    bar, count = BarColumn(), MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), bar, count, TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, closing(Worker()) as here:
        row = progress.add_task("tracking clips", total=n_clips, completed=n_clips - len(tasks))
        results = run_in_processes(tasks, jobs) if jobs > 1 else ((task, here.run(task)) for task in tasks)
        for task, scores in results:
            yield task, scores
            progress.advance(row)


def _summaries(
    sources: Sequence[ClipSource], settings: EvalConfig, kept: ScoreCache, fresh: bool
) -> tuple[list[Summary], int]:
    scores = {tracker: [kept.load(tracker, source) for source in sources] for tracker in settings.models}
    judged = [k for k in range(len(sources)) if all(row[k] is not None for row in scores.values())]
    if not judged:
        raise InputError("none of the clips has a point that is visible in its query frame and in another one")
    summaries = []
    for tracker, row in scores.items():
        memory = _memory(tracker, sources[judged[0]], settings, kept, fresh)
        summaries.append(summarise(tracker, [score for score in row if score is not None], memory))
    return summaries, len(sources) - len(judged)


def _memory(tracker: str, source: ClipSource, settings: EvalConfig, kept: ScoreCache, fresh: bool) -> PeakMemory:
    if not settings.memory:
        return PeakMemory(host_mb=None, device_mb=None)
    known = None if fresh else kept.load_memory(tracker, source)
    if known is None:
        known = peak_memory(tracker, source, settings)
        kept.save_memory(tracker, source, known)
    return known


def _introduction(settings: EvalConfig, n_clips: int, n_skipped: int) -> str:
    query = settings.query if isinstance(settings.query, str) else f"{settings.query:g} of the beat"
    parts = [
        f"{plural(n_clips, 'clip')}, query frame: {query}. Errors at 256 x 256 over all frames but that,",
        "forward and backward from it. Every clip counts the same.",
    ]
    if settings.references:
        parts.append("Clips with tracks in another file are queried where that file says.")
    if n_skipped:
        parts.append(f"{plural(n_skipped, 'clip')} without a point visible in the query frame left out.")
    if settings.jobs > 1:
        parts.append(f"{settings.jobs} clips ran at the same time, so times are longer than alone.")
    return " ".join(parts)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
