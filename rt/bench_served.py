"""A whole daemon under the stopwatch: frames through a real socket in, tracks through a real socket out."""

import threading
from dataclasses import dataclass

import numpy as np
import zmq
from numpy.typing import NDArray

from specktrack.rt.bench_scene import STREAM, Scene
from specktrack.rt.config import DaemonConfig, SessionConfig, StrainConfig
from specktrack.rt.daemon import Daemon, Endpoints
from specktrack.rt.engine import Engine
from specktrack.rt.errors import EngineError
from specktrack.rt.latency import STAGES
from specktrack.rt.settings import load_settings
from specktrack.rt.wire import ControlRequest, decode_reply, decode_track, encode_request

ANSWER_TIMEOUT_MS = 60_000
OUTSTANDING = 2  # frames under way while throughput is measured
CONTOUR_POINTS = (7, 401)  # fewest and most of StrainConfig.query_points


@dataclass(frozen=True)
class _Client:
    """A scanner and a viewer in one, on the bench's own thread."""

    frames: zmq.Socket[bytes]
    results: zmq.Socket[bytes]
    control: zmq.Socket[bytes]


class Served:
    """`rt-serve` on a thread of this process with one stream of beating speckle."""

    def __init__(self, engine: Engine, scene: Scene) -> None:
        self.engine = engine
        self._scene = scene
        self._daemon = Daemon(_settings(len(scene.points)), engine)
        endpoints = self._daemon.bind()
        self._thread = threading.Thread(target=self._daemon.run, name="bench-daemon", daemon=True)
        self._thread.start()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client = _connected(self._context, endpoints)
        self._seq = 0
        self._hello()

    def turn(self, n_frames: int) -> None:
        """One frame after the other, each sent when the daemon rests: the latency of a stream that it keeps up with."""
        for _ in range(n_frames):
            self._await(self._send())
            self._request("ping")  # answered once the daemon has caught up with what follows an answer

    def burst(self, n_frames: int) -> None:
        """As fast as the daemon can: a frame waits while another is answered."""
        sent = [self._send() for _ in range(OUTSTANDING)]
        for k in range(n_frames):
            self._await(sent[k])
            if len(sent) < n_frames:
                sent.append(self._send())

    def stage_ms(self, seqs: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """What each stage took (T,) of the frames with these numbers."""
        self._request("ping")  # answered between frames: the last one is then written down
        meter = self._daemon.streams[STREAM].latency
        at = np.searchsorted(meter.seqs(), seqs)
        return {stage: meter.times_ms(stage)[at] for stage in STAGES}

    @property
    def next_seq(self) -> int:
        """Number of the frame sent next."""
        return self._seq

    def close(self) -> None:
        """Stop the daemon and free its engine."""
        self._daemon.stop()
        self._thread.join()
        self._context.destroy(linger=0)
        self.engine.close()

    def _send(self) -> int:
        self._client.frames.send_multipart(self._scene.message(self._seq))
        self._seq += 1
        return self._seq - 1

    def _await(self, seq: int) -> None:
        """Until the track of this frame, or of a later one, is here."""
        while self._client.results.poll(ANSWER_TIMEOUT_MS):
            if decode_track(self._client.results.recv_multipart()).header.seq >= seq:
                return
        raise EngineError(
            f"engine {self.engine.name}: no track within {ANSWER_TIMEOUT_MS // 1000} s; see the log above"
        )

    def _hello(self) -> None:
        """Send frames until the subscription stands, then set the points."""
        self._send()
        while not self._client.results.poll(100):
            self._send()
        kind = "contour" if len(self._scene.points) >= CONTOUR_POINTS[0] else "points"
        self._request("set_points", stream=STREAM, points=self._scene.points.tolist(), kind=kind)
        self._await(self._send())

    def _request(self, command: str, **args: object) -> None:
        self._client.control.send(encode_request(ControlRequest(v=1, id=1, cmd=command, args=args)))
        if not self._client.control.poll(ANSWER_TIMEOUT_MS):
            raise EngineError(f"engine {self.engine.name}: {command} was not answered; see the log above")
        reply = decode_reply(self._client.control.recv())
        if reply.error is not None:
            raise EngineError(f"engine {self.engine.name}: {reply.error.message}")


def _settings(n_points: int) -> DaemonConfig:
    """Ports chosen by the system; a contour keeps as many points as were asked for."""
    ports = [f"{name}.endpoint=tcp://127.0.0.1:0" for name in ("frames", "results", "control")]
    config = load_settings(DaemonConfig, None, ports)
    strain = StrainConfig(query_points=int(np.clip(n_points, *CONTOUR_POINTS)))
    return config.model_copy(update={"session": SessionConfig(strain=strain)})


def _connected(context: zmq.Context[zmq.Socket[bytes]], endpoints: Endpoints) -> _Client:
    frames, results, control = (context.socket(kind) for kind in (zmq.PUSH, zmq.SUB, zmq.DEALER))
    results.setsockopt(zmq.SUBSCRIBE, b"track/")
    for socket, endpoint in ((frames, endpoints.frames), (results, endpoints.results), (control, endpoints.control)):
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
    return _Client(frames, results, control)
