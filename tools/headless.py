"""A stream written to a video or a picture instead of a screen."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import Geometry
from specktrack.rt.overlay import Overlay, scene_of_track
from specktrack.rt.video_out import VideoOut
from specktrack.rt.wire import BeatHeader, BeatMessage
from specktrack.tools.client import geometry_px
from specktrack.tools.peer import Peer
from specktrack.tools.receiver import Event, Receiver, Shown

_USUAL_RATE_HZ = 50.0
_FRAMES_FOR_RATE = 8
_POLL_MS = 100
_MOST_WAITING = 2048  # frames received and not yet drawn; then messages wait in the socket


@dataclass
class Seen:
    """What went into the file."""

    frames: int = 0
    with_picture: int = 0
    missing: int = 0  # frame numbers never shown between the first and the last
    last_seq: int | None = None
    beats: list[BeatHeader] | None = None


class Recorder:
    """Draws every shown frame into an .mp4, or keeps the newest for a .png."""

    def __init__(self, out: Path, control: Peer | str, wants_points: bool) -> None:
        if out.suffix.lower() not in (".mp4", ".png"):
            raise InputError(f"--out {out}: expected a name ending in .mp4 or .png")
        self._out = out
        self._control = control
        self._wants_points = wants_points
        self._overlay: Overlay | None = None
        self._video: VideoOut | None = None
        self._early: deque[tuple[float, NDArray[np.uint8]]] = deque()  # drawn before the frame rate is known
        self._newest: NDArray[np.uint8] | None = None
        self._gls: float | None = None
        self.seen = Seen(beats=[])

    def add_beat(self, beat: BeatMessage) -> None:
        """A beat was settled: its GLS goes into the picture."""
        self._gls = beat.header.gls_percent
        if self.seen.beats is not None:
            self.seen.beats.append(beat.header)

    def add(self, shown: Shown) -> None:
        """Draw one frame; frames before the points were set are left out when points are wanted."""
        if self._wants_points and shown.track.header.n_points == 0 and not self.seen.frames:
            return
        if self._overlay is None:
            self._overlay = Overlay(shown.geometry or self._asked_geometry(shown.track.header.stream))
        scene = scene_of_track(shown.track, self._gls)
        self._newest = self._overlay.update(shown.pixels, scene)
        self._count(shown)
        if self._out.suffix.lower() == ".mp4":
            self._write(scene.time_s, self._newest, self._overlay.size)

    def _asked_geometry(self, stream: str) -> Geometry:
        """Without pictures the daemon knows how large the frames are."""
        size = geometry_px(self._control, stream)
        if size is None:
            raise InputError(
                f"the size of the frames of '{stream}' is not known; give the addresses of the pictures with --frames "
                "(rt-feed --tee) or of rt-serve with --control"
            )
        return Geometry(*size)

    def _count(self, shown: Shown) -> None:
        seq, last = shown.track.header.seq, self.seen.last_seq
        self.seen.missing += max(seq - last - 1, 0) if last is not None else 0
        self.seen.frames += 1
        self.seen.with_picture += shown.pixels is not None
        self.seen.last_seq = seq

    def _write(self, time_s: float, canvas: NDArray[np.uint8], size: tuple[int, int]) -> None:
        if self._video is not None:
            self._video.write(canvas)
            return
        self._early.append((time_s, canvas))
        if len(self._early) >= _FRAMES_FOR_RATE:
            self._open_video(size)

    def _open_video(self, size: tuple[int, int]) -> None:
        steps = np.diff([time_s for time_s, _ in self._early])
        steps = steps[steps > 0]
        rate_hz = 1.0 / float(np.median(steps)) if steps.size else _USUAL_RATE_HZ
        self._video = VideoOut(self._out, size, min(max(rate_hz, 1.0), 240.0))
        while self._early:
            self._video.write(self._early.popleft()[1])

    def close(self) -> None:
        """Finish the file; raises InputError when there was nothing to write."""
        if self._newest is None:
            raise InputError(f"{self._out}: nothing to write, no frame was tracked; are rt-serve and rt-feed running?")
        self._out.parent.mkdir(parents=True, exist_ok=True)
        if self._out.suffix.lower() == ".png":
            cv2.imwrite(str(self._out), self._newest)
            return
        if self._video is None and self._overlay is not None:
            self._open_video(self._overlay.size)
        if self._video is not None:
            self._video.close()


def record(
    receiver: Receiver,
    recorder: Recorder,
    frame_count: int | None,
    idle_s: float,
    start_s: float,
    check: Callable[[], None],
) -> Seen:
    """Until the stream falls silent for idle_s, `frame_count` frames are written, or nothing ever comes for start_s.

    check  called between messages; what it raises ends the recording

    A film can wait, a scanner cannot: what arrives is taken first, and drawn when there is time.
    """
    heard_s, is_open = time.monotonic(), True
    waiting: deque[Event] = deque()
    try:
        while is_open or waiting:
            check()
            if is_open and len(waiting) < _MOST_WAITING:
                arrived = receiver.events(0 if waiting else _POLL_MS)
                waiting.extend(arrived)
                heard_s = time.monotonic() if any(isinstance(event, Shown) for event in arrived) else heard_s
                is_open = time.monotonic() - heard_s <= (idle_s if recorder.seen.frames else start_s)
            if waiting:
                _draw(recorder, waiting.popleft())
            if recorder.seen.frames == frame_count:
                break
    except KeyboardInterrupt:
        pass  # the usual way to end a recording by hand: the file is finished below
    recorder.close()
    return recorder.seen


def _draw(recorder: Recorder, event: Event) -> None:
    if isinstance(event, BeatMessage):
        recorder.add_beat(event)
    elif isinstance(event, Shown):
        recorder.add(event)
