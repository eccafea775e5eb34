"""The viewers against a scripted server: exact tracks go in, pictures and a live page come out."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray
from typer.testing import CliRunner

from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.frame_index import burn_index, read_index
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
from specktrack.tools.client import ask
from specktrack.tools.memory import FrameMemory
from specktrack.tools.receiver import Receiver, Shown
from specktrack.tools.view import app

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


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def test_every_track_is_shown_with_the_picture_of_its_own_frame(server: ScriptedServer) -> None:
    seen: list[tuple[int, int | None]] = []
    with Receiver(server.results, server.frames) as receiver:
        while len(seen) < 20:
            for event in receiver.events(2000):
                if isinstance(event, Shown):
                    shown = None if event.pixels is None else read_index(event.pixels)
                    seen.append((event.track.header.seq, shown))
    matched = [pair for pair in seen if pair[1] is not None]
    assert len(matched) >= 15
    assert all(track == picture for track, picture in matched)


def test_a_stream_becomes_a_video_with_as_many_frames(server: ScriptedServer, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "live.mp4"
    result = CliRunner().invoke(app, ["--headless", "--out", str(out), "--frames-count", "50", *server.options])
    assert result.exit_code == 0, result.output
    assert "50 frames" in result.output
    assert "0 missing" in result.output
    assert "Research use only" in result.output
    capture = cv2.VideoCapture(str(out))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 50
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(50, abs=0.5)
    capture.release()


def test_without_pictures_the_tracks_are_drawn_on_black(tmp_path: Path, server: ScriptedServer) -> None:
    out = tmp_path / "live.png"
    options = ["--results", server.results, "--frames", "", "--control", server.control]
    result = CliRunner().invoke(app, ["--headless", "--out", str(out), "--frames-count", "3", *options])
    assert result.exit_code == 0, result.output
    assert "3 frames, 0 with picture" in result.output
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture[400:420, 20:40].max() < 20  # nothing but black beside the contour


def test_frames_of_unknown_size_are_said_instead_of_guessed(tmp_path: Path, server: ScriptedServer) -> None:
    options = ["--results", server.results, "--frames", "", "--control", "tcp://127.0.0.1:9"]
    result = CliRunner().invoke(app, ["--headless", "--out", str(tmp_path / "live.png"), *options])
    assert isinstance(result.exception, InputError)
    assert "size of the frames" in str(result.exception)


def test_points_of_a_file_are_set_on_the_frame_they_were_drawn_on(server: ScriptedServer, tmp_path: Path) -> None:
    server.has_points = False
    points = tmp_path / "points.json"
    points.write_text(json.dumps({"frame": 2, "kind": "contour", "points": [[90, 250], [160, 60], [230, 250]]}))
    options = ["--points", str(points), "--loop-length", str(BEAT_FRAMES), "--frames-count", "5", *server.options]
    result = CliRunner().invoke(app, ["--headless", "--out", str(tmp_path / "live.mp4"), *options])
    assert result.exit_code == 0, result.output
    asked = next(request["args"] for request in server.requests if request["cmd"] == "set_points")
    assert asked["seq"] % BEAT_FRAMES == 2
    assert asked["kind"] == "contour"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--headless"], "--out"),
        (["--headless", "--out", "live.gif"], "ending in .mp4 or .png"),
        (["--headless", "--out", "live.mp4", "--results", "nowhere"], "--results nowhere"),
        (["--points", "nothing.json", "--headless", "--out", "live.mp4"], "no such file"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


def test_without_a_display_the_window_says_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = CliRunner().invoke(app, [])
    assert isinstance(result.exception, InputError)
    assert "rt-view --web" in str(result.exception)


def test_a_server_that_is_not_there_is_said_instead_of_waited_for() -> None:
    with pytest.raises(InputError, match="is rt-serve running"):
        ask("tcp://127.0.0.1:9", "ping", {}, timeout_s=0.05)


def test_a_contour_drawn_slowly_lands_on_the_frame_that_looks_the_same() -> None:
    memory = FrameMemory()
    for seq in range(30):
        memory.add(seq, picture_at(seq))
    memory.hold(12)
    for seq in range(30, 300):
        memory.add(seq, picture_at(seq))
    assert memory.showing(299) == 299
    assert memory.showing(12) % BEAT_FRAMES == 12
    with pytest.raises(InputError, match="draw the contour again"):
        memory.showing(13)


def test_a_contour_drawn_on_another_view_is_refused() -> None:
    memory = FrameMemory()
    memory.add(0, picture_at(0))
    memory.hold(0)
    rng = np.random.default_rng(3)
    for seq in range(1, 150):
        memory.add(seq, rng.integers(0, 255, (SIZE_PX, SIZE_PX), np.uint8))
    with pytest.raises(InputError, match="changed too much"):
        memory.showing(0)


class LivePage:
    """`rt-view --web` as a process of its own, on a port it chose."""

    def __init__(self, server: ScriptedServer) -> None:
        command = [sys.executable, "-m", "specktrack.tools.view", "--web", "0", *server.options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().split()[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Browser:
    """A real Chromium, driven over its debugging socket."""

    def __init__(self, address: str, profile: Path) -> None:
        from websockets.sync.client import connect

        switches = (
            "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking hide-scrollbars "
            "disable-component-update disable-sync remote-debugging-port=0 window-size=1440,900"
        )
        command = [chromium(), *(f"--{switch}" for switch in switches.split()), f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "DevTools listening on" in line)
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()
        port = line.split("ws://", 1)[1].split("/")[0]
        with urllib.request.urlopen(f"http://{port}/json") as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(pages[0]["webSocketDebuggerUrl"], max_size=None))
        self._id = 0
        self.call("Page.enable")
        self.call("Page.navigate", url=address)
        while json.loads(self._socket.recv(60)).get("method") != "Page.loadEventFired":
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(20)
        self._drain.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._id += 1
        self._socket.send(json.dumps({"id": self._id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(60))
            if message.get("id") == self._id:
                assert "error" not in message, message
                return dict(message["result"])

    def wait_for(self, condition: str) -> Any:
        """The value of a JavaScript expression as soon as it is true."""
        script = (
            "new Promise((done, fail) => { const t0 = Date.now(); (function look() { const v = (() => (%s))();"
            "if (v) done(v); else if (Date.now() - t0 > 30000) fail(new Error('never true'));"
            "else setTimeout(look, 20); })(); })"
        )
        result = self.call("Runtime.evaluate", expression=script % condition, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{condition}: {result}"
        return result["result"]["value"]

    def click(self, x: float, y: float, count: int = 1) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here: the live page is not tested")
    return found


def test_the_live_page_shows_live_values_and_takes_a_drawn_contour(server: ScriptedServer, tmp_path: Path) -> None:
    chromium()
    with LivePage(server) as page, Browser(page.address, tmp_path / "profile") as browser:
        # live values
        browser.wait_for("document.getElementById('state').textContent === 'live'")
        browser.wait_for("parseFloat(document.getElementById('strain').textContent.replace('\\u2212', '-')) < -5")
        assert browser.wait_for("document.getElementById('latency').textContent").startswith("7.3")
        beat = browser.wait_for("(document.querySelector('#beats .gls') || {}).textContent")
        assert beat == "\u221217.9"
        assert "Research use only" in browser.wait_for("document.getElementById('notice').innerText")
        browser.wait_for("samples.length > 100")
        if folder := os.environ.get("SPECKTRACK_SCREENSHOTS"):
            browser.screenshot(Path(folder) / "viewer.png")
        # a person draws a contour
        box = browser.wait_for("(b => [b.left, b.top, b.width, b.height])($('picture').getBoundingClientRect())")
        scale = min(box[2], box[3]) / SIZE_PX
        left, top = box[0] + (box[2] - scale * SIZE_PX) / 2, box[1] + (box[3] - scale * SIZE_PX) / 2
        browser.wait_for("($('draw').click(), held.seq + 1)")
        for x, y in [(90, 250), (160, 60)]:
            browser.click(left + scale * (x + 0.5), top + scale * (y + 0.5))
        browser.click(left + scale * 230.5, top + scale * 250.5)
        if folder:
            browser.screenshot(Path(folder) / "drawing.png")
        browser.click(left + scale * 230.5, top + scale * 250.5, 2)
        browser.wait_for("$('reply').textContent.includes('61 points')")
        asked = next(request["args"] for request in server.requests if request["cmd"] == "set_points")
        np.testing.assert_allclose(asked["points"], [[90, 250], [160, 60], [230, 250]], atol=1.5)
        browser.wait_for("($('reanchor').click(), true)")
        browser.wait_for("$('reply').textContent === 're-anchored'")
        # silence is said, not hidden
        server.is_stalled = True
        browser.wait_for("$('stage').classList.contains('stale') && $('state').textContent === 'stalled'")
        browser.wait_for("$('provisional').textContent === 'no live value'")
        if folder:
            browser.screenshot(Path(folder) / "stalled.png")


def test_pages_from_elsewhere_may_not_connect(server: ScriptedServer) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Origin

    with LivePage(server) as page:
        address = page.address.replace("http", "ws") + "live"
        with pytest.raises(InvalidStatus), connect(address, origin=Origin("http://evil.example")):
            pass
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(page.address, headers={"Host": "evil.example"}))
        with connect(address) as socket:
            assert json.loads(socket.recv(20))[0]["kind"] in ("sample", "status", "beat")
            socket.send("nonsense")
            while True:
                message = socket.recv(20)
                if isinstance(message, str) and (replies := [m for m in json.loads(message) if m["kind"] == "reply"]):
                    break
            assert replies[0]["ok"] is False


def test_a_busy_port_is_named_with_the_remedy(server: ScriptedServer) -> None:
    with LivePage(server) as page:
        port = page.address.rstrip("/").rsplit(":", 1)[1]
        command = [sys.executable, "-m", "specktrack.tools.view", "--web", port, *server.options]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "choose another port" in result.stderr
    assert "Traceback" not in result.stderr
