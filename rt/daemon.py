"""The daemon's lifetime: build, warm up, bind, serve frame after frame, stop on request.

Two threads: ingest owns the frames socket, the thread that calls `run` owns everything else, sessions included, so
nothing needs a lock. Requests of clients are answered between two frames, and also when no frames arrive.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import zmq
from numpy.typing import NDArray

from specktrack.rt.config import DaemonConfig
from specktrack.rt.control import Commands, Control
from specktrack.rt.encode_ahead import EncodeAhead, encode_ahead
from specktrack.rt.engine import Engine
from specktrack.rt.frame import Frame
from specktrack.rt.ingest import Ingest, Received
from specktrack.rt.metrics import Metrics
from specktrack.rt.preprocess import preprocess
from specktrack.rt.publisher import Publisher
from specktrack.rt.recorder import Finished, Recordings
from specktrack.rt.security import Guard
from specktrack.rt.stream import Answer, ServerFacts, Stream
from specktrack.rt.update import Update
from specktrack.rt.wake import Wake
from specktrack.rt.warmup import warm_up
from specktrack.rt.windowed import WindowedEngine, delay_of
from specktrack.rt.wire import StatusHeader, encode_beat, encode_frame, encode_status, encode_track

log = logging.getLogger(__name__)

TICK_MS = 50  # how often silence is judged when nothing arrives


@dataclass(frozen=True)
class Endpoints:
    """Where the sockets really are."""

    frames: str
    results: str
    control: str
    metrics: str | None  # None: off


class Daemon:
    """Serves all streams with one engine. Call `bind`, then `run`; `stop` may be called from anywhere."""

    def __init__(self, config: DaemonConfig, engine: Engine | WindowedEngine) -> None:
        """Raises ConfigError for keys that are missing or let nobody in."""
        self._guard = Guard(config.security)
        self.config = config
        self.facts = ServerFacts(engine.model, engine.name, version("specktrack"), delay_of(engine))
        self.streams: dict[str, Stream] = {}
        self.recordings = Recordings(config.record)
        self._engine = encode_ahead(engine, self._next_frame, self._prepared)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stop = Wake()
        self._is_stopping = False
        self._guard.start(self._context)
        self._ingest = Ingest(self._context, config.frames, config.limits, self._guard)
        self._publisher = Publisher(self._context, config.results, self._guard)
        self._control = Control(self._context, config.control.endpoint, Commands(self), self._guard)
        self._ready_s = self._round_s = time.monotonic()
        self._metrics = Metrics(config.metrics, self)
        self._status_due_s: dict[str, float] = {}
        self._status_said: dict[str, object] = {}

    def bind(self) -> Endpoints:
        """Warm the engine up, then open the sockets; raises ConfigError for an endpoint that cannot be used."""
        try:
            warm_up(self._engine, self.config.session)
            endpoints = Endpoints(
                self._ingest.bind(), self._publisher.bind(), self._control.bind(), self._metrics.start()
            )
        except BaseException:
            self._close()
            raise
        self._ready_s = self._round_s = time.monotonic()
        return endpoints

    def run(self) -> None:
        """Serve until `stop`; what still waits in the queue is tracked before the sockets close."""
        try:
            self._ingest.start()
            self._serve()
            self._ingest.stop()
            self._drain()
        finally:
            self._close()
        self._log_summary()

    def stop(self) -> None:
        """End `run` soon; safe from any thread and from a signal handler."""
        self._is_stopping = True
        self._stop.ring()

    def uptime_s(self) -> float:
        """Seconds since the sockets were open."""
        return time.monotonic() - self._ready_s

    def idle_s(self) -> float:
        """Seconds since the serving loop last went round."""
        return time.monotonic() - self._round_s

    def status_of(self, stream: Stream) -> StatusHeader:
        """What `status/<stream>` says now."""
        intake = self._ingest.intake
        n_invalid = intake.n_invalid + self._control.n_invalid
        return stream.status(self.facts, intake.counts(stream.name), n_invalid, self.uptime_s())

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._control.socket, zmq.POLLIN)
        poller.register(self._ingest.ready.fileno(), zmq.POLLIN)
        poller.register(self._stop.fileno(), zmq.POLLIN)
        is_busy = False  # more frames may wait: look at the other sockets, but do not rest
        while not self._is_stopping:
            poller.poll(0 if is_busy else TICK_MS)
            self._round_s = time.monotonic()
            self._ingest.ready.clear()
            if self._ingest.error is not None:
                raise self._ingest.error
            self._control.answer_waiting(time.monotonic())
            received = self._ingest.intake.take()
            is_busy = received is not None
            if received is not None:
                self._track(received)
            self._tick(time.monotonic())

    def _drain(self) -> None:
        while (received := self._ingest.intake.take()) is not None:
            self._track(received)
        for stream in self.streams.values():
            self._finish(stream)
        self._tick(time.monotonic())

    def _finish(self, stream: Stream) -> None:
        """Answer the frames that wait for a window to be full: it will not be."""
        for answer in stream.finish(time.monotonic()):
            self._publish(stream, answer)

    def _track(self, received: Received) -> None:
        """One frame from the queue to the wire."""
        name = received.frame.stream
        stream = self.streams.get(name) or self._open(name)
        if self.recordings.is_recording(name):
            self.recordings.add(name, encode_frame(received.frame))
        for answer in stream.track(received, self._ingest.intake.counts(name), time.monotonic()):
            self._publish(stream, answer)
        stream.catch_up(self._spare_s(stream, received))

    def _spare_s(self, stream: Stream, received: Received) -> float:
        """How long until the next frame of any stream is to be expected; nothing when one waits already."""
        if self._next_frame() is not None:
            return 0.0
        return stream.interval_s / len(self.streams) - (time.monotonic() - received.t_recv_s)

    def _publish(self, stream: Stream, answer: Answer) -> None:
        name, update, t_recv_s = stream.name, answer.update, answer.t_recv_s
        counts = self._ingest.intake.counts(name)
        now_s = time.monotonic()
        latency_ms = {
            "queue": 1000.0 * (answer.started_s - t_recv_s),
            **update.stage_ms,
            "total": 1000.0 * (now_s - t_recv_s),
        }
        self._send(
            name,
            encode_track(
                name,
                update,
                state=stream.state,
                counts=counts,
                latency_ms=latency_ms,
                t_pub_ns=time.monotonic_ns(),
            ),
        )
        done_s = time.monotonic()
        spent_ms = {"publish": 1000.0 * (done_s - now_s), "total": 1000.0 * (done_s - t_recv_s)}
        stream.published(update.seq, latency_ms | spent_ms)
        self._publish_beats(name, update)

    def _next_frame(self) -> Frame | None:
        """What will be tracked next, unless something newer pushes it out of the queue."""
        received = self._ingest.intake.peek()
        return received.frame if received is not None else None

    def _prepared(self, frame: Frame) -> NDArray[np.uint8]:
        """Its image, as the session of its stream will see it."""
        stream = self.streams.get(frame.stream)
        if stream is None:  # it begins with this frame, and is opened when that is tracked
            return preprocess(frame.pixels, self._engine.input_size)[0]
        return stream.session.prepared(frame)

    def _open(self, name: str) -> Stream:
        """A stream begins with its first frame; ingest has already held max_streams."""
        log.info("stream %s: first frame", name)
        stream = self.streams[name] = Stream(name, self.config, self._engine)
        return stream

    def _publish_beats(self, name: str, update: Update) -> None:
        for beat in update.beats:
            self._send(name, encode_beat(name, update.clock, beat, update.groups))

    def _send(self, name: str, parts: Sequence[bytes]) -> None:
        """Publish a message of a stream, and keep it where the stream is being recorded."""
        self._publisher.send(parts)
        self.recordings.add(name, parts)

    def _tick(self, now_s: float) -> None:
        """Status of each stream, once per interval and at every change."""
        for name, finished in self.recordings.ended().items():
            self.streams[name].say(now_s, _of_recording(finished))
        for name, stream in self.streams.items():
            if not self._ingest.intake.is_waiting(name):  # else it is we who are slow, not the stream that is silent
                stream.tick(now_s)
                if stream.is_silent:
                    self._finish(stream)
            said, key = self._status_said.get(name), stream.change_key()
            if key == said and now_s < self._status_due_s[name]:
                continue
            status = self.status_of(stream)
            if key != said:
                log.info("stream %s: %s %s", name, status.state, f"({status.message})" if status.message else "")
            self._send(name, encode_status(status))
            self._status_said[name] = key
            self._status_due_s[name] = now_s + self.config.health.status_interval_s

    def _log_summary(self) -> None:
        for name, stream in self.streams.items():
            counts, latency = self._ingest.intake.counts(name), stream.latency.summary()
            log.info(
                "stream %s: %d frames in, %d out, %d dropped, %d gaps; latency p50 %s",
                name,
                counts.frames_in,
                stream.frames_out,
                counts.dropped,
                counts.gaps,
                f"{latency.p50_ms:.1f} p99 {latency.p99_ms:.1f} max {latency.max_ms:.1f} ms (frame {latency.max_seq})"
                if latency
                else "unknown",
            )
        log.info("stopped after %.0f s; %d invalid messages", self.uptime_s(), self._ingest.intake.n_invalid)

    def _close(self) -> None:
        for name, finished in self.recordings.close().items():
            log.info("stream %s: %s", name, _of_recording(finished))
        self._metrics.close()
        self._ingest.close()
        self._publisher.close()
        self._control.close()
        if isinstance(self._engine, EncodeAhead):
            self._engine.close()
        self._guard.close()
        self._context.term()  # waits at most for the linger of the results and replies
        self._stop.close()


def _of_recording(finished: Finished) -> str:
    """One that ended without being asked to."""
    end = f" ended: {finished.trouble}" if finished.trouble else " ended"
    return f"the recording {finished.path}{end}; it holds {finished.frames} frames"
