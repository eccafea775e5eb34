import math
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import WireError
from specktrack.rt.frame import EcgChunk, Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.update import AnchorInfo, Group, PhaseEstimate, SettledBeat, StrainSample, Update
from specktrack.rt.wire import (
    NOTICE,
    ControlReply,
    ControlRequest,
    ErrorBody,
    LatencyHeader,
    StatusHeader,
    StreamCounts,
    decode_beat,
    decode_frame,
    decode_reply,
    decode_request,
    decode_status,
    decode_track,
    encode_beat,
    encode_frame,
    encode_reply,
    encode_request,
    encode_status,
    encode_track,
)

LIMITS = LimitsConfig()
STREAMS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
INT64 = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(0, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    height, width = draw(st.integers(16, 40)), draw(st.integers(16, 40))
    shape = (height, width, 3) if draw(st.booleans()) else (height, width)
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    samples = draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
    return Frame(
        stream=draw(STREAMS),
        seq=draw(COUNTS),
        t_acq_ns=draw(INT64),
        clock=draw(st.sampled_from(["monotonic", "utc", "tai", "my scanner"])),
        pixels=pixels,
        geometry=Geometry(height, width, draw(st.none() | st.tuples(POSITIVE, POSITIVE))),
        frame_rate_hz=draw(st.none() | POSITIVE),
        ecg=draw(st.none() | st.builds(EcgChunk, POSITIVE, INT64, st.just(np.asarray(samples, np.float32)))),
        r_waves_ns=draw(st.none() | st.lists(INT64, max_size=3).map(tuple)),
        is_frozen=draw(st.booleans()),
    )


@given(frames())
def test_a_frame_arrives_as_it_was_sent(frame: Frame) -> None:
    back = decode_frame([bytes(part) for part in encode_frame(frame)], LIMITS)

    np.testing.assert_array_equal(back.pixels, frame.pixels)
    assert back.pixels.dtype == frame.pixels.dtype
    for name in ("stream", "seq", "t_acq_ns", "clock", "geometry", "frame_rate_hz", "r_waves_ns", "is_frozen"):
        assert getattr(back, name) == getattr(frame, name)
    assert (back.ecg is None) == (frame.ecg is None)
    if back.ecg and frame.ecg:
        assert (back.ecg.rate_hz, back.ecg.t0_ns) == (frame.ecg.rate_hz, frame.ecg.t0_ns)
        np.testing.assert_array_equal(back.ecg.samples, frame.ecg.samples)


def test_pixels_are_a_read_only_view_of_the_message() -> None:
    part = zmq.Frame(bytes(encode_frame(a_frame())[2]))

    pixels = decode_frame([b"frame/probe", encode_frame(a_frame())[1], part], LIMITS).pixels

    assert np.shares_memory(pixels, np.frombuffer(part.buffer, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 1


def test_sending_does_not_copy_pixels() -> None:
    frame = a_frame()
    assert np.shares_memory(np.frombuffer(encode_frame(frame)[2], np.uint8), frame.pixels)


WRONG_HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "v": lambda h: h.update(v=2),
    "stream": lambda h: h.update(stream="a/b"),
    "seq": lambda h: h.update(seq=-1),
    "t_acq_ns": lambda h: h.update(t_acq_ns=1.5),
    "clock": lambda h: h.pop("clock"),
    "height": lambda h: h.update(height=True),
    "width": lambda h: h.update(width=15),
    "channels": lambda h: h.update(channels=2),
    "dtype": lambda h: h.update(dtype="f4"),
    "mm_per_px": lambda h: h.update(mm_per_px=[math.nan, 0.3]),
    "frame_rate_hz": lambda h: h.update(frame_rate_hz=math.inf),
    "ecg": lambda h: h.update(ecg={"rate_hz": 500.0, "t0_ns": 0, "samples": [0.1, None]}),
    "r_waves_ns": lambda h: h.update(r_waves_ns=[2**63]),
    "frozen": lambda h: h.update(frozen=1),
}


@pytest.mark.parametrize("key", WRONG_HEADERS)
def test_a_wrong_header_key_is_named(key: str) -> None:
    topic, header, pixels = encode_frame(a_frame())
    changed = msgpack.unpackb(header)
    WRONG_HEADERS[key](changed)

    with pytest.raises(WireError, match=key):
        decode_frame([topic, msgpack.packb(changed), pixels], LIMITS)


def test_unknown_keys_and_absent_optional_keys_are_no_matter() -> None:
    topic, header, pixels = encode_frame(a_frame())
    changed = {k: v for k, v in msgpack.unpackb(header).items() if v is not None and k != "frozen"} | {"gain_db": 3}

    assert decode_frame([topic, msgpack.packb(changed), pixels], LIMITS).seq == a_frame().seq


def test_a_wrong_byte_count_a_foreign_topic_and_an_oversize_frame_are_refused() -> None:
    topic, header, pixels = (bytes(part) for part in encode_frame(a_frame()))

    with pytest.raises(WireError, match=r"expected 384 bytes .* got 383"):
        decode_frame([topic, header, pixels[:-1]], LIMITS)
    with pytest.raises(WireError, match="topic"):
        decode_frame([b"frame/other", header, pixels], LIMITS)
    with pytest.raises(WireError, match="expected 3 parts, got 4"):
        decode_frame([topic, header, pixels, b""], LIMITS)
    large = Frame("probe", 0, 0, "utc", np.zeros((16, 65), np.uint8), Geometry(16, 65))
    with pytest.raises(WireError, match="max_side_px = 64"):
        decode_frame(encode_frame(large), LimitsConfig(max_side_px=64))


def test_a_stream_name_no_server_would_take_is_refused_by_the_sender() -> None:
    with pytest.raises(WireError, match="stream"):
        encode_frame(Frame("left probe", 0, 0, "utc", np.zeros((16, 16), np.uint8), Geometry(16, 16)))


JUNK_VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
JUNK_PARTS = st.lists(st.binary(max_size=64) | JUNK_VALUES.map(msgpack.packb), max_size=5)
DECODERS: list[Callable[[list[bytes]], object]] = [
    lambda parts: decode_frame(parts, LIMITS),
    decode_track,
    decode_beat,
    decode_status,
    lambda parts: decode_request(b"".join(parts)),
    lambda parts: decode_reply(b"".join(parts)),
]


@pytest.mark.parametrize("decode", DECODERS)
@given(parts=JUNK_PARTS)
def test_junk_raises_wire_errors_only(decode: Callable[[list[bytes]], object], parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)


@settings(max_examples=300)
@given(key=st.sampled_from(list(WRONG_HEADERS)), value=JUNK_VALUES)
def test_a_frame_with_one_junk_value_is_read_or_refused(key: str, value: object) -> None:
    topic, header, pixels = encode_frame(a_frame())
    changed = msgpack.unpackb(header) | {key: value}
    try:
        frame = decode_frame([topic, msgpack.packb(changed), pixels], LIMITS)
    except WireError:
        return
    assert frame.pixels.shape == (16, 24)


@given(st.binary(max_size=200))
def test_deep_or_huge_msgpack_is_a_wire_error(tail: bytes) -> None:
    for head in (b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\xc7\xff\xff", b"\xd6\xff", b"\x81\x01\x02"):
        with pytest.raises(WireError):
            decode_status([b"status/a", head + tail])


@given(n_points=st.integers(0, 70), stream=STREAMS, value=st.floats(width=32))
def test_a_track_arrives_as_it_was_published(n_points: int, stream: str, value: float) -> None:
    update = an_update(n_points, value)
    counts = StreamCounts(9, 2, 1)

    parts = encode_track(stream, update, state="live", counts=counts, latency_ms={"total": 4.2}, t_pub_ns=7)
    back = decode_track(parts)

    np.testing.assert_array_equal(back.points, update.points)
    header = back.header
    assert (header.stream, header.seq, header.clock, header.state) == (stream, 5, "utc", "live")
    assert (header.dropped, header.gaps, header.latency_ms) == (2, 1, {"total": 4.2})
    assert header.notice == NOTICE
    assert header.phase is not None
    assert header.phase.label == "systole"
    assert header.anchor is not None
    assert header.anchor.seq == 3
    assert header.strain is not None
    assert header.strain.global_percent == (value if math.isfinite(value) else None)
    assert header.strain.segments_percent == (-17.0, None)
    assert [(g.name, g.first, g.count) for g in header.groups] == [("endo", 0, n_points)]


def test_what_is_not_known_is_null_on_the_wire() -> None:
    update = Update(5, 6, "utc", np.zeros((0, 3), np.float32), (), None, None, None)

    header = msgpack.unpackb(
        encode_track("a", update, state="waiting", counts=StreamCounts(), latency_ms={}, t_pub_ns=0)[1]
    )

    assert header["phase"] is header["strain"] is header["anchor"] is None
    assert header["v"] == 1
    assert header["n_points"] == 0


@given(n_frames=st.integers(2, 40), n_points=st.integers(0, 20))
def test_a_beat_arrives_as_it_was_published(n_frames: int, n_points: int) -> None:
    beat = a_beat(n_frames, n_points)

    back = decode_beat(encode_beat("probe", "utc", beat, an_update(n_points, 0.0).groups))

    np.testing.assert_array_equal(back.tracks, beat.tracks)
    np.testing.assert_array_equal(back.seq, beat.seq)
    header = back.header
    assert (header.ed_seq, header.es_seq, header.next_ed_seq) == (100, 101, 100 + n_frames - 1)
    assert header.diastasis_seq is header.diastasis_ns is None
    assert header.es_ns == beat.t_acq_ns[1]
    assert header.strain_percent == (None,) + (-1.0,) * (n_frames - 1)
    assert header.segments_percent == (-18.0, None)
    assert (header.gls_percent, header.accepted, header.why) == (-18.5, False, "drift")


@given(latency=st.none() | st.builds(LatencyHeader, p50=FLOATS, p95=FLOATS, p99=FLOATS, max=FLOATS, seq=COUNTS))
def test_a_status_arrives_as_it_was_published(latency: LatencyHeader | None) -> None:
    status = StatusHeader(
        stream="probe",
        state="degraded",
        model="block",
        engine="block",
        frames_in=9,
        frames_out=8,
        dropped=1,
        gaps=0,
        invalid=2,
        frame_rate_hz=None,
        latency_ms=latency,
        points=61,
        uptime_s=3.5,
        version="0.1",
        message="10 % of the frames are missing",
    )
    assert decode_status(encode_status(status)) == status


@given(st.builds(ControlRequest, v=st.just(1), id=INT64 | st.text(max_size=9), cmd=st.text(max_size=9)))
def test_a_request_arrives_as_it_was_sent(request_: ControlRequest) -> None:
    assert decode_request(encode_request(request_)) == request_


def test_a_reply_holds_a_result_or_an_error() -> None:
    good = ControlReply(id=1, ok=True, result={"seq": 4})
    bad = ControlReply(id="x", ok=False, error=ErrorBody(code="no_frame", message="Start the feed."))

    assert "error" not in msgpack.unpackb(encode_reply(good))
    assert "result" not in msgpack.unpackb(encode_reply(bad))
    assert [decode_reply(encode_reply(reply)) for reply in (good, bad)] == [good, bad]


def a_frame() -> Frame:
    pixels = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
    ecg = EcgChunk(500.0, 1, np.asarray([0.5], np.float32))
    return Frame("probe", 7, 8, "utc", pixels, Geometry(16, 24, (0.3, 0.3)), 50.0, ecg, (3, 4), False)


def an_update(n_points: int, strain_percent: float) -> Update:
    points = np.random.default_rng(1).random((n_points, 3), np.float32)
    points[: n_points // 3] = (np.nan, np.nan, 0.0)
    return Update(
        seq=5,
        t_acq_ns=6,
        clock="utc",
        points=points,
        groups=(Group("endo", "contour", 0, n_points, 2),),
        phase=PhaseEstimate(0.25, "systole", 3, 71.0, "image", True),
        anchor=AnchorInfo(3, 0.4, 1),
        strain=StrainSample(strain_percent, (-17.0, None), -0.4, 0.2),
    )


def a_beat(n_frames: int, n_points: int) -> SettledBeat:
    strain = np.full(n_frames, -1.0, np.float32)
    strain[0] = np.nan
    return SettledBeat(
        beat=4,
        seq=np.arange(100, 100 + n_frames),
        t_acq_ns=np.arange(n_frames) * 20_000_000,
        tracks=np.random.default_rng(2).random((n_frames, n_points, 3), np.float32),
        ed_index=0,
        es_index=1,
        next_ed_index=n_frames - 1,
        diastasis_index=None,
        heart_rate_bpm=70.0,
        gls_percent=-18.5,
        peak_percent=-19.0,
        segments_percent=(-18.0, None),
        strain_percent=strain,
        drift_percent=1.0,
        mapse_mm=None,
        quality=(0.9, 0.0),
        accepted=False,
        why="drift",
    )
