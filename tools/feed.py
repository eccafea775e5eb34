"""`rt-feed`: plays a clip or a phantom into `rt-serve` as a scanner would, frame by frame, exactly on time."""

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.frame_index import burn_index
from specktrack.rt.preprocess import to_grey
from specktrack.tools.pacing import Pacer
from specktrack.tools.peer import Peer, load_keys
from specktrack.tools.sender import FrameSender
from specktrack.tools.source import Shot, Source, choose_frames, open_source, play, without_signals

_USUAL_RATE_HZ = 50.0
_SAME_RATE = 0.02  # share by which a recording may be played faster or slower with its ECG
_SHOW_EVERY_NS = 250_000_000
_STREAM_NAME = r"[A-Za-z0-9._-]{1,64}"

app = console.new_app()


@dataclass
class Tally:
    """How the feed is doing."""

    sent: int = 0
    dropped: int = 0  # made, but nobody took them
    elapsed_s: float = 0.0

    @property
    def words(self) -> str:
        """One line for people."""
        made = self.sent + self.dropped
        rate_hz = (made - 1) / self.elapsed_s if self.elapsed_s > 0 else 0.0
        return f"sent {self.sent}  dropped {self.dropped}  {rate_hz:.2f} frames/s"


@dataclass(frozen=True)
class Feed:
    """A source on its way into one stream."""

    source: Source
    sender: FrameSender
    stream: str
    frame_rate_hz: float
    is_burnt: bool
    pacer: Pacer | None  # None: a live source, whose frames come when they come
    tally: Tally

    def send(self, pictures: Iterator[Shot]) -> Iterator[int]:
        """Send each picture at its deadline; yields its frame number afterwards, also when it was dropped.

        Numbers and times go on when the source loops: the receiver sees one unbroken stream.
        """
        first_ns: int | None = None
        for seq, shot in enumerate(pictures):
            marked = self._marked(shot, seq)
            t_ns = self.pacer.next() if self.pacer else time.monotonic_ns()
            first_ns = time.monotonic_ns() if first_ns is None else first_ns
            if self.sender.send(self._frame(marked, seq, t_ns)):
                self.tally.sent += 1
            else:
                self.tally.dropped += 1
            self.tally.elapsed_s = (time.monotonic_ns() - first_ns) * 1e-9
            yield seq

    def _marked(self, shot: Shot, seq: int) -> Shot:
        """With its number burnt into the picture, if that is wanted."""
        if not self.is_burnt:
            return shot
        if isinstance(shot, Frame):
            return replace(shot, pixels=burn_index(to_grey(shot.pixels), seq))
        return burn_index(shot, seq)

    def _frame(self, shot: Shot, seq: int, t_ns: int) -> Frame:
        """A frame of this stream; what a recording says of time moves with it."""
        if isinstance(shot, Frame) and self.source.is_live:
            return replace(shot, stream=self.stream, seq=seq)
        if not isinstance(shot, Frame):
            return Frame(self.stream, seq, t_ns, "monotonic", shot, self.source.geometry, self.frame_rate_hz)
        later_ns = t_ns - shot.t_acq_ns
        return replace(
            shot,
            stream=self.stream,
            seq=seq,
            t_acq_ns=t_ns,
            clock="monotonic",
            geometry=self.source.geometry,
            frame_rate_hz=self.frame_rate_hz,
            ecg=shot.ecg and replace(shot.ecg, t0_ns=shot.ecg.t0_ns + later_ns),
            r_waves_ns=shot.r_waves_ns and tuple(t + later_ns for t in shot.r_waves_ns),
        )


