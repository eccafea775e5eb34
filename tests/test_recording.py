"""Recordings: what was sent is there again, up to wherever the file was cut; nothing is written where it may not be."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_daemon import POINTS, SIDE, WAIT_MS, Running, drain, first_track, send, speckle

from specktrack.rt.clip import open_clip
from specktrack.rt.config import RecordConfig
from specktrack.rt.errors import ControlError, InputError
from specktrack.rt.frame import EcgChunk, Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.recorder import Recordings
from specktrack.rt.recording import RecordingWriter, read_recording, recorded_frames
from specktrack.rt.wire import decode_track, encode_frame

MESSAGES = [[b"track/a", b"\x80", bytes(range(256))], [b"status/a", b"\x81"], [b"frame/a", b"", b"\0" * 5000]]


def heart(seq: int, side: int = 32) -> Frame:
    """A frame with an ECG and an R wave."""
    ecg = EcgChunk(500.0, seq * 20_000_000 - 10_000_000, np.float32([0.1, 0.9, 0.2]))
    pixels = np.full((side, side), seq % 250, np.uint8)
    return Frame("a", seq, seq * 20_000_000, "utc", pixels, Geometry(side, side), None, ecg, (seq * 20_000_000 - 5,))


def written(path: Path, frames: list[Frame]) -> Path:
    with closing(RecordingWriter(path)) as writer:
        for frame in frames:
            writer.write(frame.t_acq_ns, encode_frame(frame))
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Iterator[Recordings]:
    recordings = Recordings(RecordConfig(folder=str(tmp_path / "kept")))
    yield recordings
    recordings.close()


def test_messages_come_back_as_they_were_written(tmp_path: Path) -> None:
    with closing(RecordingWriter(tmp_path / "a.rec")) as writer:
        for k, parts in enumerate(MESSAGES):
            writer.write(k, parts)
    found = list(read_recording(tmp_path / "a.rec"))
    assert [list(message.parts) for message in found] == MESSAGES
    assert [message.t_ns for message in found] == [0, 1, 2]


@given(cut=st.integers(10, 5500))
def test_a_file_cut_off_anywhere_replays_up_to_the_cut(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    ends = []
    with closing(RecordingWriter(folder / "whole.rec")) as writer:
        for parts in MESSAGES:
            writer.write(0, parts)
            ends.append((ends[-1] if ends else 10) + 8 + 9 + 4 * len(parts) + sum(map(len, parts)))
    whole = (folder / "whole.rec").read_bytes()
    assert len(whole) == ends[-1]
    (folder / "cut.rec").write_bytes(whole[:cut])
    n_whole = sum(end <= cut for end in ends)
    assert [list(m.parts) for m in read_recording(folder / "cut.rec")] == MESSAGES[:n_whole]


@given(where=st.integers(10, 5400))
def test_a_flipped_bit_ends_the_replay_and_is_never_believed(
    where: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bit") / "a.rec"
    with closing(RecordingWriter(path)) as writer:
        for parts in MESSAGES:
            writer.write(0, parts)
    damaged = bytearray(path.read_bytes())
    damaged[where % len(damaged)] ^= 0x10
    path.write_bytes(damaged)
    found = [list(message.parts) for message in read_recording(path)] if where % len(damaged) >= 10 else []
    assert found == MESSAGES[: len(found)]
    assert len(found) < len(MESSAGES)


@pytest.mark.parametrize("content", [b"", b"SPECK", b"RIFF and so on"])
def test_what_is_no_recording_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(InputError, match="is no recording; give a file that rt-serve has recorded"):
        list(read_recording(tmp_path / "a.rec"))


def test_a_recording_is_a_clip(tmp_path: Path) -> None:
    clip = open_clip(written(tmp_path / "a.rec", [heart(k) for k in range(12)]))
    assert (clip.frame_count, clip.frame_rate_hz, clip.geometry) == (12, 50.0, Geometry(32, 32))
    assert [int(frame[0, 0]) for frame in clip.frames()] == list(range(12))


def test_a_clip_ends_where_the_picture_changes_its_size(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rec", [heart(0), heart(1), heart(2, side=64)])
    assert len(list(open_clip(path).frames())) == 2


def test_colour_and_sixteen_bits_become_grey_in_a_clip(tmp_path: Path) -> None:
    deep = replace(heart(0), pixels=np.full((32, 32, 3), 0x80FF, np.uint16))
    (frame,) = open_clip(written(tmp_path / "a.rec", [deep])).frames()
    assert frame.dtype == np.uint8
    assert frame.shape == (32, 32)
    assert int(frame[0, 0]) == pytest.approx(0x80, abs=1)


def test_a_recording_without_a_frame_is_no_clip(tmp_path: Path) -> None:
    with closing(RecordingWriter(tmp_path / "a.rec")) as writer:
        writer.write(0, [b"status/a", b"\x80"])
    with pytest.raises(InputError, match="no frame is in this recording"):
        open_clip(tmp_path / "a.rec")


@pytest.mark.parametrize("path", ["../away.rec", "/etc/heart", "a/../../b", "link/heart", ".", "a\0b"])
def test_nothing_is_written_outside_the_configured_folder(path: str, recordings: Recordings, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "link").symlink_to(tmp_path)
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(ControlError) as refused:
        recordings.start("probe", path if path != "." else str(tmp_path / "kept"))
    assert refused.value.code == "bad_path"
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_name_an_absolute_path_within_and_none_at_all_are_taken(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert recordings.start("a", "first") == folder / "first.rec"
    assert recordings.start("b", str(folder / "day" / "second.rec")) == folder / "day" / "second.rec"
    assert recordings.start("c", None).name.startswith("c-2")


def test_one_stream_has_one_recording_and_no_file_is_written_over(recordings: Recordings) -> None:
    recordings.start("a", "first")
    with pytest.raises(ControlError, match="is being recorded"):
        recordings.start("a", "second")
    recordings.stop("a")
    with pytest.raises(ControlError, match="exists already"):
        recordings.start("a", "first")
    with pytest.raises(ControlError, match="is not being recorded"):
        recordings.stop("a")


def test_what_a_slow_disk_cannot_take_is_counted(tmp_path: Path) -> None:
    recordings = Recordings(RecordConfig(folder=str(tmp_path), waiting_mib=0.01))
    recordings.start("a", "slow")
    big = [b"frame/a", b"", b"\0" * 20_000]
    recordings.add("a", big)
    recordings.add("a", [b"frame/a", b"", b"\0" * 100])
    finished = recordings.stop("a")
    assert (finished.frames, finished.left_out) == (1, 1)


def test_a_recording_ends_at_its_largest_size_and_says_so(tmp_path: Path) -> None:
    recordings = Recordings(RecordConfig(folder=str(tmp_path), max_gib=1e-5))
    recordings.start("a", "big")
    for _ in range(3):
        recordings.add("a", [b"frame/a", b"", b"\0" * 5000])
    finished = recordings.stop("a")
    assert finished.frames == 2
    assert "record.max_gib" in finished.trouble
    assert len(list(read_recording(finished.path))) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the full device of Linux")
def test_a_full_disk_ends_the_recording_with_a_sentence(tmp_path: Path) -> None:
    recordings = Recordings(RecordConfig(folder=str(tmp_path)))
    recordings.start("a", "full")
    writer = recordings._running["a"]._writer
    writer.close()
    writer._file = Path("/dev/full").open("wb")  # noqa: SIM115
    for _ in range(2):
        recordings.add("a", [b"frame/a", b"", b"\0" * 5000])
    finished = recordings.stop("a")
    assert "cannot be written (No space left on device)" in finished.trouble
    assert (finished.frames, finished.left_out) == (0, 2)


def test_a_live_stream_is_recorded_with_its_results(tmp_path: Path) -> None:
    running = Running(f"record.folder={tmp_path}")
    try:
        client = running.client
        start = first_track(client)
        client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
        reply = client.request("record", WAIT_MS, stream="probe", action="start", path="heart")
        assert reply is not None
        assert reply["result"] == {"path": str(tmp_path / "heart.rec"), "frames": 0}
        for seq in range(start, start + 20):
            send(client, seq)
        drain(client, start + 19)
        reply = client.request("record", WAIT_MS, stream="probe", action="stop")
        assert reply is not None
        assert reply["result"] == {"path": str(tmp_path / "heart.rec"), "frames": 20, "left_out": 0}
    finally:
        running.stop()
    frames = list(recorded_frames(tmp_path / "heart.rec"))
    assert [frame.seq for frame in frames] == list(range(start, start + 20))
    assert frames[3].pixels.tobytes() == speckle(start + 3)
    tracks = [m.parts for m in read_recording(tmp_path / "heart.rec") if m.parts[0].startswith(b"track/")]
    assert [decode_track(parts).header.seq for parts in tracks] == list(range(start, start + 20))


def test_a_server_that_stops_closes_its_recordings(tmp_path: Path) -> None:
    running = Running(f"record.folder={tmp_path}")
    try:
        start = first_track(running.client)
        running.client.request("record", WAIT_MS, stream="probe", action="start", path="heart")
        send(running.client, start)
        drain(running.client, start)
    finally:
        running.stop()
    (frame,) = recorded_frames(tmp_path / "heart.rec")
    assert (frame.seq, frame.pixels.shape) == (start, (SIDE, SIDE))
