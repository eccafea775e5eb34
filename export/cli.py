"""`export-trt`: a checkpoint becomes a model file that `rt` opens, with its card. This version writes ONNX."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track
from rich.table import Table

from specktrack.export.graph import OPSET, export_onnx
from specktrack.export.parity import ParityTable, compare
from specktrack.rt import console
from specktrack.rt.clip import open_clip
from specktrack.rt.config import MatchConfig
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import InputError
from specktrack.rt.fusion import save_fusion, steady_weights
from specktrack.rt.manifest import FileRef, Manifest, Parity, Training, file_sha256, save_manifest
from specktrack.rt.position import CONFIDENCE_RADIUS_PX
from specktrack.rt.preprocess import preprocess
from specktrack.training.calibration import Curve, fit_curve
from specktrack.training.cases import EvalConfig, load_cases
from specktrack.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from specktrack.training.follow import track_case
from specktrack.training.fusion import FusionModel
from specktrack.training.head import GAMMA
from specktrack.training.metrics import errors_px
from specktrack.training.phantom import Phantom, standard_spec
from specktrack.training.specknet import SpeckNet, build

PHANTOM_FRAMES = 12
MAX_PARITY_PX = 0.002

app = console.new_app()


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint of train-tracker, or a shipped name.")],
    out: Annotated[Path, typer.Option(help="Folder for the model file and its card.")],
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="Of the model file.")] = "fp32",
    onnx_only: Annotated[bool, typer.Option("--onnx-only", help="Stop after ONNX; no TensorRT plan.")] = False,
    calibrate_on: Annotated[
        Path | None, typer.Option(help="Folder of clips with truth to calibrate confidence on.")
    ] = None,
    verify: Annotated[Path | None, typer.Option(help="Clip for the parity check beside the phantom.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Height and width the model is meant for.")] = 256,
) -> None:
    """Export a trained network to ONNX, check it, write its card. Research use only."""
    if not onnx_only:
        raise InputError("TensorRT plans are not in this version; add --onnx-only to write the ONNX file")
    if precision == "fp16":
        raise InputError("--precision fp16: not in this version; use --precision fp32")
    if size % 8:
        raise InputError(f"--size {size}: must be a multiple of 8, for example {size // 8 * 8}")
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    network = _network(loaded)
    out.mkdir(parents=True, exist_ok=True)
    model = out / f"{loaded.model}.onnx"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("exporting to ONNX", total=None)
        export_onnx(network, model, (size, size))
        manifest = _manifest(loaded, _write_fusion(loaded, model), model, size)
        save_manifest(manifest, model)
        tables: dict[str, ParityTable] = {}
        for name, images in _verification(size, verify):
            progress.update(task, description=f"comparing with the network on {name}")
            tables[name] = compare(network, model, manifest, images)
    worst = max(table.max_px for table in tables.values())
    _print(tables)
    if worst > MAX_PARITY_PX:
        raise InputError(f"{model}: differs from the network by {worst:.4f} px, more than {MAX_PARITY_PX}; not usable")
    if calibrate_on is not None:
        manifest = manifest.model_copy(update={"confidence_curve": _calibrate(model, calibrate_on)})
    parity = Parity(
        against=f"torch {torch.__version__}",
        max_feature_error=max(table.max_feature_error for table in tables.values()),
        max_px=worst,
    )
    save_manifest(manifest.model_copy(update={"parity": parity}), model)
    typer.echo(f"Written: {model} and its card {model.with_suffix('.json').name}")


def _network(loaded: Checkpoint) -> SpeckNet:
    """The network in evaluation mode."""
    network = build(loaded.model)
    network.load_state_dict(loaded.state["network"])
    return network.eval()


def _write_fusion(loaded: Checkpoint, model: Path) -> FileRef:
    """The weights of the fusion beside the model; fixed gains where none were trained."""
    arrays = steady_weights()
    if "fusion" in loaded.state:
        fusion = FusionModel()
        try:
            fusion.load_state_dict(loaded.state["fusion"])
        except RuntimeError as error:
            raise InputError(
                "the fusion in the checkpoint is of another version; train it again with train-fusion"
            ) from error
        arrays = fusion.arrays()
    else:
        typer.echo("The checkpoint has no trained fusion: fixed gains are used; train it with train-fusion.")
    path = model.with_suffix(".fusion.npz")
    save_fusion(path, arrays)
    return FileRef(file=path.name, sha256=file_sha256(path))


def _manifest(loaded: Checkpoint, fusion: FileRef, model: Path, size: int) -> Manifest:
    settings: dict[str, Any] = loaded.settings
    return Manifest(
        model=loaded.model,
        file=model.name,
        sha256=file_sha256(model),
        opset=OPSET,
        precision="fp32",
        input_size=(size, size),
        channels=build(loaded.model).config.features,
        gamma=GAMMA,
        fusion=fusion,
        versions={
            "specktrack": version("specktrack"),
            "torch": torch.__version__,
            "onnx": version("onnx"),
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
        training=Training(
            data=str(settings.get("data_note") or ", ".join(map(str, settings["data"]))),
            seed=int(settings["seed"]),
            steps=loaded.step,
        ),
    )


def _calibrate(model: Path, folder: Path) -> Curve:
    """The curve from evidence to confidence, measured with the tracker of the stream on clips with truth."""
    engine = OrtEngine(model)  # its card still has the neutral curve
    shares, is_right = [], []
    for case in track(load_cases(EvalConfig(data=(str(folder),))), description="calibrating confidence"):
        tracks, share = track_case(engine, case, MatchConfig())
        counts = case.visible.copy()
        counts[:, case.query_frame] = False
        size = case.frames.shape[1], case.frames.shape[2]
        shares.append(share[counts])
        is_right.append(errors_px(tracks, case.truth, size)[counts] < CONFIDENCE_RADIUS_PX)
    return fit_curve(np.concatenate(shares), np.concatenate(is_right))


def _verification(size: int, clip: Path | None) -> list[tuple[str, NDArray[np.uint8]]]:
    """Images (T, size, size) of the phantom and of the user's clip."""
    phantom = Phantom(standard_spec(size_px=size))
    chosen = [("phantom", np.stack([phantom.frame(k) for k in range(PHANTOM_FRAMES)]))]
    if clip is not None:
        images = [preprocess(frame, (size, size))[0] for frame in open_clip(clip).frames()]
        chosen.append((clip.name, np.stack(images)))
    return chosen


def _print(tables: dict[str, ParityTable]) -> None:
    table = Table(title="ONNX against torch")
    for column in ("clip", "frames", "feature error, max", "px, median", "px, p99", "px, max"):
        table.add_column(column, justify="left" if column == "clip" else "right")
    for name, row in tables.items():
        figures = (row.max_feature_error, row.median_px, row.p99_px, row.max_px)
        table.add_row(name, str(row.n_frames), *(f"{value:.2e}" for value in figures))
    Console().print(table)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
