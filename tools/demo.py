"""`make demo`: the bundled clip through the real daemon over real sockets, every part a process of its own.

With a person and a display: a live page until Ctrl-C. Otherwise (CI, no terminal, no display) a dozen heart beats,
an overlay video and a table of beats, and the end.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from specktrack.rt import console
from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError
from specktrack.rt.wire import NOTICE, BeatHeader, BeatMessage
from specktrack.tools.processes import Processes
from specktrack.tools.receiver import Receiver, Shown
from specktrack.tools.view import beat_table

CLIP_NAMES = ("clip.mp4", "clip.npz")
BATCH_SHOWINGS = 6  # of the film, two beats each: the phase locks during the first
START_S = 60.0
SILENCE_S = 20.0

app = console.new_app()


@dataclass(frozen=True)
class Wiring:
    """Free addresses on this machine."""

    frames: str
    results: str
    control: str
    tee: str


@dataclass
class Figures:
    """What the demo saw on the wire."""

    beats: list[BeatHeader] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    dropped: int = 0
    gaps: int = 0


@app.command()
def demo(
    model: Annotated[str | None, typer.Option(help="Model for rt-serve; default: its own.")] = None,
    out: Annotated[Path, typer.Option(help="Where the video goes in batch mode.")] = Path("demo/overlay.mp4"),
    batch: Annotated[bool | None, typer.Option(help="Video instead of a live page; default: as it fits.")] = None,
    showings: Annotated[int, typer.Option(min=1, help="Of the two-beat film, in batch mode.")] = BATCH_SHOWINGS,
) -> None:
    """See specktrack at work. Research use only; not a medical device."""
    is_batch = wants_batch() if batch is None else batch
    with ExitStack() as stack:
        folder = stack.enter_context(as_file(files("specktrack.tools").joinpath("demo")))
        clip, contour = bundled(folder)
        wiring = free_wiring()
        processes = stack.enter_context(Processes())
        _start_server(processes, wiring, model)
        if is_batch:
            _batch(processes, wiring, clip, contour, out, showings)
        else:
            _live(processes, wiring, clip, contour)


def wants_batch() -> bool:
    """True where nobody could look at a live page: CI, no terminal, or no display."""
    if os.environ.get("CI") or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return sys.platform == "linux" and not has_display


def bundled(folder: Path) -> tuple[Path, Path]:
    """The clip and the contour that come with the package."""
    clip = next((folder / name for name in CLIP_NAMES if (folder / name).exists()), None)
    contour = folder / "contour.json"
    if clip is None or not contour.exists():
        raise InputError(f"{folder}: the demo clip is missing; install specktrack again")
    return clip, contour


def free_wiring() -> Wiring:
    """Four ports that are free now, chosen together so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Wiring(*(f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in sockets))


def _start_server(processes: Processes, wiring: Wiring, model: str | None) -> None:
    """rt-serve, until it says that its sockets are open."""
    addresses = ["--frames", wiring.frames, "--results", wiring.results, "--control", wiring.control]
    chosen = ["--model", model] if model else []
    server = processes.start("rt-serve", "specktrack.rt.cli", *addresses, *chosen)
    for line in processes.lines(server, START_S):
        print(line)
        if line.startswith(NOTICE):
            return


def _feed(processes: Processes, wiring: Wiring, clip: Path, contour: Path, *options: str) -> subprocess.Popen[str]:
    addresses = ["--to", wiring.frames, "--tee", wiring.tee, "--stream", "demo", "--loop"]
    mm_per_px = json.loads(contour.read_text(encoding="utf-8")).get("mm_per_px")  # a video cannot carry it
    scale = ["--mm-per-px", str(mm_per_px)] if mm_per_px else []
    return processes.start("rt-feed", "specktrack.tools.feed", str(clip), *addresses, *scale, *options)


def _view(processes: Processes, wiring: Wiring, clip: Path, contour: Path, *options: str) -> subprocess.Popen[str]:
    addresses = ["--frames", wiring.tee, "--results", wiring.results, "--control", wiring.control]
    points = ["--points", str(contour), "--loop-length", str(open_clip(clip).frame_count)]
    return processes.start("rt-view", "specktrack.tools.view", *addresses, *points, *options, niceness=10)


def _live(processes: Processes, wiring: Wiring, clip: Path, contour: Path) -> None:
    viewer = _view(processes, wiring, clip, contour, "--web", "0")
    for line in processes.lines(viewer, START_S):
        if "http" in line:
            print(f"\n  {line}\n\nCtrl-C ends the demo.", flush=True)
            break
    _feed(processes, wiring, clip, contour)
    try:
        while True:
            processes.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nstopped")


def _batch(processes: Processes, wiring: Wiring, clip: Path, contour: Path, out: Path, showings: int) -> None:
    count = showings * open_clip(clip).frame_count
    out.unlink(missing_ok=True)
    viewer = _view(processes, wiring, clip, contour, "--headless", "--out", str(out), "--idle", "2")
    with Receiver(wiring.results, None, "demo") as receiver:
        _feed(processes, wiring, clip, contour, "--count", str(count))
        figures = _watch(receiver, processes, viewer, count)
    if viewer.returncode:
        raise InputError(f"rt-view failed: {processes.last_words(viewer)}")
    _print_figures(figures, out)


def _watch(receiver: Receiver, processes: Processes, viewer: subprocess.Popen[str], count: int) -> Figures:
    """Collect figures until the viewer has finished its file; raises InputError when the stream breaks off."""
    figures, heard_s = Figures(), time.monotonic()
    with _progress(count) as advance:
        while viewer.poll() is None:
            processes.check(but=("rt-feed", "rt-view"))
            for event in receiver.events(100):
                heard_s = time.monotonic()
                if isinstance(event, Shown):
                    header = event.track.header
                    figures.latency_ms.append(header.latency_ms.get("total", float("nan")))
                    figures.dropped, figures.gaps = header.dropped, header.gaps
                    advance(len(figures.latency_ms))
                elif isinstance(event, BeatMessage):
                    figures.beats.append(event.header)
            if time.monotonic() - heard_s > SILENCE_S:
                raise InputError("nothing arrived from rt-serve for a while; look at its messages above")
    return figures


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many frames are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} frames"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("streaming", total=count)
        yield lambda done: progress.update(task, completed=done)


def _print_figures(figures: Figures, out: Path) -> None:
    Console().print(beat_table(figures.beats))
    accepted = [beat.gls_percent for beat in figures.beats if beat.accepted and beat.gls_percent is not None]
    if accepted:
        print(f"GLS      {np.median(accepted):.1f} %, median of {len(accepted)} accepted beats")
    latency = np.array(figures.latency_ms)
    if latency.size:
        p50, p99 = np.nanpercentile(latency, [50, 99])
        print(f"latency  p50 {p50:.1f} ms, p99 {p99:.1f} ms over {latency.size} frames")
    print(f"lost     {figures.dropped} dropped, {figures.gaps} never received")
    print(f"video    {out}")
    print(NOTICE)


def _stop_like_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `make demo`."""
    signal.signal(signal.SIGTERM, _stop_like_ctrl_c)
    console.run(app)


if __name__ == "__main__":
    main()
