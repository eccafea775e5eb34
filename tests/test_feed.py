import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray
from typer.testing import CliRunner

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import InputError
from specktrack.rt.frame import EcgChunk, Frame
from specktrack.rt.frame_index import read_index
from specktrack.rt.geometry import Geometry
from specktrack.rt.recording import RecordingWriter
from specktrack.rt.wire import decode_frame, encode_frame
from specktrack.tools.feed import Feed, Tally, app
from specktrack.tools.pacing import MAX_LAG_NS, Pacer
from specktrack.tools.sender import FrameSender
from specktrack.tools.source import Source, choose_frames, open_source, play

LIMITS = LimitsConfig()


def source_of(frames: NDArray[np.uint8], name: str = "clip") -> Source:
    return Source(name, Geometry(*frames.shape[1:]), 50.0, len(frames), lambda: iter(frames))


def numbered(count: int) -> NDArray[np.uint8]:
    """Frames that differ: frame k is k everywhere."""
    return np.repeat(np.arange(count, dtype=np.uint8), 32 * 192).reshape(count, 32, 192)


class FakeClock:
    """Time that passes only while someone waits for it."""

    def __init__(self) -> None:
        self.ns = 1_000

    def now_ns(self) -> int:
        return self.ns

    def wait_s(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9) + 700_000  # every wait oversleeps


@pytest.fixture
def receiver() -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvtimeo = 5000
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def endpoint(socket: "zmq.Socket[bytes]") -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def receive(socket: "zmq.Socket[bytes]") -> Frame:
    return decode_frame(socket.recv_multipart(), LIMITS)


def test_deadlines_do_not_drift_although_every_wait_oversleeps() -> None:
    clock = FakeClock()
    pacer = Pacer(50.0, clock.now_ns, clock.wait_s)
    deadlines = [pacer.next() for _ in range(3001)]
    assert deadlines[-1] - deadlines[0] == 60_000_000_000
    assert clock.ns - deadlines[-1] < 1_000_000
    assert pacer.worst_late_ns == 700_000


def test_an_uneven_rate_keeps_exact_time() -> None:
    clock = FakeClock()
    pacer = Pacer(55.0, clock.now_ns, clock.wait_s)
    deadlines = [pacer.next() for _ in range(551)]
    assert deadlines[-1] - deadlines[0] == 10_000_000_000


def test_after_a_long_stop_the_schedule_starts_anew_instead_of_a_burst() -> None:
    clock = FakeClock()
    pacer = Pacer(50.0, clock.now_ns, clock.wait_s)
    pacer.next()
    clock.ns += 2 * MAX_LAG_NS
    late = pacer.next()
    assert late == clock.ns
    assert pacer.restarts == 1
    assert pacer.next() == late + 20_000_000


