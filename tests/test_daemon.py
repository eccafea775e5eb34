import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq
from protocol_client import Client, Header

from specktrack.rt.cli import stop_on_signal
from specktrack.rt.config import DaemonConfig, ModelConfig, load_config
from specktrack.rt.daemon import Daemon
from specktrack.rt.engine import open_engine
from specktrack.rt.errors import ConfigError

WAIT_MS = 20_000
SIDE = 128
POINTS = [[40.0, 40.0], [64.0, 50.0], [80.0, 80.0]]
ANY_PORT = [f"{name}.endpoint=tcp://127.0.0.1:*" for name in ("frames", "results", "control")]


class Running:
    """A daemon in a thread of this process, with a client connected."""

    def __init__(self, *overrides: str) -> None:
        self.daemon = Daemon(settings(*overrides), open_engine(ModelConfig(name="block", engine="block")))
        self.endpoints = self.daemon.bind()
        self.thread = threading.Thread(target=self.daemon.run)
        self.thread.start()
        self.client = self.connect("probe")

    def connect(self, stream: str) -> Client:
        return Client(self.endpoints.frames, self.endpoints.results, self.endpoints.control, stream)

    def stop(self) -> None:
        self.daemon.stop()
        self.thread.join(WAIT_MS / 1000)
        assert not self.thread.is_alive(), "the daemon did not stop"
        self.client.close()


def settings(*overrides: str) -> DaemonConfig:
    return load_config(None, ["model.name=block", "frames.queue=256", *ANY_PORT, *overrides])


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


def speckle(seq: int, side: int = SIDE) -> bytes:
    """Texture that moves by a pixel a frame."""
    texture = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8)
    return np.roll(texture, seq, axis=1).tobytes()


def send(client: Client, seq: int, side: int = SIDE, **more: object) -> None:
    assert client.frames.poll(WAIT_MS, zmq.POLLOUT)
    assert client.send_frame(seq, speckle(seq, side), side, side, **more)


def first_track(client: Client) -> int:
    """A subscription takes effect some time after connecting: send until something comes back; the next seq."""
    for seq in range(2000):
        send(client, seq)
        if client.results.poll(20):
            drain(client, seq)
            return seq + 1
    raise AssertionError("no track ever came")


def drain(client: Client, last_seq: int) -> None:
    wait_for(client, "track", lambda header: header["seq"] == last_seq)


def wait_for(client: Client, kind: str, wanted: Callable[[Header], bool]) -> Header:
    while (message := client.receive(WAIT_MS)) is not None:
        if message[0] == kind and wanted(message[1]):
            return message[1]
    raise AssertionError(f"the awaited {kind} did not come")


def test_every_frame_gives_one_track_in_order(running: Running) -> None:
    client = running.client
    start = first_track(client)
    client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    tracks = []
    for seq in range(start, start + 50):
        send(client, seq)
    while len(tracks) < 50:
        message = client.receive(WAIT_MS)
        assert message is not None
        if message[0] == "track":
            tracks.append(message)

    assert [header["seq"] for _, header, _ in tracks] == list(range(start, start + 50))
    _, header, points = tracks[-1]
    assert header["t_acq_ns"] == header["seq"] * 20_000_000
    assert header["n_points"] == len(points) == len(POINTS)
    assert header["dropped"] == header["gaps"] == 0
    assert header["latency_ms"]["total"] >= header["latency_ms"]["queue"] >= 0
    assert header["notice"] == "Research use only. Not a medical device."


def test_points_follow_the_speckle(running: Running) -> None:
    client = running.client
    seq = first_track(client)
    reply = client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    assert reply is not None
    moved_from = reply["result"]["seq"]
    for k in range(seq, seq + 10):
        send(client, k)
    while (message := client.receive(WAIT_MS)) is not None:
        if message[0] == "track" and message[1]["seq"] == seq + 9:
            break
    assert message is not None
    expected = np.asarray(POINTS) + np.asarray((seq + 9 - moved_from, 0))
    np.testing.assert_allclose(np.asarray(message[2])[:, :2], expected, atol=1.0)


def test_frames_without_points_are_published_too(running: Running) -> None:
    start = first_track(running.client)
    send(running.client, start)
    message = None
    while message is None or message[0] != "track":
        message = running.client.receive(WAIT_MS)
        assert message is not None
    _, header, points = message
    assert (header["state"], header["n_points"], header["groups"], points) == ("waiting", 0, [], [])