@app.command()
def feed(
    source: Annotated[
        str, typer.Argument(help="Video, DICOM, .npz, .npy, recording, igtl://host:port, or phantom:a4c?hr=70&seed=1.")
    ],
    to: Annotated[str, typer.Option(help="Where rt-serve takes frames.")] = "tcp://127.0.0.1:5555",
    stream: Annotated[str, typer.Option(help="Name of the stream.")] = "a4c",
    fps: Annotated[float | None, typer.Option(help="Frames per second; default: as the source says.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end.")] = False,
    loop_frames: Annotated[str | None, typer.Option(help="Only frames A:B, both included.", metavar="A:B")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")] = None,
    mm_per_px: Annotated[float | None, typer.Option(min=1e-4, help="Pixel size.")] = None,
    tee: Annotated[str | None, typer.Option(help="Also publish the frames here, for rt-view.", metavar="URL")] = None,
    keys: Annotated[Path | None, typer.Option(help="Keys of rt-keys, for CURVE.", metavar="DIR")] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for rt-serve first.")] = 10.0,
    burn: Annotated[bool, typer.Option("--burn-index", help="Write the frame number into the picture.")] = False,
) -> None:
    """Play a clip into rt-serve as a scanner would. Research use only; not a medical device."""
    if not re.fullmatch(_STREAM_NAME, stream):
        raise InputError(f"--stream {stream}: use 1 to 64 letters, digits, dots, dashes or underscores")
    if fps is not None and not 0 < fps <= 10_000:
        raise InputError(f"--fps {fps}: expected frames per second above 0, for example 50")
    screen = Console(stderr=True)
    with screen.status("opening") as status:
        opened = open_source(source, lambda done, total: status.update(f"making the phantom, frame {done} of {total}"))
    if loop_frames is not None:
        opened = choose_frames(opened, loop_frames)
    if mm_per_px is not None:
        opened = replace(opened, geometry=replace(opened.geometry, mm_per_px=(mm_per_px, mm_per_px)))
    rate_hz = fps or opened.frame_rate_hz or _USUAL_RATE_HZ
    if opened.is_recording and opened.frame_rate_hz and abs(rate_hz / opened.frame_rate_hz - 1.0) > _SAME_RATE:
        screen.print(f"without ECG and R waves: they fit the recorded {opened.frame_rate_hz:.4g} frames/s only")
        opened = without_signals(opened)
    pictures = islice(play(opened, loop or opened.is_endless), count)
    with FrameSender(Peer(to, load_keys(keys)), tee) as sender:
        if wait and not sender.has_receiver(round(1000 * wait)):
            screen.print(f"nobody takes frames at {to} yet; frames are dropped until rt-serve runs there")
        pacer = None if opened.is_live else Pacer(rate_hz)
        _run(Feed(opened, sender, stream, rate_hz, burn, pacer, Tally()), pictures, screen)


def _run(feed: Feed, pictures: Iterator[Shot], screen: Console) -> None:
    """Until the pictures or the user's patience end; Ctrl-C is the usual way to stop a feed, not a failure."""
    name, tally, pacer = feed.source.name, feed.tally, feed.pacer
    with Progress(TextColumn("{task.description}"), console=screen, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("")
        shown_ns = 0
        try:
            for _ in feed.send(pictures):
                if time.monotonic_ns() - shown_ns > _SHOW_EVERY_NS:
                    shown_ns = time.monotonic_ns()
                    progress.update(task, description=f"{name} -> {feed.stream}: {tally.words}")
                    progress.refresh()
        except KeyboardInterrupt:
            pass
    if tally.dropped and not tally.sent:
        screen.print("no frame was taken: is rt-serve running, and is --to its frames address?")
    late = f", at most {pacer.worst_late_ns * 1e-6:.1f} ms late" if pacer else ""
    again = f", schedule restarted {pacer.restarts} times" if pacer and pacer.restarts else ""
    print(f"{name}: {tally.words} over {tally.elapsed_s:.1f} s{late}{again}")


def _stop_like_ctrl_c() -> None:
    """SIGTERM ends the feed with its summary, like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)  # a shell starts background jobs with SIGINT ignored


def main() -> None:
    """rt-feed."""
    _stop_like_ctrl_c()
    console.run(app)


if __name__ == "__main__":
    main()
