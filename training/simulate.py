"""`simulate-echo`: write phantom clips with exact truth, reproducible by seed and resumable."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.phantom import PhantomClip, random_spec, simulate_clip, standard_spec

VIEWS = ("a4c",)

app = console.new_app()


def to_training_clip(name: str, clip: PhantomClip) -> TrainingClip:
    """Phantom truth in the layout of users' clips; end-systole is the most contracted frame of each beat.

    A last beat that is cut off before it relaxes has no end-systole.
    """
    rate = clip.frame_rate_hz
    ed_frames = tuple(round(t * rate) for t in clip.ed_s)
    bounds = [*ed_frames, len(clip.frames)]
    peaks = ((int(clip.state[a:b].argmax()) + a, b) for a, b in pairwise(bounds) if b - a > 2)
    es_frames = tuple(peak for peak, end in peaks if clip.state[end - 1] < clip.state[peak])
    return TrainingClip(name, clip.frames, clip.tracks, clip.visible, rate, clip.mm_per_px, ed_frames, es_frames, "a4c")


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the clips; clips already there are kept.")],
    n: Annotated[int, typer.Option(min=1, help="Number of clips.")],
    seed: Annotated[int, typer.Option(min=0, help="Clip k is drawn from seed + k.")] = 0,
    view: Annotated[str, typer.Option(help="Echo view.")] = "a4c",
    frames: Annotated[int, typer.Option(min=2, help="Frames per clip.")] = 48,
    size: Annotated[int, typer.Option(min=64, help="Pixels per side.")] = 384,
    points: Annotated[int, typer.Option(min=1, help="Tracked material points per clip.")] = 128,
    healthy: Annotated[bool, typer.Option(help="One ordinary heart in a good window instead of random ones.")] = False,
) -> None:
    """Write synthetic echo clips with exact tracks. Research use only."""
    if view not in VIEWS:
        raise InputError(f"--view {view}: unknown view; this version simulates {', '.join(VIEWS)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be made ({error.strerror}); give a folder that can be written"
        ) from error
    for k in track(range(seed, seed + n), description="simulating"):
        path = out / f"{view}-{k:06d}.npz"
        if path.exists():
            continue
        torch.manual_seed(k)
        spec = standard_spec(seed=k, size_px=size) if healthy else random_spec(k, size_px=size)
        save_clip(path, to_training_clip(path.stem, simulate_clip(spec, frames, points)))


def main() -> None:
    """Entry point."""
    console.run(app)
