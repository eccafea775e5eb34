"""From the frames socket to a short queue: a thread that never blocks, drops the oldest frame and counts every loss."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import zmq

from specktrack.rt.config import FramesConfig, LimitsConfig
from specktrack.rt.errors import WireError
from specktrack.rt.frame import Frame
from specktrack.rt.security import Guard
from specktrack.rt.sockets import bind, connect
from specktrack.rt.wake import Wake
from specktrack.rt.wire import Part, StreamCounts, decode_frame

log = logging.getLogger(__name__)

FRAME_PARTS = 3
LOG_INTERVAL_S = 5.0


@dataclass(frozen=True)
class Received:
    """A frame and when we got it, seconds of our monotonic clock."""

    frame: Frame
    t_recv_s: float


class _Stream:
    """Counters of one stream and its frames that wait."""

    def __init__(self) -> None:
        self.waiting: deque[Received] = deque()
        self.last_seq: int | None = None
        self.frames_in = 0
        self.dropped = 0
        self.gaps = 0
        self.turn = 0  # when a frame of it was last taken, counted in frames taken of all streams

    def follow(self, seq: int) -> None:
        """Count the frames that never came; a number that does not grow is a feed that started again."""
        if self.last_seq is not None and seq > self.last_seq:
            self.gaps += seq - self.last_seq - 1
        self.last_seq = seq
        self.frames_in += 1


class Intake:
    """Decoded frames of all streams, waiting for the session; filled by one thread and emptied by another."""

    def __init__(self, capacity: int, limits: LimitsConfig) -> None:
        self._capacity = capacity  # frames waiting in each stream
        self._limits = limits
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._n_taken = 0
        self._n_invalid = 0
        self._complaint = Complaint(LOG_INTERVAL_S)

    @property
    def n_invalid(self) -> int:
        """Messages that broke the protocol or a limit, of all streams."""
        return self._n_invalid

    def accept(self, parts: list[Part], t_recv_s: float) -> bool:
        """Decode a message and queue its frame; False when it was invalid, which is counted and logged."""
        try:
            self._put(Received(decode_frame(parts, self._limits), t_recv_s))
        except WireError as error:
            self._n_invalid += 1
            self._complaint.say(t_recv_s, "invalid message: %s", error)
            return False
        return True

    def take(self) -> Received | None:
        """The next frame, oldest first within a stream; None when nothing waits.

        Streams take turns: one that sends faster than it can be served loses its own frames, never another's share.
        """
        with self._lock:
            stream = self._next()
            if stream is None:
                return None
            self._n_taken += 1
            stream.turn = self._n_taken
            return stream.waiting.popleft()

    def peek(self) -> Received | None:
        """What `take` would give now, left where it is; a newer frame may still push it out."""
        with self._lock:
            stream = self._next()
            return stream.waiting[0] if stream is not None else None

    def is_waiting(self, stream: str) -> bool:
        """Has a frame of this stream not been taken yet?"""
        with self._lock:
            return bool(stream in self._streams and self._streams[stream].waiting)

    def counts(self, stream: str) -> StreamCounts:
        """What the stream has sent and lost so far."""
        with self._lock:
            known = self._streams.get(stream)
            return StreamCounts(known.frames_in, known.dropped, known.gaps) if known else StreamCounts()

    def _next(self) -> _Stream | None:
        """Of the streams whose frames wait, the one served longest ago."""
        waiting = [stream for stream in self._streams.values() if stream.waiting]
        return min(waiting, key=lambda stream: stream.turn) if waiting else None

    def _put(self, received: Received) -> None:
        name = received.frame.stream
        with self._lock:
            if name not in self._streams and len(self._streams) >= self._limits.max_streams:
                raise WireError(f"stream '{name}' is one more than limits.max_streams = {self._limits.max_streams}")
            stream = self._streams.setdefault(name, _Stream())
            stream.follow(received.frame.seq)
            if len(stream.waiting) >= self._capacity:
                stream.waiting.popleft()
                stream.dropped += 1
            stream.waiting.append(received)


class Complaint:
    """A warning that is said at most once per interval, with how often it was held back."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._said_s: float | None = None
        self._n_held = 0

    def say(self, time_s: float, text: str, *args: object) -> None:
        """Log the warning, or only count it when the last one is too recent."""
        if self._said_s is not None and time_s - self._said_s < self._interval_s:
            self._n_held += 1
            return
        more = f" (and {self._n_held} more before)" if self._n_held else ""
        log.warning(text + more, *args)
        self._said_s, self._n_held = time_s, 0


class Ingest:
    """The thread that owns the frames socket. `ready` rings when a frame waits or the thread has died."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], config: FramesConfig, limits: LimitsConfig, guard: Guard
    ) -> None:
        self.intake = Intake(config.queue, limits)
        self.ready = Wake()
        self.error: BaseException | None = None
        self._stop = Wake()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._socket = context.socket(zmq.PULL if config.mode == "pull" else zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, max(2, config.queue))
        # libzmq cuts the connection without a word beyond this size; below it we can count and explain.
        self._socket.setsockopt(zmq.MAXMSGSIZE, 4 * 6 * limits.max_side_px**2)
        self._config = config
        self._guard = guard

    def bind(self) -> str:
        """Bind (pull) or connect (sub) the socket; returns the endpoint in use, raises ConfigError."""
        if self._config.mode == "pull":
            self._guard.serve(self._socket)
            return bind(self._socket, self._config.endpoint, "frames")
        self._guard.visit(self._socket)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"frame/")
        return connect(self._socket, self._config.endpoint, "frames")

    def start(self) -> None:
        """Begin to receive; from here the socket belongs to the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the socket; frames that wait stay in the intake. Safe to call twice."""
        self._stop.ring()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def close(self) -> None:
        """Stop, and free the bells."""
        self.stop()
        self.ready.close()
        self._stop.close()

    def _run(self) -> None:
        try:
            self._receive_until_stopped()
        except BaseException as error:  # handed to the session's thread, which raises it
            self.error = error
        finally:
            self.ready.ring()

    def _receive_until_stopped(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stop.fileno(), zmq.POLLIN)
        while True:
            events = dict(poller.poll())
            if self._stop.fileno() in events:
                return
            if self.intake.accept(self._receive(), time.monotonic()):
                self.ready.ring()

    def _receive(self) -> list[Part]:
        """One whole message without copies; parts beyond what a frame has are taken off and not kept."""
        parts: list[Part] = [self._socket.recv(copy=False)]
        while self._socket.getsockopt(zmq.RCVMORE):
            part = self._socket.recv(copy=False)
            if len(parts) <= FRAME_PARTS:
                parts.append(part)
        return parts
