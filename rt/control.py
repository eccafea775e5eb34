"""The control socket: requests of clients, done between two frames on the thread that owns the sessions."""

import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
import zmq
from pydantic import Field, ValidationError

from specktrack.rt.config import DaemonConfig
from specktrack.rt.errors import ControlError, SpeckError, WireError
from specktrack.rt.headers import Count, Header, StatusHeader
from specktrack.rt.ingest import LOG_INTERVAL_S, Complaint
from specktrack.rt.packing import first_error
from specktrack.rt.recorder import Finished, Recordings
from specktrack.rt.security import Guard
from specktrack.rt.sockets import CLOSE_LINGER_MS, bind
from specktrack.rt.stream import ServerFacts, Stream
from specktrack.rt.wire import (
    NOTICE,
    PROTOCOL_VERSION,
    ControlReply,
    ControlRequest,
    ErrorBody,
    decode_request,
    encode_reply,
)

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 1 << 20
MAX_REQUESTS_AT_ONCE = 16  # frames must not wait behind a client that floods us

Result = dict[str, Any]
A = TypeVar("A", bound="Args")
Command = Callable[[dict[str, Any]], Result]


class Server(Protocol):
    """What commands need of the daemon."""

    @property
    def config(self) -> DaemonConfig:
        """The settings it runs with."""
        ...

    @property
    def facts(self) -> ServerFacts:
        """Model, engine and version."""
        ...

    @property
    def streams(self) -> Mapping[str, Stream]:
        """Streams that have sent a frame, by name."""
        ...

    @property
    def recordings(self) -> Recordings:
        """What is being recorded."""
        ...

    def uptime_s(self) -> float:
        """Seconds since the daemon was ready."""
        ...

    def status_of(self, stream: Stream) -> StatusHeader:
        """What `status/<stream>` would say now."""
        ...


class Args(Header):
    """Arguments of a command; unknown ones are ignored like everywhere on the wire."""


class AnyStreamArgs(Args):
    """Commands about one stream, or about all of them."""

    stream: str | None = None


class StreamArgs(Args):
    """Commands about one stream."""

    stream: str


class SetPointsArgs(StreamArgs):
    """`points` are (x, y) in pixels of the frame `seq`; without `seq` the newest frame is meant."""

    seq: Count | None = None
    points: Annotated[tuple[tuple[float, float], ...], Field(min_length=1)]
    kind: Literal["contour", "points"]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    segments: Annotated[int, Field(ge=1, le=18)] | None = None  # contours; absent: strain.segments


class ClearPointsArgs(StreamArgs):
    """Without a name all groups are cleared."""

    name: str | None = None


class RecordArgs(StreamArgs):
    """`path` lies within record.folder; absent: a name of stream and time."""

    action: Literal["start", "stop"]
    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None


