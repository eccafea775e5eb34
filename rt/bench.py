"""`rt-bench`: what a frame costs, stage by stage, for every engine and model, beside optical flow and other trackers.

Everything is measured in turns within one run (bench_run.py): on a busy machine times are noise, their ratios are not.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from specktrack.rt import console
from specktrack.rt.bench_report import Case, machine, show, write_json
from specktrack.rt.bench_run import TURN_FRAMES, Plan, measure
from specktrack.rt.bench_scene import LARGEST_SIDE, LEAST_SIDE, Scene, beating_speckle
from specktrack.rt.bench_subjects import FLOWS, ServedSubject, Subject, encoder_alone, optical_flow
from specktrack.rt.bench_trackers import TRACKERS, other_tracker
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import LOADERS, open_engine
from specktrack.rt.errors import EngineError, InputError
from specktrack.rt.headers import NOTICE
from specktrack.rt.manifest import shipped_models

app = console.new_app()

MOST_POINTS = 1024
MOST_FRAMES = 4000  # what the daemon's own latency meter remembers
Opening = Callable[[], Subject]


@dataclass(frozen=True)
class Wish:
    """What the user wants measured."""

    models: tuple[str, ...]
    engines: tuple[str, ...]
    weights: Mapping[str, Path]
    threads: int


@app.command()
def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model, block, dis, lucas-kanade, echotracker, cotracker3, pips; repeatable.", metavar="NAME|FILE"
        ),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine; repeatable. Absent: all installed.", metavar="NAME")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Side of the frames; repeatable. Absent: 512, 256.", metavar="PX")
    ] = None,
    points: Annotated[list[int] | None, typer.Option(help="Points; repeatable. Absent: 64.", metavar="N")] = None,
    threads: Annotated[int, typer.Option(help="Of engines and flow. 0: all cores but one.")] = 0,
    frames: Annotated[int, typer.Option(help="Frames for each row.")] = 240,
    weights: Annotated[
        list[str] | None, typer.Option(help="Checkpoint of another tracker; absent: random.", metavar="NAME=FILE")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here too.", metavar="FILE")] = None,
) -> None:
    """Measure latency per stage, throughput, CPU and memory, all in turns so that ratios hold.

    Research use only; not a medical device.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = Wish(
        models=tuple(model or (*shipped_models(), "block", *FLOWS)),
        engines=tuple(engine or ()),
        weights=_weights(weights or ()),
        threads=threads or max(cores - 1, 1),
    )
    sizes, counts = tuple(size or (512, 256)), tuple(points or (64,))
    _check(wish, sizes, counts, frames, json)
    _run(wish, sizes, counts, frames, json)


def bench_main() -> None:
    """rt-bench."""
    console.run(app)


def _run(wish: Wish, sizes: Sequence[int], counts: Sequence[int], n_frames: int, json: Path | None) -> None:
    console.start_logging(logging.ERROR)
    cv2.setNumThreads(wish.threads)
    out, skipped = Console(width=140), []
    cases = []
    plan = Plan(rounds=-(-n_frames // TURN_FRAMES))
    for size_px in sizes:
        for n_points in counts:
            openings, missing = _openings(wish, beating_speckle(size_px, n_points))
            skipped += [text for text in missing if text not in skipped]
            with Progress(transient=True, disable=not out.is_terminal) as bar:
                task = bar.add_task(f"{size_px} px, {n_points} points", total=plan.rounds * len(openings))
                rows = measure(openings, plan, partial(bar.advance, task))
            cases.append(Case(size_px, n_points, tuple(rows)))
            show(cases[-1], out)
    for text in skipped:
        out.print(f"skipped: {text}")
    said = machine()
    out.print(
        f"{said['processor']}, {said['cores']} cores, {wish.threads} threads, load average {said['load_average']}"
    )
    out.print(NOTICE)
    if json is not None:
        settings = {"threads": wish.threads, "frames": n_frames, "models": wish.models, "engines": wish.engines}
        write_json(json, cases, settings, skipped)


def _openings(wish: Wish, scene: Scene) -> tuple[list[Opening], list[str]]:
    """How to open each subject, and why some cannot be. Raises InputError when none can."""
    openings: list[Opening] = []
    skipped: list[str] = []
    for name in wish.models:
        if name in FLOWS:
            openings.append(partial(optical_flow, name, scene))
        elif name in TRACKERS:
            openings.append(partial(other_tracker, name, scene, wish.weights, wish.threads))
        else:
            for config in _configs(name, wish):
                try:
                    open_engine(config).close()
                except EngineError as error:
                    if wish.engines or not _is_missing(error):
                        raise
                    skipped.append(str(error))
                    continue
                openings.append(partial(_served, config, scene))
                if name != "block":
                    openings.append(partial(_encoder, config, scene))
    if not openings:
        raise InputError("nothing to measure: none of the engines asked for runs any of the models asked for")
    return openings, skipped


def _configs(model: str, wish: Wish) -> list[ModelConfig]:
    """One for each engine that could run the model."""
    if model == "block":
        return [ModelConfig(name=model, threads=wish.threads)]
    engines = wish.engines or tuple(kind for kind in LOADERS if kind != "block")
    return [ModelConfig.model_validate({"name": model, "engine": e, "threads": wish.threads}) for e in engines]


def _served(config: ModelConfig, scene: Scene) -> Subject:
    return ServedSubject(open_engine(config), scene)


def _encoder(config: ModelConfig, scene: Scene) -> Subject:
    return encoder_alone(open_engine(config), scene)


def _is_missing(error: EngineError) -> bool:
    """An engine that is not installed or has no device here, not a wrong model."""
    return isinstance(error.__cause__, ImportError) or str(error).startswith("engine ")


def _weights(given: Sequence[str]) -> dict[str, Path]:
    found = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or name not in TRACKERS:
            raise InputError(f"--weights {text}: expected NAME=FILE with one of {', '.join(TRACKERS)}")
        if not Path(file).is_file():
            raise InputError(f"--weights {text}: no such file; give the checkpoint you downloaded (docs/baselines.md)")
        found[name] = Path(file)
    return found


def _check(wish: Wish, sizes: Sequence[int], counts: Sequence[int], n_frames: int, json: Path | None) -> None:
    """Raises InputError for what cannot be measured."""
    for kind in wish.engines:
        if kind not in LOADERS:
            raise InputError(f"--engine {kind}: unknown; choose {', '.join(LOADERS)}")
    for low, high, values, option in (
        (LEAST_SIDE, LARGEST_SIDE, sizes, "--size"),
        (1, MOST_POINTS, counts, "--points"),
        (1, MOST_FRAMES, (n_frames,), "--frames"),
        (1, 64, (wish.threads,), "--threads"),
    ):
        wrong = next((v for v in values if not low <= v <= high), None)
        if wrong is not None:
            raise InputError(f"{option} {wrong}: choose {low} to {high}")
    if json is not None and not json.parent.is_dir():
        raise InputError(f"--json {json}: there is no folder {json.parent}; make it first or choose another")


if __name__ == "__main__":
    bench_main()
