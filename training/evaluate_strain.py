"""`eval-strain`: global and segmental strain of virtual hearts through the real session, against their truth.

strain_config.py    the settings
virtual_hearts.py   assessable hearts, rendered once
strain_trial.py     one heart through the session
strain_clips.py     single beats of annotated clips, at their true events
strain_report.py    strain.md, strain.json, strain.png

Every heart's score is kept in OUT/scores under a name made of all it depends on, so a stopped run goes on.
"""

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import track

from specktrack.rt import console
from specktrack.rt.config import AnchorConfig, ModelConfig, SessionConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.errors import InputError
from specktrack.rt.settings import load_settings
from specktrack.training.figures import require_matplotlib
from specktrack.training.score_cache import code_fingerprint, model_fingerprint
from specktrack.training.strain_clips import clips_of, try_clip
from specktrack.training.strain_config import HeartsConfig, StrainEvalConfig
from specktrack.training.strain_report import Findings, draw, markdown, write_json
from specktrack.training.strain_trial import HeartScore, try_heart
from specktrack.training.virtual_hearts import film, hearts

app = console.new_app()
MEASURING_CODE = "specktrack.training.strain_trial"


@app.command()
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="YAML file; see configs/eval_strain.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what an earlier run has measured.")] = False,
) -> None:
    """Measure strain on virtual hearts. Research use only."""
    settings = load_settings(StrainEvalConfig, config, set_ or [])
    if settings.drawn not in ("ed", "rest"):
        raise InputError(f"drawn is {settings.drawn!r}; choose ed (end-diastole) or rest (diastasis)")
    if settings.figures:
        require_matplotlib()
    found = measure(settings, fresh)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(settings, found)
    (out / "strain.md").write_text(text, encoding="utf-8")
    write_json(out / "strain.json", settings, found)
    if settings.figures and found.hearts:
        draw(out / "strain.png", found.hearts)
    typer.echo(f"{text}\nWritten to {out}")


def measure(settings: StrainEvalConfig, fresh: bool = False) -> Findings:
    """Scores of all that the settings name."""
    engine = open_engine(ModelConfig(name=settings.model, threads=settings.threads))
    try:
        scores = _scores(settings, settings.hearts, settings.session, engine, fresh)
        rates = {
            rate: _scores(settings, some, settings.session, engine, fresh)
            for rate in settings.rates_hz
            if (some := settings.rate_hearts.model_copy(update={"frame_rate_hz": rate})).count
        }
        still = settings.session.model_copy(update={"anchor": AnchorConfig(enabled=False)})
        drift: dict[str, Sequence[HeartScore]] = {
            name: _scores(settings, settings.drift_hearts, session, engine, fresh)
            for name, session in (("re-anchoring", settings.session), ("no re-anchoring", still))
            if settings.drift_hearts.count
        }
        clips = _clip_scores(settings, engine, fresh)
    finally:
        engine.close()
    return Findings(scores, drift, clips, rates)


def _clip_scores(settings: StrainEvalConfig, engine: Engine, fresh: bool) -> list[HeartScore]:
    """Scores of the assessable clips."""
    found, code = [], code_fingerprint("specktrack.training.strain_clips")
    for path in track(clips_of(settings.clips), description="clips"):
        basis = [settings.model, model_fingerprint(settings.model), settings.session.model_dump(), code]
        key = hashlib.sha256(repr([*basis, path.stat().st_size]).encode()).hexdigest()[:16]
        kept = Path(settings.out) / "scores" / f"clip-{path.stem}-{key}.json"
        score = None if fresh else _kept(kept)
        if score is None:
            score = try_clip(path, settings.session, engine) or HeartScore(
                name=path.stem, n_true_beats=0, beats=(), stray_mm=()
            )
            _keep(kept, score)
        found.append(score)
    return [score for score in found if score.beats]


def _scores(
    settings: StrainEvalConfig, some: HeartsConfig, session: SessionConfig, engine: Engine, fresh: bool
) -> list[HeartScore]:
    out, scores, code = Path(settings.out), [], code_fingerprint(MEASURING_CODE)
    chosen = islice(hearts(some), some.count)
    for seed, spec in track(chosen, description="hearts", total=some.count):
        basis = [settings.model, model_fingerprint(settings.model), settings.drawn, session.model_dump(), code]
        key = hashlib.sha256(repr([*basis, spec, some.seconds]).encode()).hexdigest()[:16]
        path = out / "scores" / f"{spec.heart.view}-{seed}-{key}.json"
        score = None if fresh else _kept(path)
        if score is None:
            score = try_heart(film(seed, spec, some.seconds, out / "films"), settings.drawn, session, engine)
            _keep(path, score)
        scores.append(score)
    return scores


def _keep(path: Path, score: HeartScore) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(score.model_dump_json(), encoding="utf-8")


def _kept(path: Path) -> HeartScore | None:
    try:
        return HeartScore.model_validate_json(path.read_bytes(), strict=False)
    except (OSError, ValidationError):
        return None


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