class Commands:
    """Every command of the protocol as one method: arguments in, result out, ControlError when it cannot be done."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._table: dict[str, Command] = {
            "ping": self.ping,
            "describe": self.describe,
            "set_points": self.set_points,
            "clear_points": self.clear_points,
            "reanchor": self.reanchor,
            "record": self.record,
            "stats": self.stats,
        }

    def answer(self, request: ControlRequest) -> ControlReply:
        """Do one request; every expected failure becomes an error with a code and a remedy."""
        try:
            command = self._table.get(request.cmd)
            if command is None:
                known = ", ".join(self._table)
                raise ControlError("unknown_command", f"There is no command '{request.cmd}'; use one of: {known}.")
            return ControlReply(id=request.id, ok=True, result=command(request.args))
        except ControlError as error:
            return ControlReply(id=request.id, ok=False, error=ErrorBody(code=error.code, message=str(error)))
        except SpeckError as error:
            return ControlReply(id=request.id, ok=False, error=ErrorBody(code="failed", message=str(error)))

    def ping(self, args: dict[str, Any]) -> Result:
        """Is the server there, and which one is it?"""
        return {
            "version": self._server.facts.version,
            "protocol": PROTOCOL_VERSION,
            "uptime_s": self._server.uptime_s(),
            "notice": NOTICE,
        }

    def describe(self, args: dict[str, Any]) -> Result:
        """Streams with geometry and points; model, engine and limits."""
        chosen = self._chosen(_checked(AnyStreamArgs, "describe", args).stream)
        config = self._server.config
        return {
            "streams": {stream.name: _description(stream) for stream in chosen},
            "model": self._server.facts.model,
            "engine": self._server.facts.engine,
            "delay_frames": self._server.facts.delay_frames,
            "limits": config.limits.model_dump() | {"window_frames": config.session.window.frames},
        }

    def set_points(self, args: dict[str, Any]) -> Result:
        """Follow these points from the frame they were drawn on."""
        wanted = _checked(SetPointsArgs, "set_points", args)
        stream = self._stream(wanted.stream)
        self._expect_room(stream, wanted)
        points_set = stream.session.set_points(
            np.asarray(wanted.points, np.float32),
            wanted.kind,
            name=wanted.name,
            segments=wanted.segments or self._server.config.session.strain.segments,
            seq=wanted.seq,
        )
        return {"seq": int(points_set.seq), "first": int(points_set.first), "count": int(points_set.count)}

    def clear_points(self, args: dict[str, Any]) -> Result:
        """Follow a group, or all of them, no longer."""
        wanted = _checked(ClearPointsArgs, "clear_points", args)
        self._stream(wanted.stream).session.clear_points(wanted.name)
        return {}

    def reanchor(self, args: dict[str, Any]) -> Result:
        """Take new templates now."""
        self._stream(_checked(StreamArgs, "reanchor", args).stream).session.reanchor()
        return {}

    def record(self, args: dict[str, Any]) -> Result:
        """Begin or end a recording of a stream."""
        wanted = _checked(RecordArgs, "record", args)
        name = self._stream(wanted.stream).name
        if wanted.action == "start":
            return {"path": str(self._server.recordings.start(name, wanted.path)), "frames": 0}
        return finished_result(self._server.recordings.stop(name))

    def stats(self, args: dict[str, Any]) -> Result:
        """What `status` carries: of the named stream, or of each stream by name."""
        name = _checked(AnyStreamArgs, "stats", args).stream
        if name is not None:
            return self._server.status_of(self._stream(name)).model_dump()
        return {"streams": {s.name: self._server.status_of(s).model_dump() for s in self._chosen(None)}}

    def _chosen(self, name: str | None) -> list[Stream]:
        return list(self._server.streams.values()) if name is None else [self._stream(name)]

    def _stream(self, name: str) -> Stream:
        stream = self._server.streams.get(name)
        if stream is None:
            known = ", ".join(self._server.streams) or "none yet"
            raise ControlError(
                "no_frame", f"No frame of stream '{name}' has arrived (streams: {known}); start its feed."
            )
        return stream

    def _expect_room(self, stream: Stream, wanted: SetPointsArgs) -> None:
        limit = self._server.config.limits.max_points
        is_contour = wanted.kind == "contour"
        new = self._server.config.session.strain.query_points if is_contour else len(wanted.points)
        name = wanted.name or wanted.kind  # the session names a nameless group after its kind
        others = sum(group.count for group in stream.session.groups if group.name != name)
        if len(wanted.points) > limit or others + new > limit:
            message = f"{others + max(new, len(wanted.points))} points are over limits.max_points = {limit}; set fewer."
            raise ControlError("bad_points", message)


class Control:
    """The ROUTER socket of the daemon; poll `socket`, then `answer_waiting`."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, commands: Commands, guard: Guard
    ) -> None:
        self._endpoint = endpoint
        self._commands = commands
        self._complaint = Complaint(LOG_INTERVAL_S)
        self.n_invalid = 0
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        guard.serve(self.socket)

    def bind(self) -> str:
        """Bind and return the endpoint in use; raises ConfigError."""
        return bind(self.socket, self._endpoint, "control")

    def answer_waiting(self, time_s: float) -> None:
        """Answer the requests that have arrived, a few at most; never waits."""
        for _ in range(MAX_REQUESTS_AT_ONCE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._answer(parts, time_s)

    def close(self) -> None:
        """Let the last replies go, then close."""
        self.socket.close()

    def _answer(self, parts: list[bytes], time_s: float) -> None:
        """What cannot be read as a request is counted and answered with nothing (protocol.md)."""
        *envelope, request = parts  # REQ sends identity and an empty part before the request, DEALER may do so
        try:
            if len(envelope) not in (1, 2) or any(envelope[1:]):
                raise WireError(f"control: expected one request part, got {len(parts) - 1}")
            reply = self._commands.answer(decode_request(request))
        except WireError as error:
            self.n_invalid += 1
            self._complaint.say(time_s, "invalid message: %s", error)
            return
        self.socket.send_multipart([*envelope, encode_reply(reply)], zmq.NOBLOCK)


def _checked(model: type[A], command: str, args: dict[str, Any]) -> A:
    try:
        return model.model_validate(args)
    except ValidationError as error:
        is_about_points = error.errors(include_url=False)[0]["loc"][:1] == ("points",)
        code = "bad_points" if is_about_points else "bad_args"
        needed = ", ".join(name if f.is_required() else f"{name}?" for name, f in model.model_fields.items())
        raise ControlError(code, f"{command}: {first_error(error)}; its arguments are {needed}.") from error


def finished_result(finished: Finished) -> Result:
    """What is said of a recording that has ended."""
    result: Result = {"path": str(finished.path), "frames": finished.frames, "left_out": finished.left_out}
    return result | ({"message": f"recording: {finished.trouble}"} if finished.trouble else {})


def _description(stream: Stream) -> Result:
    geometry, newest = stream.session.geometry, stream.newest
    return {
        "state": stream.state,
        "seq": newest and newest.seq,
        "clock": newest and newest.clock,
        "height": geometry and geometry.height_px,
        "width": geometry and geometry.width_px,
        "mm_per_px": geometry and geometry.mm_per_px,
        "n_points": stream.n_points,
        "groups": [
            {"name": g.name, "kind": g.kind, "first": g.first, "count": g.count, "segments": g.segments}
            for g in stream.session.groups
        ],
    }
