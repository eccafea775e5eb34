"""`study-tracker NAME`: the paper's claims as experiments, one command each.

    bias      study_bias.py     directional bias, augmentation on and off
    phase     study_phase.py    the moment of the beat at which points are set
    combine   study_head.py     multiply, add or learn the combination of scales
    gamma     study_head.py     the exponent
    scales    study_head.py     how many scales
    selfsup   study_selfsup.py  fine-tuning on clips without tracks (selfsup.py)
    page      study_report.py   all results on one page

study_config.py has the settings, study_clips.py the clips, study_loop.py the small training loop, study_bench.py what
all of them share. Trained networks are kept: a study that was stopped goes on where it was.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.settings import load_settings
from specktrack.training.study_bench import StudyBench, progress_bar
from specktrack.training.study_bias import study_bias
from specktrack.training.study_config import StudyConfig
from specktrack.training.study_head import study_combine, study_gamma, study_scales
from specktrack.training.study_phase import study_phase
from specktrack.training.study_report import Report, write_page, write_report
from specktrack.training.study_selfsup import study_selfsup

Study = Callable[[StudyConfig, StudyBench, Path], Report]

STUDIES: dict[str, Study] = {
    "bias": study_bias,
    "phase": study_phase,
    "combine": study_combine,
    "gamma": study_gamma,
    "scales": study_scales,
    "selfsup": study_selfsup,
}
CLAIMS = {
    "bias": "Rotating, shearing and flipping clips and tracks cures the habit of customary directions.",
    "phase": "Points set in diastasis are followed best over the whole cycle.",
    "combine": "Multiplying the scales beats adding them, below 1 px most of all.",
    "gamma": "An exponent near 15 is best.",
    "scales": "Each of the three scales adds something.",
    "selfsup": "Open question: does fine-tuning on clips without tracks help?",
}
PAGE = "page"

app = console.new_app()


@app.command()
def study(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}, or {PAGE} for all results on one page.")],
    config: Annotated[Path | None, typer.Option(help="YAML file; see configs/studies/.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results and networks; overrides the settings.")] = None,
    to: Annotated[Path, typer.Option(help="Where `page` is written, figures beside it.")] = Path("docs/results.md"),
) -> None:
    """Repeat one of the paper's studies on simulated clips. Research use only."""
    overrides = [*(set_ or []), *([f"out={json.dumps(str(out))}"] if out else [])]
    settings = load_settings(StudyConfig, config, overrides)
    if name == PAGE:
        missing = write_page(to, Path(settings.out), CLAIMS)
        typer.echo(f"Written: {to}" + (f"; not run yet: {', '.join(missing)}" if missing else ""))
        return
    if name not in STUDIES:
        raise InputError(f"{name}: unknown study; known are {', '.join([*STUDIES, PAGE])}")
    page = run_study(name, settings)
    typer.echo(page.read_text(encoding="utf-8"))
    typer.echo(f"Written: {page}, {page.with_suffix('.json')}")


def run_study(name: str, settings: StudyConfig) -> Path:
    """Run one study and write its results; the path of results.md."""
    folder = Path(settings.out) / name
    with progress_bar() as progress:
        report = STUDIES[name](settings, StudyBench(settings, progress), folder)
    return write_report(
        folder, replace(report, size=size_of(name, settings), settings=settings.model_dump(mode="json"))
    )


def size_of(name: str, settings: StudyConfig) -> str:
    """The budget of a study in one sentence."""
    tests = (
        f"at most {settings.held_out_clips} held-out clips a view" if settings.held_out_clips else "all held-out clips"
    )
    if name == "phase":
        return f"Size: {tests}, {settings.n_points} points each, every {settings.phase.step_percent:g} % of the beat."
    of_each = f"{settings.clips} training clips a view" if settings.clips else "all training clips"
    seeds = f"{len(settings.seeds)} seed{'s' * (len(settings.seeds) > 1)}"
    if name == "selfsup":
        size, steps = settings.selfsup.size, settings.selfsup.steps
        return f"Size: {seeds}, {steps} steps of {settings.batch} labelled pairs at {size} px, {of_each}, {tests}."
    return (
        f"Size: {seeds}, {settings.steps} steps of {settings.batch} pairs at {settings.size} px, a square of "
        f"{settings.search_px} px, {settings.model}, {of_each}, {tests}."
    )


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
