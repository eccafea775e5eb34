"""`eval-phase`: how well the phase follows hearts whose every beat is known: phase.md and phase.json.

recordings.py    phantom hearts, rendered once and kept
play.py          played through the real session: image alone, frames dropped, with an ECG
phase_score.py   what was said against the truth
phase_report.py  figures over all recordings

A stopped run goes on where it was: a recording is judged anew only when it, the settings or the code changed.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import track

from specktrack.rt import console
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.settings import load_settings
from specktrack.training.phase_config import PhaseEvalConfig, Playing
from specktrack.training.phase_report import Judged, figures, write_report
from specktrack.training.phase_score import PhaseScore, Truth, score_phase
from specktrack.training.play import play
from specktrack.training.recordings import Recording, recordings_of, render
from specktrack.training.score_cache import code_fingerprint, model_fingerprint

app = console.new_app()


@app.command()
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="YAML file; see configs/phase.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    rendered: Annotated[bool, typer.Option("--rendered", help="Only recordings that are on disk already.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Judge anew what an earlier run has judged.")] = False,
) -> None:
    """Judge the cardiac phase on phantom recordings. Research use only."""
    settings = load_settings(PhaseEvalConfig, config, set_ or [])
    judged = measure(settings, rendered, fresh)
    out = Path(settings.out)
    together = figures([j.score for j in judged])
    typer.echo(f"{together.recordings} recordings, {together.beats} beats. Written to {out}: phase.md, phase.json")


def measure(settings: PhaseEvalConfig, only_rendered: bool = False, fresh: bool = False) -> list[Judged]:
    """Play and judge every recording; the report is written anew after each. Raises InputError, EngineError."""
    todo = list(_todo(settings))
    out = Path(settings.out)
    key = _settings_key(settings)
    engine: Engine | None = None
    judged: list[Judged] = []
    for recording, playing in track(todo, description="playing recordings"):
        path = out / "scores" / f"{recording.name}-{playing}-{recording.key}-{key}.json"
        score = None if fresh else _load(path)
        if score is None:
            if only_rendered and not _is_rendered(recording, settings):
                continue
            engine = engine or open_engine(ModelConfig(name=settings.model, threads=settings.threads))
            score = _score(recording, playing, settings, engine)
            _save(path, score)
        judged.append(Judged(recording.name, recording.group.name, playing, recording.rate_bpm, score))
        write_report(out, judged, settings, len(todo) - len(judged))
    if engine is not None:
        engine.close()
    write_report(out, judged, settings, len(todo) - len(judged))
    return judged


def _todo(settings: PhaseEvalConfig) -> Iterator[tuple[Recording, Playing]]:
    for recording in recordings_of(settings):
        for playing in recording.group.playings:
            yield recording, playing


def _score(recording: Recording, playing: Playing, settings: PhaseEvalConfig, engine: Engine) -> PhaseScore:
    clip = render(recording, Path(settings.recordings))
    trace = play(clip, recording, playing, settings, engine)
    return score_phase(trace, Truth.of(recording.spec.heart.rhythm), 1.0 / clip.frame_rate_hz)


def _is_rendered(recording: Recording, settings: PhaseEvalConfig) -> bool:
    return (Path(settings.recordings) / recording.file_name).exists()


def _settings_key(settings: PhaseEvalConfig) -> str:
    """Changes with all that decides a score beside the recording."""
    parts = [settings.session.model_dump_json(), settings.dropped_share, model_fingerprint(settings.model)]
    return hashlib.sha256(json.dumps([*parts, code_fingerprint(__name__)]).encode()).hexdigest()[:12]


def _load(path: Path) -> PhaseScore | None:
    try:
        return PhaseScore.model_validate_json(path.read_bytes(), strict=False)
    except (OSError, ValidationError):
        return None


def _save(path: Path, score: PhaseScore) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(score.model_dump_json(), encoding="utf-8")
    partial.replace(path)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