def test_a_looped_clip_goes_on_counting_frames_and_time(receiver: "zmq.Socket[bytes]") -> None:
    source = source_of(numbered(4))
    with FrameSender(endpoint(receiver)) as sender:
        assert sender.has_receiver(5000)
        feed = Feed(source, sender, "a4c", 250.0, True, Pacer(250.0), Tally())
        pictures = islice(play(source, is_looped=True), 10)
        frames = [receive(receiver) for _ in feed.send(pictures)]
    assert [frame.seq for frame in frames] == list(range(10))
    assert [read_index(frame.pixels) for frame in frames] == list(range(10))  # type: ignore[arg-type]
    assert [int(frame.pixels[20, 0]) for frame in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert set(np.diff([frame.t_acq_ns for frame in frames])) == {4_000_000}
    assert {frame.clock for frame in frames} == {"monotonic"}


def test_without_a_receiver_frames_are_dropped_and_counted_not_waited_for() -> None:
    clock = FakeClock()
    source = source_of(numbered(30))
    with FrameSender("tcp://127.0.0.1:9") as sender:
        feed = Feed(source, sender, "a4c", 50.0, False, Pacer(50.0, clock.now_ns, clock.wait_s), Tally())
        assert list(feed.send(play(source, is_looped=False))) == list(range(30))
    assert (feed.tally.sent, feed.tally.dropped) == (0, 30)


def test_a_receiver_that_stops_reading_costs_frames_not_time(receiver: "zmq.Socket[bytes]") -> None:
    clock = FakeClock()
    frames = np.zeros((300, 512, 512), np.uint8)
    source = source_of(frames)
    with FrameSender(endpoint(receiver)) as sender:
        assert sender.has_receiver(5000)
        feed = Feed(source, sender, "a4c", 50.0, False, Pacer(50.0, clock.now_ns, clock.wait_s), Tally())
        assert len(list(feed.send(play(source, is_looped=False)))) == 300
    assert feed.tally.dropped > 0
    assert feed.tally.sent + feed.tally.dropped == 300


def test_viewers_get_the_same_frames_from_the_tee(receiver: "zmq.Socket[bytes]") -> None:
    with (
        FrameSender(endpoint(receiver), "tcp://127.0.0.1:*") as sender,
        zmq.Context() as context,
        context.socket(zmq.SUB) as viewer,
    ):
        viewer.linger = 0
        viewer.rcvtimeo = 100
        viewer.subscribe("frame/a4c")
        assert sender.tee_endpoint is not None
        viewer.connect(sender.tee_endpoint)
        source, seen = source_of(numbered(1)), None
        for seq in range(100):  # a subscription takes a moment to arrive
            sender.send(Frame("a4c", seq, seq, "monotonic", next(source.frames()), source.geometry))
            if viewer.poll(50):
                seen = receive(viewer)
                break
        assert seen is not None
        assert seen.pixels.shape == (32, 192)


def test_only_the_chosen_frames_are_looped() -> None:
    chosen = choose_frames(source_of(numbered(10)), "2:4")
    pictures = play(chosen, is_looped=True)
    assert [int(next(pictures)[0, 0]) for _ in range(7)] == [2, 3, 4, 2, 3, 4, 2]
    assert chosen.frame_count == 3


@pytest.mark.parametrize("text", ["4:2", "0:10", "a:b", "3", "-1:4"])
def test_an_impossible_choice_of_frames_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--loop-frames"):
        choose_frames(source_of(numbered(10)), text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rtsp://camera", "unknown kind of source"),
        ("phantom:plax", "phantom:plax: view plax: unknown; the phantom makes a4c, a2c, a3c, rv, psax, tissue"),
        ("phantom:a4c?rate=70", "unknown option 'rate'"),
        ("phantom:a4c?hr=9000", "hr=9000 is not possible"),
        ("phantom:a4c?hr=fast", "hr=fast is not possible"),
        ("nothing.mp4", "no such file"),
    ],
)
def test_sources_that_cannot_be_fed_are_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        open_source(text)


def test_a_phantom_without_torch_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "specktrack.training.phantom", None)
    with pytest.raises(InputError, match=r"pip install 'specktrack\[train\]'"):
        open_source("phantom:a4c?hr=70&seed=1")


