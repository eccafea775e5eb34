"""What `export-trt` does for a tracker of others: NAME:WEIGHTS, or NAME --weights FILE. Imports torch only then."""

from pathlib import Path

import typer

from specktrack.rt.errors import InputError

NAMES = ("echotracker", "echotracker-ptecho", "pips", "cotracker3", "cotracker3-online")


def named_baseline(checkpoint: str, weights: Path | None) -> tuple[str, Path] | None:
    """Tracker and weights file, or None for a network of our own. Raises InputError where only one is given."""
    name, _, behind = checkpoint.partition(":")
    if name not in NAMES:
        if weights is not None:
            raise InputError(f"--weights {weights}: {checkpoint} has none to add; it goes with {', '.join(NAMES)}")
        return None
    if bool(behind) == (weights is not None):
        raise InputError(f"{checkpoint}: give its checkpoint once, as {name}:FILE (docs/baselines.md)")
    return name, Path(behind) if weights is None else weights


def refuse_plan(is_onnx_only: bool) -> None:
    """Raises InputError unless ONNX is all that is asked for."""
    if not is_onnx_only:
        raise InputError("TensorRT plans are built for networks of specktrack only; add --onnx-only")


def export_named(name: str, weights: Path, out: Path, size: int, window: int | None, iterations: int | None) -> None:
    """Write the files, show how near they are. Raises InputError."""
    from specktrack.export.baseline_export import Wanted, export_baseline, print_parity

    files = export_baseline(name, weights, out, Wanted((size, size), window, iterations))
    print_parity(files)
    typer.echo(f"Written: {', '.join(path.name for path in files)} and their cards in {out}")
