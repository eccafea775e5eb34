from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from specktrack.rt.config import DaemonConfig, LimitsConfig, ModelConfig, SecurityConfig
from specktrack.rt.control import Commands, Control
from specktrack.rt.engine import open_engine
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.headers import StatusHeader
from specktrack.rt.ingest import Received
from specktrack.rt.recorder import Recordings
from specktrack.rt.security import Guard
from specktrack.rt.stream import ServerFacts, Stream
from specktrack.rt.wire import ControlReply, StreamCounts, decode_request

SIDE = 96
SQUARE = [[30.0, 30.0], [60.0, 30.0], [60.0, 60.0], [30.0, 60.0]]


class OneProbe:
    """A server with the stream `probe`, which has sent a few frames."""

    def __init__(self) -> None:
        self.config = DaemonConfig(limits=LimitsConfig(max_points=100))
        self.facts = ServerFacts("block", "block", "9.9")
        self.probe = Stream("probe", self.config, open_engine(ModelConfig(name="block", engine="block")))
        self.streams = {"probe": self.probe}
        self.recordings = Recordings(self.config.record)
        self.rng = np.random.default_rng(0)
        for seq in range(3):
            self.send(seq)

    def send(self, seq: int) -> None:
        pixels = self.rng.integers(0, 255, (SIDE, SIDE), np.uint8)
        frame = Frame("probe", seq, seq * 20_000_000, "utc", pixels, Geometry(SIDE, SIDE, (0.3, 0.3)))
        self.probe.track(Received(frame, seq * 0.02), StreamCounts(seq + 1), seq * 0.02)

    def uptime_s(self) -> float:
        return 12.5

    def status_of(self, stream: Stream) -> StatusHeader:
        return stream.status(self.facts, StreamCounts(3), 0, self.uptime_s())


@pytest.fixture
def server() -> OneProbe:
    return OneProbe()


def ask(server: OneProbe, cmd: str, args: dict[str, Any]) -> ControlReply:
    """The request as a client sends it, through the wire."""
    return Commands(server).answer(decode_request(msgpack.packb({"v": 1, "id": 7, "cmd": cmd, "args": args})))


def result(server: OneProbe, cmd: str, **args: Any) -> dict[str, Any]:
    reply = ask(server, cmd, args)
    assert reply.ok, reply.error
    assert reply.id == 7
    assert reply.result is not None
    assert msgpack.packb(reply.result), "a result must fit the wire"
    return reply.result


def error(server: OneProbe, cmd: str, **args: Any) -> tuple[str, str]:
    reply = ask(server, cmd, args)
    assert not reply.ok
    assert reply.error is not None
    return reply.error.code, reply.error.message


def test_ping_says_who_is_there(server: OneProbe) -> None:
    assert result(server, "ping") | {"notice": ""} == {"version": "9.9", "protocol": 1, "uptime_s": 12.5, "notice": ""}


def test_describe_tells_streams_model_and_limits(server: OneProbe) -> None:
    result(server, "set_points", stream="probe", points=SQUARE, kind="points", name="square")

    said = result(server, "describe")

    probe = said["streams"]["probe"]
    assert (probe["height"], probe["width"], probe["mm_per_px"]) == (SIDE, SIDE, (0.3, 0.3))
    assert (probe["seq"], probe["n_points"]) == (2, 4)
    assert [(g["name"], g["kind"], g["first"], g["count"]) for g in probe["groups"]] == [("square", "points", 0, 4)]
    assert (said["model"], said["engine"], said["limits"]["max_points"]) == ("block", "block", 100)
    assert result(server, "describe", stream="probe")["streams"] == said["streams"]


def test_points_are_set_on_the_newest_frame_unless_it_is_named(server: OneProbe) -> None:
    assert result(server, "set_points", stream="probe", points=SQUARE, kind="points", name="a") == {
        "seq": 2,
        "first": 0,
        "count": 4,
    }
    again = result(server, "set_points", stream="probe", points=SQUARE[:2], kind="points", name="b", seq=1)
    assert (again["first"], again["count"]) == (4, 2)


def test_a_contour_becomes_evenly_spaced_points(server: OneProbe) -> None:
    said = result(server, "set_points", stream="probe", points=SQUARE, kind="contour", segments=6)
    assert said["count"] == server.config.session.strain.query_points


def test_cleared_points_are_gone(server: OneProbe) -> None:
    result(server, "set_points", stream="probe", points=SQUARE, kind="points", name="a")
    assert result(server, "clear_points", stream="probe") == {}
    assert server.probe.n_points == 0


