import logging
from collections.abc import Iterator

import numpy as np
import pytest
import zmq

from specktrack.rt.config import FramesConfig, LimitsConfig, SecurityConfig
from specktrack.rt.errors import ConfigError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.ingest import Complaint, Ingest, Intake
from specktrack.rt.security import Guard
from specktrack.rt.wire import StreamCounts, encode_frame

WAIT_MS = 10_000
LIMITS = LimitsConfig(max_streams=2)


def message(seq: int, stream: str = "probe", side: int = 16) -> list[bytes]:
    pixels = np.full((side, side), seq % 256, np.uint8)
    frame = Frame(stream, seq, 0, "utc", pixels, Geometry(side, side))
    return [bytes(part) for part in encode_frame(frame)]


def taken(intake: Intake) -> list[int]:
    seqs = []
    while (received := intake.take()) is not None:
        seqs.append(received.frame.seq)
    return seqs


def test_the_newest_frames_win_and_the_dropped_ones_are_counted() -> None:
    intake = Intake(4, LIMITS)
    for seq in range(10):
        assert intake.accept(message(seq), seq * 0.02)

    assert intake.counts("probe") == StreamCounts(frames_in=10, dropped=6, gaps=0)
    assert taken(intake) == [6, 7, 8, 9]


def test_a_stream_is_waiting_until_its_last_frame_is_taken() -> None:
    intake = Intake(4, LIMITS)
    assert not intake.is_waiting("probe")
    intake.accept(message(0), 0.0)
    assert intake.is_waiting("probe")
    assert not intake.is_waiting("other")
    taken(intake)
    assert not intake.is_waiting("probe")


def test_frames_that_never_came_are_gaps() -> None:
    intake = Intake(64, LIMITS)
    for seq in (5, 6, 9, 10, 12):
        intake.accept(message(seq), 0.0)
    assert intake.counts("probe").gaps == 3


def test_a_feed_that_starts_again_has_no_gap() -> None:
    intake = Intake(64, LIMITS)
    for seq in (2**62, 0, 1, 3, 3, 0):
        intake.accept(message(seq), 0.0)
    assert intake.counts("probe") == StreamCounts(frames_in=6, dropped=0, gaps=1)


def test_a_fast_stream_does_not_push_out_a_slow_one() -> None:
    intake = Intake(2, LIMITS)
    intake.accept(message(0, "slow"), 0.0)
    for seq in range(50):
        intake.accept(message(seq, "fast"), 0.1)

    assert intake.counts("slow").dropped == 0
    assert intake.counts("fast").dropped == 48
    assert sorted(taken(intake)) == [0, 48, 49]


def test_two_probes_that_both_send_too_fast_are_served_by_turns_however_fast_each_is() -> None:
    intake, served = Intake(4, LIMITS), {"fast": 0, "slow": 0}
    for tick in range(90):
        intake.accept(message(tick, "fast"), tick * 0.01)
        if tick % 2 == 0:
            intake.accept(message(tick, "slow"), tick * 0.01)
        if tick % 3 == 0:  # a third of what comes from the fast one alone can be answered
            received = intake.take()
            assert received is not None
            served[received.frame.stream] += 1
    assert abs(served["fast"] - served["slow"]) <= 1
    assert intake.counts("fast").dropped > intake.counts("slow").dropped > 0


def test_looking_at_the_next_frame_takes_nothing_and_a_newer_one_may_still_push_it_out() -> None:
    intake = Intake(1, LIMITS)
    assert intake.peek() is None
    intake.accept(message(0), 0.0)
    looked = intake.peek()
    assert looked is not None
    assert looked.frame.seq == 0
    intake.accept(message(1), 0.1)
    assert taken(intake) == [1]


def test_junk_is_counted_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    intake = Intake(4, LIMITS)
    for junk in ([], [b"x"], [b"frame/probe", b"\xc1", b""], message(1)[:2], [*message(1), b"more"]):
        assert not intake.accept(junk, 0.0)
    assert intake.accept(message(1), 0.0)

    assert intake.n_invalid == 5
    assert intake.counts("probe").frames_in == 1
    assert len(caplog.records) == 1, "invalid messages are logged at a limited rate"


