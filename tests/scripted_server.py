"""A server that publishes exact tracks of a scripted beat, as rt-serve and rt-feed --tee would."""

import threading
from typing import Any, Self

import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from specktrack.rt.frame import Frame
from specktrack.rt.frame_index import burn_index
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.update import Group, PhaseEstimate, SettledBeat, StrainSample, Update
from specktrack.rt.wire import (
    ControlReply,
    ErrorBody,
    StatusHeader,
    StreamCounts,
    decode_request,
    encode_beat,
    encode_frame,
    encode_reply,
    encode_status,
    encode_track,
)

SIZE_PX = 320
BEAT_FRAMES = 40
INTERVAL_S = 0.02


def strain_at(seq: int) -> float:
    return float(-18.0 * np.sin(np.pi * min((seq % BEAT_FRAMES) / 30, 1.0)) ** 2)


def wall_at(seq: int) -> FloatArray:
    """A contour that shortens by `strain_at`."""
    angle, k = np.linspace(0, np.pi, 61), 1 + strain_at(seq) / 100
    columns = [160 - 70 * k * np.cos(angle), 250 - 190 * k * np.sin(angle), np.full(61, 0.8)]
    return np.stack(columns, 1).astype(np.float32)


def picture_at(seq: int) -> NDArray[np.uint8]:
    """The same picture again every beat, except for the burnt-in frame number."""
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(0, 130, (SIZE_PX, SIZE_PX), np.uint8), (0, 0), 1.5)
    cv2.polylines(picture, [wall_at(seq)[:, :2].round().astype(np.int32)], False, 190, 14, cv2.LINE_AA)
    return burn_index(picture, seq)


class ScriptedServer:
    """Publishes one beat after the other as rt-serve and rt-feed --tee would, and remembers what it is asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.has_points = True
        self.is_stalled = False
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._results, self.results = self._bind(zmq.PUB)
        self._frames, self.frames = self._bind(zmq.PUB)
        self._control, self.control = self._bind(zmq.ROUTER)
        self._thread = threading.Thread(target=self._run)

    def _bind(self, kind: int) -> tuple["zmq.Socket[bytes]", str]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.bind("tcp://127.0.0.1:*")
        return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    @property
    def options(self) -> list[str]:
        return ["--results", self.results, "--frames", self.frames, "--control", self.control]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy()

    def _run(self) -> None:
        seq = 0
        while not self._stop.is_set():
            if self._control.poll(round(1000 * INTERVAL_S)):
                who, request = self._control.recv_multipart()
                self._control.send_multipart([who, encode_reply(self._answer(request, seq))])
            self._results.send_multipart(encode_status(status("stalled" if self.is_stalled else "live")))
            if not self.is_stalled:
                self._publish(seq)
                seq += 1

    def _publish(self, seq: int) -> None:
        t_ns = round(seq * INTERVAL_S * 1e9)
        frame = Frame("a4c", seq, t_ns, "monotonic", picture_at(seq), Geometry(SIZE_PX, SIZE_PX))
        self._frames.send_multipart(encode_frame(frame))
        fraction = (seq % BEAT_FRAMES) / BEAT_FRAMES
        label = "systole" if fraction < 0.4 else "early_filling" if fraction < 0.6 else "diastasis"
        phase = PhaseEstimate(fraction, label, seq // BEAT_FRAMES, 75.0, "image", is_locked=True)
        e = strain_at(seq)
        strain = StrainSample(e, (1.1 * e, e, 1.2 * e, None, 0.7 * e, e), None, fraction)
        wall = wall_at(seq) if self.has_points else np.empty((0, 3), np.float32)
        groups = (Group("wall", "contour", 0, 61, 6),) if self.has_points else ()
        update = Update(seq, t_ns, "monotonic", wall, groups, phase, None, strain if self.has_points else None)
        counts = StreamCounts(seq + 1, 2, 1)
        self._results.send_multipart(
            encode_track("a4c", update, state="live", counts=counts, latency_ms={"total": 7.25}, t_pub_ns=t_ns)
        )
        if seq and seq % BEAT_FRAMES == 0:
            self._results.send_multipart(encode_beat("a4c", "monotonic", settled(seq)))

    def _answer(self, part: bytes, seq: int) -> ControlReply:
        request = decode_request(part)
        self.requests.append({"cmd": request.cmd, "args": request.args})
        if request.cmd == "set_points":
            if not request.args["points"]:
                return ControlReply(id=request.id, ok=False, error=ErrorBody(code="bad_points", message="No points."))
            self.has_points = True
            return ControlReply(id=request.id, ok=True, result={"seq": request.args["seq"], "first": 0, "count": 61})
        if request.cmd == "describe":
            streams = {"a4c": {"height": SIZE_PX, "width": SIZE_PX}}
            return ControlReply(id=request.id, ok=True, result={"streams": streams})
        return ControlReply(id=request.id, ok=True, result={})


def status(state: Any) -> StatusHeader:
    return StatusHeader(
        stream="a4c",
        state=state,
        model="block",
        engine="block",
        frames_in=1,
        frames_out=1,
        dropped=2,
        gaps=1,
        invalid=0,
        frame_rate_hz=50.0,
        latency_ms=None,
        points=61,
        uptime_s=1.0,
        version="0.1.0",
        message="no frame for 0.5 s" if state == "stalled" else "",
    )


def settled(seq: int) -> SettledBeat:
    numbers = np.arange(seq - BEAT_FRAMES, seq + 1)
    return SettledBeat(
        beat=seq // BEAT_FRAMES,
        seq=numbers,
        t_acq_ns=(numbers * INTERVAL_S * 1e9).astype(np.int64),
        tracks=np.zeros((len(numbers), 61, 3), np.float32),
        ed_index=0,
        es_index=15,
        next_ed_index=BEAT_FRAMES,
        diastasis_index=None,
        heart_rate_bpm=75.0,
        gls_percent=-17.9,
        peak_percent=-18.0,
        segments_percent=(None,) * 6,
        strain_percent=np.zeros(len(numbers), np.float32),
        drift_percent=0.4,
        mapse_mm=None,
        quality=(0.9,) * 6,
        accepted=True,
    )
