"""`export-trt`: a checkpoint becomes model files that `rt` opens, checked, with their cards; then a TensorRT plan.

From a checkpoint: ONNX files (model_files.py), parity with the network (verification.py), then the plan. From an ONNX
file exported before: its audit, then the plan; that needs no torch, so it is how a plan is built on its own machine.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from specktrack.export.baseline_command import export_named, named_baseline, refuse_plan
from specktrack.export.build_config import BuildConfig, point_counts
from specktrack.export.comparison import print_table, user_clip
from specktrack.export.plan_files import build_plans, refuse_without_tensorrt, source_of
from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.settings import load_settings

app = console.new_app()


@app.command()
def export(
    source: Annotated[
        str, typer.Argument(help="Checkpoint, shipped name, exported ONNX file, or another tracker's NAME:WEIGHTS.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the model files and their cards.")] = None,
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="Of the TensorRT plan.")] = "fp16",
    onnx_only: Annotated[bool, typer.Option("--onnx-only", help="Stop after ONNX; no TensorRT plan.")] = False,
    points: Annotated[str, typer.Option(help="Points a plan is for: MIN,OPT,MAX.")] = "1,64,256",
    verify: Annotated[Path | None, typer.Option(help="Clip to compare on, beside the phantom.")] = None,
    contour: Annotated[Path | None, typer.Option(help="Points file of --verify.")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Phantom frames to compare on.")] = 200,
    calibrate_on: Annotated[Path | None, typer.Option(help="Clips with truth, to calibrate confidence.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Height and width the model is meant for.")] = 256,
    weights: Annotated[Path | None, typer.Option(help="Weights of another tracker, beside its NAME.")] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Frames of another tracker's window.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Refinements by another tracker.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Builder option, KEY=VALUE.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Build the plan although it is in the cache.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the plans of this machine and stop.")] = False,
    inspect: Annotated[Path | None, typer.Option(help="Show a model file and stop.")] = None,
) -> None:
    """Export a trained network to ONNX and TensorRT, check it, write its card. Research use only."""
    if list_ or inspect is not None:
        _show(inspect)
        return
    options = load_settings(BuildConfig, None, set_ or ())
    counts = point_counts(points)
    if size % 8:
        raise InputError(f"--size {size}: must be a multiple of 8, for example {size // 8 * 8}")
    if not source or out is None:
        raise InputError("give a checkpoint, a shipped name or an ONNX file, and a folder with --out")
    if (other := named_baseline(source, weights)) is not None:
        refuse_plan(onnx_only)
        _make_folder(out)
        export_named(*other, out, size, window, iterations)
        return
    if source.endswith(".onnx"):
        if calibrate_on is not None or (onnx_only and verify is not None):
            raise InputError(f"{source}: --calibrate-on and --verify need the network; give its checkpoint instead")
        model = Path(source)
    else:
        model = _from_checkpoint(source, out, size, frames, verify, contour, calibrate_on)
    files = source_of(model, precision)
    if onnx_only:
        return
    refuse_without_tensorrt(model)
    clips = [] if verify is None else [user_clip(verify, contour)]
    plan, is_known = build_plans(files, out, counts, options, clips, force)
    typer.echo(f"{'Taken from the cache' if is_known else 'Built'}: {plan}, with its companions and card")


def _show(path: Path | None) -> None:
    from specktrack.export.plan_table import print_file, print_plans

    if path is None:
        print_plans()
    else:
        print_file(path)


def _from_checkpoint(
    name: str,
    out: Path,
    size: int,
    n_frames: int,
    verify: Path | None,
    contour: Path | None,
    calibrate_on: Path | None,
) -> Path:
    """Write the ONNX files of a checkpoint; raises InputError where they are not what the network is."""
    from specktrack.export.confidence import calibrate
    from specktrack.export.model_files import write_model
    from specktrack.export.verification import NETWORK, accept, parities, phantom_clip, rows_of
    from specktrack.rt.parity import Deviation
    from specktrack.training.checkpoint import find_checkpoint, load_checkpoint

    loaded = load_checkpoint(find_checkpoint(name))
    clips = [] if verify is None else [user_clip(verify, contour)]
    _make_folder(out)
    with _progress() as progress:
        task = progress.add_task("exporting to ONNX", total=None)
        files = write_model(loaded, out, (size, size))
        progress.update(task, description="rendering the phantom")
        clips.insert(0, phantom_clip(size, n_frames))
        rows: list[Deviation] = []
        for clip in clips:
            progress.update(task, description=f"comparing with the network on {clip.name}")
            rows.extend(rows_of(files, clip))
    print_table(rows, NETWORK)
    accept(files, rows)
    files = files.save(parities(files, rows))
    if calibrate_on is not None:
        files = files.save(confidence_curve=calibrate(files.fp32, calibrate_on))
    typer.echo(f"Written: {files.fp32}, {files.fp16.name}, their matching graphs, fusion weights and cards")
    return files.fp32


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({error.strerror}); choose another --out") from error


def _progress() -> Progress:
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
