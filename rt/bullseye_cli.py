"""`rt-bullseye`: one bull's eye from the folders that `rt-track --view` wrote for three views.

OUT.png   the plot
OUT.json  values of the 18-, 17- and 16-segment models, GLS of each view and their mean
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

import cv2
import typer

from specktrack.rt import console
from specktrack.rt.bullseye import draw_bullseye
from specktrack.rt.errors import InputError
from specktrack.rt.headers import NOTICE
from specktrack.rt.result_files import ViewResult, read_view
from specktrack.rt.walls import LEFT_VENTRICLE, Values, eighteen, seventeen, sixteen

app = console.new_app()
LEAST_VIEWS = 2  # a mean over fewer is no global strain of the heart


@app.command()
def bullseye(
    folders: Annotated[list[Path], typer.Argument(help="Folders of rt-track --view a4c, a2c, a3c.", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="Picture to write, .png; the numbers go beside it.")],
    segments: Annotated[int, typer.Option(help="Segments of the model: 16, 17 or 18.")] = 17,
) -> None:
    """Draw the strain of the left ventricle as a bull's eye. Research use only; not a medical device."""
    if segments not in (16, 17, 18):
        raise InputError(f"--segments {segments}: choose 16, 17 or 18")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: give a file name that ends in .png")
    views = _views(folders)
    models = _models(views)
    gls = mean_gls(views)
    picture = draw_bullseye(models[segments], segments, "End-systolic longitudinal strain, %", _figures(views, gls))
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), picture):
        raise InputError(f"--out {out}: cannot be written; choose another file")
    content = {
        "notice": NOTICE,
        "gls_percent": gls,
        "views": {v.view: {"gls_percent": v.gls_percent, "beats": v.n_beats, "source": str(v.source)} for v in views},
        "models": {str(n): values for n, values in models.items()},
    }
    out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n".join([*_figures(views, gls), f"written: {out}, {out.with_suffix('.json')}"]))


def mean_gls(views: Sequence[ViewResult]) -> float | None:
    """Mean of the views' GLS; None when more than one of the three is missing."""
    known = [view.gls_percent for view in views if view.gls_percent is not None]
    return fmean(known) if len(known) >= LEAST_VIEWS else None


def _views(folders: Sequence[Path]) -> list[ViewResult]:
    views = [read_view(folder) for folder in folders]
    for view in views:
        if view.view not in LEFT_VENTRICLE:
            raise InputError(f"{view.source}: view {view.view} is not one of {', '.join(LEFT_VENTRICLE)}; leave it out")
        if sum(other.view == view.view for other in views) > 1:
            raise InputError(f"{view.source}: there are two of view {view.view}; give each view once")
    return views


def _models(views: Sequence[ViewResult]) -> dict[int, Values]:
    full = eighteen({view.view: view.segments_percent for view in views})
    return {16: sixteen(full), 17: seventeen(full), 18: full}


def _figures(views: Sequence[ViewResult], gls: float | None) -> list[str]:
    lines = [f"GLS {gls:.1f} % (mean of views)" if gls is not None else "no GLS: two views are needed"]
    for name in LEFT_VENTRICLE:
        view = next((v for v in views if v.view == name), None)
        if view is None:
            lines.append(f"{name.upper()}  not recorded")
        else:
            value = f"{view.gls_percent:.1f} %" if view.gls_percent is not None else "none"
            lines.append(f"{name.upper()}  {value}, {view.n_beats} beat{'s' * (view.n_beats != 1)}")
    return [*lines, "grey X: rejected, not recorded", NOTICE.split(".")[0] + "."]


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
