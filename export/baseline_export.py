"""`export-trt NAME:WEIGHTS`, for trackers of others: ONNX in FP32 and FP16, each checked against the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from rich.console import Console
from rich.table import Table

from specktrack.export.audit import audit
from specktrack.export.baseline_graph import export_stages
from specktrack.export.baseline_half import write_half
from specktrack.export.baseline_manifest import BaselineManifest, parity_card, save_card, tensor_cards
from specktrack.export.baseline_parity import (
    MOST_PX,
    FileParity,
    Trial,
    onnxruntime_runner,
    phantom_clip,
    torch_runner,
    try_network,
)
from specktrack.export.baseline_stages import Window
from specktrack.export.baselines import BASELINES, Baseline, some_queries
from specktrack.export.versions import versions
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import file_sha256
from specktrack.training.official_checkpoint import load_official
from specktrack.training.point_tracker import FEWEST_FRAMES


@dataclass(frozen=True)
class Wanted:
    """What the user asks for; None: the tracker's own."""

    size: tuple[int, int] = (256, 256)  # height, width of the images
    window: int | None = None  # frames
    iterations: int | None = None
    n_points: int = 64  # of the comparison; a file takes any number


def export_baseline(name: str, weights: Path, out: Path, wanted: Wanted) -> dict[Path, FileParity]:
    """Write the files of a tracker with the user's weights, and their cards; their parity.

    Raises InputError for an unknown tracker, weights that do not fit, a size it cannot take, and for a file that is
    not what the network is.
    """
    baseline = _find(name)
    _check(name, baseline, wanted)
    network = baseline.build()
    load_official(network, weights, name.removesuffix("-online"))
    return write_files(name, network.eval(), file_sha256(weights), out, wanted)


def write_files(name: str, network: Any, weights_sha256: str, out: Path, wanted: Wanted) -> dict[Path, FileParity]:
    """The same from a network that has its weights."""
    baseline = _find(name)
    window = Window(wanted.window or baseline.n_frames, wanted.size)
    iterations = wanted.iterations or baseline.iterations
    model = export_stages(baseline.cut(network, window), iterations)
    audit(model, coordinates=baseline.coordinates)
    trial = _trial(baseline, network, window, iterations, wanted.n_points)
    single, half = out / f"{name}.onnx", out / f"{name}.fp16.onnx"
    onnx.save(model, str(single))
    fp32 = trial.measure(onnxruntime_runner(single), "fp32", "onnxruntime")
    if not fp32.is_good:
        raise InputError(f"{single}: {fp32.max_px:.4f} px from the network, more than {MOST_PX['fp32']}; not usable")
    fp16 = write_half(model, baseline, half, lambda path: _measure_half(path, trial))
    for path, parity in ((single, fp32), (half, fp16)):
        card = BaselineManifest(
            model=name,
            file=path.name,
            sha256=file_sha256(path),
            precision=parity.precision,
            islands=parity.islands,
            input_size=window.size,
            window_frames=window.n_frames,
            iterations=iterations,
            query_frames=baseline.query_frames,
            inputs=tensor_cards(model.graph.input),
            outputs=tensor_cards(model.graph.output),
            weights_sha256=weights_sha256,
            weights_licence=baseline.licence,
            versions=versions(),
            parity=parity_card(parity),
        )
        save_card(card, path)
    return {single: fp32, half: fp16}


def print_parity(files: dict[Path, FileParity]) -> None:
    """The table that the command shows."""
    table = Table(title="ONNX against torch FP32, on a phantom clip")
    for column in ("file", "run by", "points", "frames", "moved", "median", "p99", "max px", "FP32"):
        table.add_column(column, justify="left" if column in ("file", "run by") else "right", overflow="fold")
    for path, row in files.items():
        figures = (row.median_px, row.p99_px, row.max_px)
        counts = (str(row.n_points), str(row.n_frames), f"{row.moved_px:.1f}")
        islands = " ".join(row.islands) or "all"
        table.add_row(path.name, row.runtime, *counts, *(f"{value:.1e}" for value in figures), islands)
    Console().print(table)


def _measure_half(path: Path, trial: Trial) -> FileParity:
    """Loaded in ONNX Runtime, which checks it, and measured by torch (baseline_parity.py says why)."""
    onnxruntime_runner(path)
    return trial.measure(torch_runner(path), "fp16", "torch, cast by cast")


def _trial(baseline: Baseline, network: Any, window: Window, iterations: int, n_points: int) -> Trial:
    clip = phantom_clip(window.size, baseline.clip_frames(window.n_frames))
    queries = some_queries(baseline, n_points, window.n_frames, window.size)
    return try_network(baseline, network, clip, queries, iterations, window.n_frames)


def _find(name: str) -> Baseline:
    if name not in BASELINES:
        raise InputError(f"tracker {name}: unknown; choose {', '.join(BASELINES)}")
    return BASELINES[name]


def _check(name: str, baseline: Baseline, wanted: Wanted) -> None:
    smallest = baseline.smallest
    if min(wanted.size) < smallest or any(side % 8 for side in wanted.size):
        raise InputError(f"--size {wanted.size}: {name} takes multiples of 8 from {smallest} on")
    if name == "cotracker3-online" and wanted.window not in (None, baseline.n_frames):
        raise InputError(f"--window {wanted.window}: {name} has windows of {baseline.n_frames} frames; leave it out")
    if wanted.window is not None and wanted.window < FEWEST_FRAMES:
        raise InputError(f"--window {wanted.window}: at least {FEWEST_FRAMES} frames; it is normalised over time")
