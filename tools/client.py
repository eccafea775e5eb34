"""Asking the daemon to do something: one request, one answer, or an error with its remedy."""

import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from specktrack.rt.errors import ControlError, InputError, SpeckError
from specktrack.rt.points import PointsFile
from specktrack.rt.wire import ControlRequest, decode_reply, encode_request
from specktrack.tools.peer import Peer, peer_of

_ids = itertools.count(1)
_RETRY_S = 0.05


def ask(server: Peer | str, cmd: str, args: dict[str, Any], timeout_s: float = 3.0) -> dict[str, Any]:
    """Send one request and wait for its result.

    Raises ControlError with the server's own words when it refuses, InputError when nobody answers. A new socket is
    used each time: a request that a dead server swallowed never blocks the next one.
    """
    peer = peer_of(server)
    request = ControlRequest(v=1, id=next(_ids), cmd=cmd, args=args)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        peer.connect(socket, "--control")
        socket.send(encode_request(request))
        while socket.poll(round(1000 * timeout_s)):
            reply = decode_reply(socket.recv())
            if reply.id != request.id:
                continue
            if reply.error is not None:
                raise ControlError(reply.error.code, reply.error.message)
            return reply.result or {}
    hint = "is rt-serve running there, and are the keys on its list?" if peer.keys else "is rt-serve running there?"
    raise InputError(f"no answer from {peer.endpoint} within {timeout_s:.0f} s; {hint}")


def set_points(
    server: Peer | str,
    drawn: PointsFile,
    heard: Callable[[], tuple[str | None, int]],
    loop_length: int | None,
    stop: threading.Event,
) -> dict[str, Any]:
    """Have the points of a file tracked, waiting until the frame they were drawn on has arrived.

    heard        tells the stream (None: not yet known) and its newest frame number
    loop_length  the feed shows the same film every so many frames: any showing of the drawn frame will do
    Raises ControlError when the server refuses, InputError when nobody answers or `stop` is set.
    """
    while not stop.is_set():
        stream, newest = heard()
        if stream is not None and newest >= drawn.frame:
            age = (newest - drawn.frame) % loop_length if loop_length else newest - drawn.frame
            try:
                return ask(server, "set_points", _arguments(stream, drawn, newest - age))
            except ControlError as error:
                if error.code != "no_frame":
                    raise _with_hint(error, loop_length) from error
        stop.wait(_RETRY_S)
    raise InputError(f"frame {drawn.frame}, on which the points are drawn, has not arrived; start rt-feed")


class PointsSetter:
    """Sets the points of a file from a thread of its own while the viewer goes on receiving."""

    def __init__(
        self,
        server: Peer | str,
        drawn: PointsFile,
        heard: Callable[[], tuple[str | None, int]],
        loop_length: int | None,
    ) -> None:
        self._stop = threading.Event()
        self._error: SpeckError | None = None
        work = partial(set_points, server, drawn, heard, loop_length, self._stop)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except SpeckError as error:
            self._error = error

    def check(self) -> None:
        """Raises the error that kept the points from being set, if there was one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Give up if the points are not set yet."""
        self._stop.set()
        self._thread.join()


def _with_hint(error: ControlError, loop_length: int | None) -> ControlError:
    if error.code != "frame_gone" or loop_length:
        return error
    hint = "Start rt-view before rt-feed, or give --loop-length if the feed loops."
    return ControlError(error.code, f"{error} {hint}")


def _arguments(stream: str, drawn: PointsFile, seq: int) -> dict[str, Any]:
    return {
        "stream": stream,
        "seq": seq,
        "points": [[float(x), float(y)] for x, y in drawn.points],
        "kind": drawn.kind,
        "segments": drawn.segments,
    }


def geometry_px(server: Peer | str, stream: str) -> tuple[int, int] | None:
    """Height and width of a stream's frames as the daemon knows them; None when it cannot say."""
    try:
        streams = ask(server, "describe", {"stream": stream}).get("streams", {})
        return int(streams[stream]["height"]), int(streams[stream]["width"])
    except (ControlError, InputError, KeyError, TypeError):
        return None
