"""The live page: one HTML file, and a websocket that carries pictures, tracks and figures to it.

A thread receives and packs; the event loop hands each browser the newest picture and every figure. A slow browser
skips pictures, never the curve. Only this machine may connect, and only pages from here.
"""

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from specktrack.rt.errors import ControlError, InputError, SpeckError
from specktrack.rt.wire import BeatMessage
from specktrack.tools.client import ask
from specktrack.tools.connection import ViewOptions, connected
from specktrack.tools.memory import FrameMemory
from specktrack.tools.page_data import pack_picture, say_beat, say_sample, say_status
from specktrack.tools.peer import Peer
from specktrack.tools.receiver import Receiver, Shown

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SAMPLES_KEPT = 400
_BEATS_KEPT = 30
_COMMANDS = ("hold", "set_points", "clear_points", "reanchor")


class Browser:
    """What one open page has still to receive."""

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self._told: deque[dict[str, Any]] = deque(history, maxlen=2 * _SAMPLES_KEPT)
        self._picture: bytes | None = None
        self._news = asyncio.Event()
        self._news.set()

    def tell(self, message: dict[str, Any]) -> None:
        """One more figure; none is left out."""
        self._told.append(message)
        self._news.set()

    def show(self, picture: bytes) -> None:
        """The newest picture replaces one that was not sent yet."""
        self._picture = picture
        self._news.set()

    async def send_to(self, websocket: WebSocket) -> None:
        """Send whatever is new, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            told, picture = list(self._told), self._picture
            self._told.clear()
            self._picture = None
            if told:
                await websocket.send_text(json.dumps(told, allow_nan=False))
            if picture is not None:
                await websocket.send_bytes(picture)


class Page:
    """The server of the live page: receives in a thread of its own, serves any number of browsers."""

    def __init__(self, receiver: Receiver, control: Peer | str, check: Callable[[], None]) -> None:
        self._receiver = receiver
        self._control = control
        self._check = check
        self._browsers: set[Browser] = set()
        self._samples: deque[dict[str, Any]] = deque(maxlen=_SAMPLES_KEPT)
        self._beats: deque[dict[str, Any]] = deque(maxlen=_BEATS_KEPT)
        self._status: dict[str, Any] | None = None
        self._memory = FrameMemory()
        self._stop = threading.Event()

    def app(self) -> Starlette:
        """The web application."""
        return Starlette(
            routes=[Route("/", self._html), WebSocketRoute("/live", self._live)],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        thread = threading.Thread(target=self._receive, args=(asyncio.get_running_loop(),))
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join)

    async def _html(self, _request: Request) -> HTMLResponse:
        html = files("specktrack.tools").joinpath("viewer.html").read_text(encoding="utf-8")
        return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        """In its own thread: from the wire to the browsers."""
        said_error = False
        while not self._stop.is_set():
            events = self._receiver.events(100)
            shown = [event for event in events if isinstance(event, Shown)]
            for event in events:
                if isinstance(event, Shown):
                    self._memory.add(event.track.header.seq, event.pixels)
                    loop.call_soon_threadsafe(self._tell, say_sample(event.track.header))
                elif isinstance(event, BeatMessage):
                    loop.call_soon_threadsafe(self._tell, say_beat(event.header))
                else:
                    loop.call_soon_threadsafe(self._tell, say_status(event))
            if shown and self._browsers:
                loop.call_soon_threadsafe(self._show, pack_picture(shown[-1]))
            said_error = said_error or self._report(loop)

    def _report(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Points that could not be set are said on the page and in the terminal."""
        try:
            self._check()
        except SpeckError as error:
            print(f"points not set: {error}", flush=True)
            loop.call_soon_threadsafe(self._tell, {"kind": "reply", "ok": False, "text": str(error)})
            return True
        return False

    def _tell(self, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "sample":
                self._samples.append(message)
            case "beat":
                self._beats.append(message)
            case "status":
                self._status = message
        for browser in self._browsers:
            browser.tell(message)

    def _show(self, picture: bytes) -> None:
        for browser in self._browsers:
            browser.show(picture)

    async def _live(self, websocket: WebSocket) -> None:
        origin = websocket.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != websocket.headers.get("host"):
            await websocket.close(code=1008)  # a page from elsewhere has no business here
            return
        await websocket.accept()
        status = [self._status] if self._status else []
        browser = Browser([*self._beats, *self._samples, *status])
        self._browsers.add(browser)
        sending = asyncio.create_task(browser.send_to(websocket))
        try:
            while True:
                answer = await asyncio.to_thread(self._do, await websocket.receive_text())
                if answer is not None:
                    browser.tell(answer)
        except WebSocketDisconnect:
            pass
        finally:
            self._browsers.discard(browser)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _do(self, text: str) -> dict[str, Any] | None:
        """One wish of a person at the page, and the answer that is shown to them."""
        try:
            wish = json.loads(text)
            cmd = wish["cmd"]
            if cmd not in _COMMANDS:
                raise InputError(f"the page asked for '{cmd}', which is unknown; reload it")
            done = self._obey(cmd, wish)
        except (ValueError, KeyError, TypeError) as error:
            return {"kind": "reply", "ok": False, "text": f"not understood ({error}); reload the page"}
        except ControlError as error:
            return {"kind": "reply", "ok": False, "text": str(error)}
        except SpeckError as error:
            return {"kind": "reply", "ok": False, "text": str(error)}
        return {"kind": "reply", "ok": True, "text": done} if done else None

    def _obey(self, cmd: str, wish: dict[str, Any]) -> str:
        stream, _ = self._receiver.heard()
        if stream is None:
            raise InputError("no frame has been tracked yet; start rt-feed")
        if cmd == "hold":
            self._memory.hold(int(wish["seq"]))
            return ""
        if cmd != "set_points":
            ask(self._control, cmd, {"stream": stream})
            return "re-anchored" if cmd == "reanchor" else "points cleared"
        seq = self._memory.showing(int(wish["seq"]))
        points = {"points": wish["points"], "kind": "contour", "segments": 6}
        result = ask(self._control, "set_points", {"stream": stream, "seq": seq} | points)
        return f"contour of {result['count']} points set on frame {result['seq']}"


def serve_page(port: int, options: ViewOptions) -> None:
    """Serve the live page on this machine until Ctrl-C; raises InputError for a busy port."""
    with _listen(port) as listener, connected(options) as (receiver, check):
        app = Page(receiver, options.control, check).app()
        print(f"live page: http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()  # whoever reads the address may connect at once
    except OSError as error:
        listener.close()
        raise InputError(f"--web {port}: {error.strerror}; choose another port, or 0 for any free one") from error
    return listener