def test_reanchoring_by_hand_is_accepted(server: OneProbe) -> None:
    result(server, "set_points", stream="probe", points=SQUARE, kind="points")
    assert result(server, "reanchor", stream="probe") == {}


def test_stats_carries_what_status_carries(server: OneProbe) -> None:
    one = result(server, "stats", stream="probe")
    assert one["state"] == "waiting"
    assert one["frames_in"] == 3
    assert result(server, "stats")["streams"]["probe"] == one


@pytest.mark.parametrize(
    ("cmd", "args", "code", "said"),
    [
        ("dance", {}, "unknown_command", "set_points"),
        ("set_points", {}, "bad_args", "stream"),
        ("set_points", {"stream": "probe", "kind": "points"}, "bad_points", "points"),
        ("set_points", {"stream": "probe", "kind": "points", "points": []}, "bad_points", "points"),
        ("set_points", {"stream": "probe", "kind": "points", "points": ((1.0,),)}, "bad_points", "points.0"),
        ("set_points", {"stream": "probe", "kind": "points", "points": ((np.nan, 1.0),)}, "bad_points", "finite"),
        ("set_points", {"stream": "probe", "kind": "points", "points": ((500.0, 1.0),)}, "bad_points", "500"),
        ("set_points", {"stream": "probe", "kind": "points", "points": ((5.0, 1.0),) * 101}, "bad_points", "100"),
        ("set_points", {"stream": "probe", "kind": "blob", "points": ((5.0, 1.0),)}, "bad_args", "contour"),
        ("set_points", {"stream": "probe", "kind": "points", "points": ((5.0, 1.0),), "seq": 10**6}, "frame_gone", ""),
        ("set_points", {"stream": "other", "kind": "points", "points": ((5.0, 1.0),)}, "no_frame", "probe"),
        ("stats", {"stream": "other"}, "no_frame", "probe"),
        ("describe", {"stream": 5}, "bad_args", "stream"),
        ("reanchor", {}, "bad_args", "stream"),
        ("record", {"stream": "probe", "action": "pause"}, "bad_args", "action"),
        ("record", {"stream": "probe", "action": "start", "path": "../away"}, "bad_path", "is outside"),
        ("record", {"stream": "probe", "action": "stop"}, "not_recording", "start it first"),
    ],
)
def test_a_request_that_cannot_be_done_says_why(
    server: OneProbe, cmd: str, args: dict[str, Any], code: str, said: str
) -> None:
    got_code, message = error(server, cmd, **args)
    assert got_code == code
    assert said in message


def test_many_groups_do_not_get_past_the_limit(server: OneProbe) -> None:
    points = tuple((float(x), 40.0) for x in range(20, 70))
    result(server, "set_points", stream="probe", points=points, kind="points", name="a")
    result(server, "set_points", stream="probe", points=points, kind="points", name="a")
    result(server, "set_points", stream="probe", points=points, kind="points", name="b")
    assert error(server, "set_points", stream="probe", points=points[:1], kind="points", name="c")[0] == "bad_points"


@pytest.fixture
def client(server: OneProbe) -> Iterator[tuple[Control, zmq.Socket[bytes], zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        control = Control(context, "tcp://127.0.0.1:*", Commands(server), Guard(SecurityConfig()))
        endpoint = control.bind()
        with context.socket(zmq.REQ) as req, context.socket(zmq.DEALER) as dealer:
            for socket in (req, dealer):
                socket.setsockopt(zmq.LINGER, 0)
                socket.connect(endpoint)
            yield control, req, dealer
        control.close()


def answer(control: Control) -> None:
    assert control.socket.poll(10_000)
    control.answer_waiting(0.0)


def test_req_and_dealer_are_both_answered(client: tuple[Control, zmq.Socket[bytes], zmq.Socket[bytes]]) -> None:
    control, *sockets = client
    for socket in sockets:
        socket.send(msgpack.packb({"v": 1, "id": "a", "cmd": "ping"}))
        answer(control)
        reply = msgpack.unpackb(socket.recv())
        assert (reply["v"], reply["id"], reply["ok"]) == (1, "a", True)


def test_what_is_no_request_is_counted_and_not_answered(
    client: tuple[Control, zmq.Socket[bytes], zmq.Socket[bytes]],
) -> None:
    control, _, dealer = client
    for junk in ([b"\xc1"], [msgpack.packb({"v": 2, "id": 1, "cmd": "ping"})], [b"a", b"b"], [b"", b"", b""], [b""]):
        dealer.send_multipart(junk)
        answer(control)
    dealer.send(msgpack.packb({"v": 1, "id": 5, "cmd": "ping"}))
    answer(control)

    assert msgpack.unpackb(dealer.recv())["id"] == 5
    assert control.n_invalid == 5