@pytest.mark.parametrize("view", ["a4c", "a2c", "a3c", "rv", "psax", "tissue"])
def test_a_phantom_of_every_view_can_be_fed(view: str) -> None:
    pytest.importorskip("torch")
    frames = list(open_source(f"phantom:{view}?hr=180&seed=3&size=64&beats=1").frames())
    assert len(frames) == 18
    assert all(frame.shape == (64, 64) and frame.dtype == np.uint8 for frame in frames)
    steps = [np.abs(b.astype(int) - a).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert steps[-1] < 1.5 * max(steps[:-1])  # the last frame runs into the first without a jump


def test_phantoms_of_two_seeds_and_two_views_differ() -> None:
    pytest.importorskip("torch")
    first, *others = (
        next(open_source(f"phantom:{what}&hr=180&size=64&beats=1").frames())
        for what in ("a4c?seed=1", "a4c?seed=2", "rv?seed=1")
    )
    assert all(np.abs(first.astype(int) - other).mean() > 3 for other in others)


def test_a_phantom_loops_over_whole_beats() -> None:
    pytest.importorskip("torch")
    source = open_source("phantom:a4c?hr=180&size=64&beats=1")
    assert source.is_endless
    assert source.frame_count == 18  # 60 / 180 s at 55 frames a second
    frames = list(source.frames())
    assert frames[0].shape == (64, 64)
    assert len(frames) == 18


def test_the_command_feeds_a_file_and_sums_up(receiver: "zmq.Socket[bytes]", tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", numbered(3))
    args = [str(tmp_path / "clip.npy"), "--to", endpoint(receiver), "--fps", "1000", "--count", "5", "--loop"]
    result = CliRunner().invoke(app, [*args, "--stream", "test", "--mm-per-px", "0.4"])
    assert result.exit_code == 0, result.output
    assert "sent 5  dropped 0" in result.stdout
    frames = [receive(receiver) for _ in range(5)]
    assert [frame.seq for frame in frames] == list(range(5))
    assert frames[0].stream == "test"
    assert frames[0].geometry.mm_per_px == (0.4, 0.4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--fps", "0"], "--fps 0"),
        (["--stream", "a b"], "--stream a b"),
        (["--to", "nowhere"], "--to nowhere"),
        (["--tee", "tcp://256.0.0.1:1"], "--tee"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], complaint: str) -> None:
    np.save(tmp_path / "clip.npy", numbered(3))
    result = CliRunner().invoke(app, [str(tmp_path / "clip.npy"), *options])
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


def recorded(path: Path, count: int, rate_hz: float = 500.0) -> str:
    """A recording with an R wave a millisecond before every frame."""
    with closing(RecordingWriter(path)) as writer:
        for k in range(count):
            t_ns = 7_000_000_000 + round(k * 1e9 / rate_hz)
            ecg = EcgChunk(1000.0, t_ns - 2_000_000, np.zeros(2, np.float32))
            picture = np.full((32, 48, 3), k, np.uint8)
            frame = Frame("old", k + 90, t_ns, "scanner", picture, Geometry(32, 48), rate_hz, ecg, (t_ns - 1_000_000,))
            writer.write(t_ns, encode_frame(frame))
    return str(path)


def replayed(receiver: "zmq.Socket[bytes]", *args: str) -> tuple[list[Frame], str]:
    result = CliRunner().invoke(app, [*args, "--to", endpoint(receiver)])
    assert result.exit_code == 0, result.output
    return [receive(receiver) for _ in range(4)], result.output


def test_a_recording_is_played_with_colours_ecg_and_r_waves_on_the_clock_of_today(
    receiver: "zmq.Socket[bytes]", tmp_path: Path
) -> None:
    frames, _ = replayed(receiver, recorded(tmp_path / "a.rec", 4), "--stream", "new")
    for k, frame in enumerate(frames):
        assert (frame.stream, frame.seq, frame.clock, frame.frame_rate_hz) == ("new", k, "monotonic", 500.0)
        assert frame.pixels.shape == (32, 48, 3)
        assert int(frame.pixels[0, 0, 0]) == k
        assert frame.ecg is not None
        assert frame.t_acq_ns - frame.ecg.t0_ns == 2_000_000
        assert frame.r_waves_ns == (frame.t_acq_ns - 1_000_000,)


def test_a_recording_played_at_another_rate_leaves_its_ecg_out_and_says_so(
    receiver: "zmq.Socket[bytes]", tmp_path: Path
) -> None:
    frames, said = replayed(receiver, recorded(tmp_path / "a.rec", 4), "--fps", "900")
    assert all(frame.ecg is None and frame.r_waves_ns is None for frame in frames)
    assert "without ECG and R waves: they fit the recorded 500 frames/s only" in said
