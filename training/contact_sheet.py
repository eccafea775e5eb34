"""`python -m specktrack.training.contact_sheet`: random phantoms of every view on one picture, to be looked at.

A row is a view; each clip shows end-diastole and end-systole side by side.
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.training.phantom import Phantom
from specktrack.training.random_phantom import random_spec
from specktrack.training.views import VIEWS

RENDERED_PX = 256  # the size that clips are calibrated at
CELL_PX = 192
LABEL_PX = 20
GRAY_LEVELS = 32  # speckle does not compress: fewer levels keep the file small
SETTLING = 3  # frames rendered before the one shown, so that persistence is at work
WHITE = 255

Picture = NDArray[np.uint8]

app = console.new_app()


def contact_sheet(clips: int, first_seed: int) -> Picture:
    """A row of `clips` random clips for each view, labelled; no seed twice, as one seed may mean one scanner."""
    rows = []
    for row, view in enumerate(VIEWS):
        seeds = range(first_seed + row * clips, first_seed + (row + 1) * clips)
        rows.append(np.hstack([cell for seed in seeds for cell in _clip(view, seed)]))
    sheet = np.vstack(rows).astype(np.float32)
    step = WHITE / (GRAY_LEVELS - 1)
    return np.asarray((sheet / step).round() * step, np.uint8)


def write_sheet(path: Path, sheet: Picture) -> None:
    """Write a PNG; raises InputError when it cannot be written."""
    _, code = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    try:
        path.write_bytes(code.tobytes())
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror}); give another place") from error


def _clip(view: str, seed: int) -> tuple[Picture, Picture]:
    """End-diastole and end-systole of the first whole beat."""
    spec = random_spec(seed, view, size_px=RENDERED_PX)
    phantom, rhythm = Phantom(spec), spec.heart.rhythm
    moments = {"ED": rhythm.ed_s[1], "ES": rhythm.end_systole_s(1)}
    ed, es = (
        _labelled(_frame(phantom, round(time_s * spec.frame_rate_hz)), f"{view} {seed} {name}")
        for name, time_s in moments.items()
    )
    return ed, es


def _frame(phantom: Phantom, index: int) -> Picture:
    for k in range(max(index - SETTLING, 0), index):
        phantom.frame(k)
    return phantom.frame(index)


def _labelled(frame: Picture, text: str) -> Picture:
    cell = np.zeros((LABEL_PX + CELL_PX, CELL_PX), np.uint8)
    cell[LABEL_PX:] = cv2.resize(frame, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
    cv2.putText(cell, text, (6, LABEL_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, WHITE, 1, cv2.LINE_AA)
    return cell


@app.command()
def draw(
    out: Annotated[Path, typer.Option(help="The picture, .png.")],
    clips: Annotated[int, typer.Option(min=1, max=8, help="Clips of each view.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip; the others follow.")] = 1,
) -> None:
    """Draw random phantoms of every view, at end-diastole and end-systole."""
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"--out {out}: expected a .png in a folder that is there")
    torch.set_num_threads(1)  # the same picture on every machine, as far as possible
    write_sheet(out, contact_sheet(clips, seed))


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
