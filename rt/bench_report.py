"""What was measured, for people (tables) and for programs (JSON)."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from specktrack.rt.bench_run import Row
from specktrack.rt.errors import InputError

REFERENCES = ("encoder alone", "dis, medium preset")  # what whole paths are divided by


@dataclass(frozen=True)
class Case:
    """One size and number of points, everything interleaved."""

    size_px: int
    points: int
    rows: tuple[Row, ...]

    def ratios(self) -> dict[str, dict[str, float]]:
        """Medians of the whole path, in time and CPU time, over those of the references: its own encoder, DIS flow."""
        found: dict[str, dict[str, float]] = {}
        for row in self.rows:
            over: dict[str, float] = {}
            for reference in (r for r in self.rows if _divides(r, row)):
                over[f"p50 / {reference.name}"] = row.total.p50_ms / reference.total.p50_ms
                if reference.cpu_ms_per_frame > 0:
                    over[f"CPU / {reference.name}"] = row.cpu_ms_per_frame / reference.cpu_ms_per_frame
            if any(r.name == f"{row.name}, {REFERENCES[0]}" for r in self.rows):
                over["match / encode"] = row.stages["match"].p50_ms / row.stages["encode"].p50_ms
            over["p99 / p50"] = row.total.p99_ms / row.total.p50_ms
            found[row.name] = over
        return found


def show(case: Case, console: Console) -> None:
    """Print the tables of one case."""
    console.print(_summary(case))
    for row in case.rows:
        if len(row.stages) > 1:
            console.print(_stages(row))
    ratios = Table("of medians, this run only", "ratio", title="Ratios", title_justify="left")
    for name, over in case.ratios().items():
        for what, ratio in over.items():
            ratios.add_row(f"{name}: {what}", f"{ratio:.2f}")
    console.print(ratios)


def write_json(path: Path, cases: Sequence[Case], settings: Mapping[str, object], skipped: Sequence[str]) -> None:
    """All figures in one file; raises InputError when it cannot be written."""
    described = [
        {"size_px": c.size_px, "points": c.points, "rows": [asdict(r) for r in c.rows], "ratios": c.ratios()}
        for c in cases
    ]
    everything = {"machine": machine(), "settings": dict(settings), "skipped": list(skipped), "cases": described}
    try:
        path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file with --json") from error


def machine() -> dict[str, object]:
    """Where it was measured and how busy it was."""
    libraries = ("numpy", "opencv-python-headless", "onnxruntime", "numba", "specktrack")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
    }


def _processor() -> str:
    """Name of the processor with the features that matter here, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in said.get("flags", "").split()]
    return " ".join([said.get("model name", platform.machine()), *wide])


def _divides(reference: Row, row: Row) -> bool:
    """An encoder divides its own path only, the flow everything but itself."""
    own = reference.name == f"{row.name}, {REFERENCES[0]}"
    return own or (reference.name == REFERENCES[1] and reference is not row)


def _summary(case: Case) -> Table:
    columns = ("", "p50 ms", "p95", "p99", "max", "(frame)", "frames/s", "CPU ms", "memory MiB", "new KiB", "kept")
    table = Table(*columns, title=f"{case.size_px} x {case.size_px} px, {case.points} points", title_justify="left")
    for row in case.rows:
        t = row.total
        times = [f"{ms:.2f}" for ms in (t.p50_ms, t.p95_ms, t.p99_ms, t.max_ms)]
        rate = "" if row.frames_per_s is None else f"{row.frames_per_s:.0f}"
        memory = (f"{row.memory_mib:.0f}", f"{row.transient_kib_per_frame:.0f}", f"{row.kept_blocks_per_frame:.1f}")
        table.add_row(row.name, *times, str(t.max_seq), rate, f"{row.cpu_ms_per_frame:.2f}", *memory)
    return table


def _stages(row: Row) -> Table:
    table = Table("stage", "p50 ms", "p95", "p99", "max", "(frame)", title=row.name, title_justify="left")
    for stage, s in row.stages.items():
        times = (f"{ms:.2f}" for ms in (s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms))
        table.add_row(stage, *times, str(s.max_seq))
    return table
