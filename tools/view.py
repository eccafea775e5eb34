"""`rt-view`: shows what `rt-serve` publishes, as a live web page, in a window, or into a file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.points import read_points
from specktrack.rt.wire import NOTICE, BeatHeader
from specktrack.tools.connection import ViewOptions, connected
from specktrack.tools.headless import Recorder, Seen, record
from specktrack.tools.peer import Peer, load_keys

DEFAULT_PORT = 8765
_START_S = 30.0

app = console.new_app()


@app.command()
def view(
    stream: Annotated[str | None, typer.Option(help="Stream to show; default: the first one heard.")] = None,
    web: Annotated[bool, typer.Option("--web", help="Live page in the browser.")] = False,
    port: Annotated[int, typer.Argument(help="Port of the live page.", min=0, max=65535)] = DEFAULT_PORT,
    headless: Annotated[bool, typer.Option("--headless", help="Write to --out instead of a screen.")] = False,
    out: Annotated[Path | None, typer.Option(help="FILE.mp4 or FILE.png.", metavar="FILE")] = None,
    points: Annotated[Path | None, typer.Option(help="Points file to have tracked.", metavar="FILE")] = None,
    loop_length: Annotated[int | None, typer.Option(min=1, help="The feed repeats after this many frames.")] = None,
    frames: Annotated[
        str, typer.Option(help="Where the pictures are published; '' for none.")
    ] = "tcp://127.0.0.1:5558",
    results: Annotated[str, typer.Option(help="Where rt-serve publishes.")] = "tcp://127.0.0.1:5556",
    control: Annotated[str, typer.Option(help="Where rt-serve answers.")] = "tcp://127.0.0.1:5557",
    keys: Annotated[Path | None, typer.Option(help="Keys of rt-keys, for CURVE.", metavar="DIR")] = None,
    frames_count: Annotated[int | None, typer.Option(min=1, help="Headless: stop after this many frames.")] = None,
    idle: Annotated[float, typer.Option(min=0.1, help="Headless: stop after this many silent seconds.")] = 3.0,
) -> None:
    """Show tracks, strain and phase of a live stream. Research use only; not a medical device."""
    drawn = read_points(points) if points else None
    known = load_keys(keys)
    options = ViewOptions(Peer(results, known), frames or None, Peer(control, known), stream, drawn, loop_length)
    if headless:
        if out is None:
            raise InputError("--headless: give --out FILE.mp4 or --out FILE.png")
        _headless(out, options, frames_count, idle)
    elif web:
        from specktrack.tools.web import serve_page

        serve_page(port, options)
    else:
        from specktrack.tools.window import show_window

        show_window(options)


def _headless(out: Path, options: ViewOptions, frames_count: int | None, idle_s: float) -> None:
    recorder = Recorder(out, options.control, wants_points=options.drawn is not None)
    with connected(options) as (receiver, check):
        seen = record(receiver, recorder, frames_count, idle_s, _START_S, check)
    _print_summary(out, seen)


def _print_summary(out: Path, seen: Seen) -> None:
    print(f"{out}: {seen.frames} frames, {seen.with_picture} with picture, {seen.missing} missing")
    if seen.beats:
        Console().print(beat_table(seen.beats))
    print(NOTICE)


def beat_table(beats: list[BeatHeader]) -> Table:
    """The settled beats as people want to read them."""
    table = Table(title="beats", title_justify="left")
    for name in ("beat", "GLS %", "peak %", "heart rate /min", "drift %", "accepted"):
        table.add_column(name, justify="right")
    for beat in beats:
        row = [_number(beat.gls_percent), _number(beat.peak_percent), f"{beat.heart_rate_bpm:.0f}"]
        verdict = "yes" if beat.accepted else f"no: {beat.why or 'unknown'}"
        table.add_row(str(beat.beat), *row, _number(beat.drift_percent), verdict)
    return table


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.1f}"


def main() -> None:
    """rt-view."""
    console.run(app)


if __name__ == "__main__":
    main()
