"""What a viewer hears: tracks, beats and status of the daemon, joined with the pictures of the feed.

The results carry no pixels. Pictures come from a socket that publishes frames (`rt-feed --tee`, or the scanner) and
are joined with their tracks by frame number; without one, tracks are shown on black.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import zmq
from numpy.typing import NDArray

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import InputError, WireError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.preprocess import to_grey
from specktrack.rt.wire import (
    BeatMessage,
    StatusHeader,
    TrackMessage,
    decode_beat,
    decode_frame,
    decode_status,
    decode_track,
)
from specktrack.tools.peer import Peer, peer_of

T = TypeVar("T")

_FRAMES_KEPT = 64
_TRACKS_WAITING = 12  # for their picture; then they are shown without
_HIGH_WATER_MARK = 256


@dataclass(frozen=True)
class Shown:
    """One tracked frame, with its picture (H, W) uint8 where there is one."""

    track: TrackMessage
    pixels: NDArray[np.uint8] | None
    geometry: Geometry | None


Event = Shown | BeatMessage | StatusHeader


class Joiner:
    """Finds the picture of each track; frames and tracks each arrive in order, pictures mostly first."""

    def __init__(self, has_pictures: bool) -> None:
        self._has_pictures = has_pictures
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._waiting: deque[TrackMessage] = deque()

    def add_frame(self, frame: Frame) -> Iterator[Shown]:
        """A picture has come; yields the tracks that can be shown now."""
        if self._frames and frame.seq < next(reversed(self._frames)):
            self._frames.clear()  # the feed was started again
        self._frames[frame.seq] = frame
        while len(self._frames) > _FRAMES_KEPT:
            self._frames.popitem(last=False)
        yield from self._ready()

    def add_track(self, track: TrackMessage) -> Iterator[Shown]:
        """A track has come; yields the tracks that can be shown now."""
        self._waiting.append(track)
        yield from self._ready()

    def _ready(self) -> Iterator[Shown]:
        while self._waiting:
            seq = self._waiting[0].header.seq
            frame = self._frames.get(seq)
            newest = next(reversed(self._frames), -1)
            is_hopeless = not self._has_pictures or newest > seq or len(self._waiting) > _TRACKS_WAITING
            if frame is None and not is_hopeless:
                return
            pixels = None if frame is None else _grey8(frame)
            yield Shown(self._waiting.popleft(), pixels, None if frame is None else frame.geometry)


def _grey8(frame: Frame) -> NDArray[np.uint8]:
    """Eight bits are enough for the eye; sixteen are stretched over them."""
    pixels = frame.pixels
    if pixels.dtype == np.uint8:
        return to_grey(np.asarray(pixels, np.uint8))
    top = max(int(pixels.max()), 1)
    return to_grey((pixels.astype(np.float32) * (255.0 / top)).astype(np.uint8))


class Receiver:
    """The subscriptions of one viewer. Used from one thread."""

    def __init__(self, results: Peer | str, frames: str | None, stream: str | None = None) -> None:
        """Connect; without a stream the first one heard is followed. Raises InputError for a bad address."""
        self.stream = stream
        self.n_invalid = 0
        self._newest_seq = -1
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._joiner = Joiner(has_pictures=frames is not None)
        self._limits = LimitsConfig()
        try:
            self._results = self._subscribe(peer_of(results), "--results")
            self._frames = self._subscribe(Peer(frames), "--frames") if frames else None
        except InputError:
            self.close()
            raise

    def _subscribe(self, peer: Peer, option: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.SUB)
        socket.set_hwm(_HIGH_WATER_MARK)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.subscribe(b"")
        peer.connect(socket, option)
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def events(self, timeout_ms: int) -> list[Event]:
        """Everything that has arrived, waiting at most timeout_ms for the first message."""
        ready = dict(self._poller.poll(timeout_ms))
        found: list[Event] = []
        if self._frames is not None and self._frames in ready:
            for parts in _waiting(self._frames):
                frame = self._decode(lambda p: decode_frame(p, self._limits), parts)
                if frame is not None and self._is_ours(frame.stream):
                    found.extend(self._joiner.add_frame(frame))
        if self._results in ready:
            for parts in _waiting(self._results):
                found.extend(self._result(parts))
        return found

    def _result(self, parts: list[Any]) -> Iterator[Event]:
        kind = bytes(parts[0].buffer).partition(b"/")[0]
        if kind == b"track":
            track = self._decode(decode_track, parts)
            if track is not None and self._is_ours(track.header.stream):
                self._newest_seq = track.header.seq
                yield from self._joiner.add_track(track)
        elif kind == b"beat":
            beat = self._decode(decode_beat, parts)
            if beat is not None and self._is_ours(beat.header.stream):
                yield beat
        elif kind == b"status":
            status = self._decode(decode_status, parts)
            if status is not None and self._is_ours(status.stream):
                yield status

    def heard(self) -> tuple[str | None, int]:
        """The stream that is followed (None: not yet known) and its newest frame number; safe from any thread."""
        return self.stream, self._newest_seq

    def _decode(self, decoder: Callable[[list[Any]], T], parts: list[Any]) -> T | None:
        try:
            return decoder(parts)
        except WireError:
            self.n_invalid += 1
            return None

    def _is_ours(self, stream: str) -> bool:
        if self.stream is None:
            self.stream = stream
        return stream == self.stream

    def close(self) -> None:
        """End the subscriptions."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _waiting(socket: "zmq.Socket[bytes]") -> Iterator[list[Any]]:
    """The messages that are there; bounded, so that one busy socket does not starve the other."""
    for _ in range(_HIGH_WATER_MARK):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