def test_one_stream_too_many_is_invalid() -> None:
    intake = Intake(4, LIMITS)
    assert [intake.accept(message(0, name), 0.0) for name in ("a", "b", "c", "a")] == [True, True, False, True]
    assert intake.n_invalid == 1
    assert intake.counts("c") == StreamCounts()


def test_a_complaint_says_how_often_it_was_held_back(caplog: pytest.LogCaptureFixture) -> None:
    complaint = Complaint(interval_s=5.0)
    with caplog.at_level(logging.WARNING):
        for time_s in (0.0, 1.0, 2.0, 6.0):
            complaint.say(time_s, "bad %s", "thing")
    assert [record.getMessage() for record in caplog.records] == ["bad thing", "bad thing (and 2 more before)"]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def wait_for(ingest: Ingest) -> None:
    poller = zmq.Poller()
    poller.register(ingest.ready.fileno(), zmq.POLLIN)
    assert poller.poll(WAIT_MS), "the ingest thread did not ring"
    ingest.ready.clear()


def test_frames_come_through_the_socket_in_order(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    ingest = Ingest(context, FramesConfig(endpoint="tcp://127.0.0.1:*", queue=256), LIMITS, Guard(SecurityConfig()))
    with context.socket(zmq.PUSH) as feed:
        feed.connect(ingest.bind())
        ingest.start()
        for seq in range(100):
            feed.send_multipart(message(seq, side=64))
        seqs: list[int] = []
        while len(seqs) < 100:
            wait_for(ingest)
            seqs += taken(ingest.intake)
    ingest.close()
    assert seqs == list(range(100))
    assert ingest.error is None


def test_junk_on_the_socket_does_not_stop_the_thread(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    ingest = Ingest(context, FramesConfig(endpoint="tcp://127.0.0.1:*"), LIMITS, Guard(SecurityConfig()))
    with context.socket(zmq.PUSH) as feed:
        feed.connect(ingest.bind())
        ingest.start()
        feed.send_multipart([b"frame/probe", b"\xff" * 100])
        feed.send_multipart([b""] * 5000)
        feed.send_multipart(message(3))
        wait_for(ingest)
    ingest.close()
    assert ingest.intake.n_invalid == 2
    assert taken(ingest.intake) == [3]


def test_a_publishing_scanner_is_subscribed_to(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with context.socket(zmq.XPUB) as scanner:
        scanner.bind("tcp://127.0.0.1:*")
        endpoint = scanner.getsockopt_string(zmq.LAST_ENDPOINT)
        ingest = Ingest(context, FramesConfig(endpoint=endpoint, mode="sub"), LIMITS, Guard(SecurityConfig()))
        assert ingest.bind() == endpoint
        ingest.start()
        assert scanner.poll(WAIT_MS)
        assert scanner.recv() == b"\x01frame/"
        scanner.send_multipart([b"other/probe", b"", b""])
        scanner.send_multipart(message(4))
        wait_for(ingest)
        ingest.close()
    assert taken(ingest.intake) == [4]
    assert ingest.intake.n_invalid == 0


def test_an_ingest_that_never_started_closes(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    Ingest(context, FramesConfig(endpoint="tcp://127.0.0.1:*"), LIMITS, Guard(SecurityConfig())).close()


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("tcp://127.0.0.1:99999", "valid port"),
        ("tcp://127.0.0.1", "something like tcp://127.0.0.1:5555"),
        ("nonsense", "something like tcp://127.0.0.1:5555"),
        ("tcp://192.0.2.1:5555", "no network address of this machine"),
    ],
)
def test_an_endpoint_that_cannot_work_is_explained(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, said: str
) -> None:
    ingest = Ingest(context, FramesConfig(endpoint=endpoint), LIMITS, Guard(SecurityConfig()))
    with pytest.raises(ConfigError, match=said):
        ingest.bind()
    ingest.close()


def test_a_busy_port_is_explained(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    first = Ingest(context, FramesConfig(endpoint="tcp://127.0.0.1:*"), LIMITS, Guard(SecurityConfig()))
    second = Ingest(context, FramesConfig(endpoint=first.bind()), LIMITS, Guard(SecurityConfig()))
    with pytest.raises(ConfigError, match=r"already in use.*--frames"):
        second.bind()
    first.close()
    second.close()
