"""`simulate-echo`: write phantom clips with exact truth, reproducible by seed and resumable."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.phantom import PhantomClip, PhantomSpec, simulate_clip, standard_spec
from specktrack.training.random_phantom import MIXED, random_spec, view_of
from specktrack.training.views import VIEWS

app = console.new_app()


def to_training_clip(name: str, clip: PhantomClip, view: str) -> TrainingClip:
    """Phantom truth in the layout of users' clips."""
    return TrainingClip(
        name=name,
        frames=clip.frames,
        tracks=clip.tracks,
        visible=clip.visible,
        frame_rate_hz=clip.frame_rate_hz,
        mm_per_px=clip.mm_per_px,
        ed_frames=clip.ed_frames,
        es_frames=clip.es_frames,
        view=view,
        wall_depth=clip.wall_depth,
        contour=clip.contour,
        phase=clip.phase,
        query_frame=clip.query_frame,
    )


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the clips; clips already there are kept.")],
    n: Annotated[int, typer.Option(min=1, help="Number of clips.")],
    seed: Annotated[int, typer.Option(min=0, help="Clip k is drawn from seed + k.")] = 0,
    view: Annotated[str, typer.Option(help=f"{', '.join(VIEWS)}, or mixed.")] = "a4c",
    frames: Annotated[int, typer.Option(min=0, help="Frames per clip; 0: one whole beat.")] = 0,
    size: Annotated[int, typer.Option(min=64, help="Pixels per side.")] = 320,
    points: Annotated[int, typer.Option(min=1, help="Tracked material points per clip.")] = 128,
    healthy: Annotated[bool, typer.Option(help="One ordinary heart in a good window instead of random ones.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda; clips of one seed differ between devices.")] = "cpu",
) -> None:
    """Write synthetic echo clips with exact tracks. Research use only."""
    if view not in (*VIEWS, MIXED):
        raise InputError(f"--view {view}: unknown view; known are {', '.join(VIEWS)} and {MIXED}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: there is no CUDA device here; leave it out to use the CPU")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be made ({error.strerror}); give a folder that can be written"
        ) from error
    for k in track(range(seed, seed + n), description="simulating"):
        this_view = view_of(k) if view == MIXED else view
        path = out / f"{this_view}-{k:06d}.npz"
        if path.exists():
            continue
        spec = _spec(this_view, k, size, healthy)
        clip = simulate_clip(spec, frames, points, device=device)
        save_clip(path, to_training_clip(path.stem, clip, this_view))


def _spec(view: str, seed: int, size_px: int, is_healthy: bool) -> PhantomSpec:
    if is_healthy:
        return standard_spec(seed=seed, size_px=size_px, view=view)
    return random_spec(seed, view, size_px=size_px)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