def test_requests_are_answered_while_no_frames_come(running: Running) -> None:
    reply = running.client.request("ping", WAIT_MS)
    assert reply is not None
    assert reply["result"]["protocol"] == 1
    reply = running.client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    assert reply is not None
    assert reply["error"]["code"] == "no_frame"


def test_junk_is_counted_and_the_stream_goes_on(running: Running) -> None:
    client = running.client
    seq = first_track(client)
    for junk in ([b""], [b"frame/probe", b"\xc1", b""], [b"x"] * 9):
        client.frames.send_multipart(junk)
    client.control.send(b"\xc1")
    send(client, seq)

    drain(client, seq)
    reply = client.request("stats", WAIT_MS, stream="probe")

    assert reply is not None
    assert reply["result"]["invalid"] == 4
    assert reply["result"]["frames_in"] == reply["result"]["frames_out"] == seq + 1


def test_missing_frames_are_counted_as_gaps(running: Running) -> None:
    seq = first_track(running.client) + 7
    send(running.client, seq)
    assert wait_for(running.client, "track", lambda header: header["seq"] == seq)["gaps"] == 7


def test_a_new_image_size_loses_the_points_and_the_status_says_so(running: Running) -> None:
    client = running.client
    seq = first_track(client)
    client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    send(client, seq)
    wait_for(client, "status", lambda header: header["points"] == len(POINTS))

    send(client, seq + 1, side=160)

    assert wait_for(client, "track", lambda header: header["seq"] == seq + 1)["n_points"] == 0
    said = wait_for(client, "status", lambda header: header["points"] == 0)
    assert "points" in said["message"]


def test_a_silence_is_stalled_without_being_asked() -> None:
    running = Running("health.stalled_after_ms=60", "health.lost_after_s=1.0", "health.status_interval_s=100")
    first_track(running.client)
    assert wait_for(running.client, "status", lambda header: header["state"] == "stalled")["frame_rate_hz"] is None
    wait_for(running.client, "status", lambda header: header["state"] == "lost")
    running.stop()


def test_status_comes_again_and_again_when_nothing_changes() -> None:
    running = Running("health.status_interval_s=0.05")
    first_track(running.client)
    uptimes = [wait_for(running.client, "status", lambda header: True)["uptime_s"] for _ in range(5)]
    running.stop()
    assert uptimes == sorted(set(uptimes))


def test_two_probes_are_followed_side_by_side(running: Running) -> None:
    other = running.connect("other")
    seq, seq_other = first_track(running.client), first_track(other)
    running.client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    send(running.client, seq)
    send(other, seq_other)

    assert wait_for(running.client, "track", lambda header: header["seq"] == seq)["n_points"] == len(POINTS)
    assert wait_for(other, "track", lambda header: header["seq"] == seq_other)["n_points"] == 0
    other.close()


def test_stop_tracks_what_still_waits(running: Running) -> None:
    """Frames that were received before the stop come out before the sockets close."""
    client = running.client
    start = first_track(client)
    for seq in range(start, start + 20):
        send(client, seq)
    wait_for(client, "track", lambda header: header["seq"] >= start)
    running.daemon.stop()
    running.thread.join(WAIT_MS / 1000)
    counts = running.daemon._ingest.intake.counts("probe")
    assert running.daemon.streams["probe"].frames_out == counts.frames_in


def test_a_busy_port_is_named_before_anything_is_served(running: Running) -> None:
    engine = open_engine(ModelConfig(name="block", engine="block"))
    second = Daemon(settings(f"control.endpoint={running.endpoints.control}"), engine)
    with pytest.raises(ConfigError, match=r"control.endpoint .* already in use.*--control"):
        second.bind()


def test_the_daemon_imports_without_torch_onnx_and_tensorrt() -> None:
    code = """
import sys
for name in ("torch", "onnx", "tensorrt", "onnxruntime", "openvino"):
    sys.modules[name] = None
import specktrack.rt.daemon
import specktrack.rt.cli
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_the_first_signal_stops_in_order_and_the_second_is_left_to_the_system() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    calls: list[str] = []
    try:
        stop_on_signal(lambda: calls.append("stop"))
        signal.raise_signal(signal.SIGTERM)
        assert calls == ["stop"]
        assert all(signal.getsignal(number) is signal.SIG_DFL for number in before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
