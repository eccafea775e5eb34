"""The live page in a real browser against a scripted server."""

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

import numpy as np
import pytest
from scripted_server import (
    SIZE_PX,
    ScriptedServer,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


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
