"""Trackers that see a window of frames at once, in a live stream: late, but every frame once and in order."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zmq
from baseline_clips import drifting_speckle
from protocol_client import Client
from streams import frame, grid
from test_baselines import calm
from typer.testing import CliRunner

from specktrack.rt.config import DaemonConfig, ModelConfig, SessionConfig, load_config
from specktrack.rt.daemon import Daemon
from specktrack.rt.errors import EngineError
from specktrack.rt.late_session import LateSession, open_session
from specktrack.rt.track import app as rt_track
from specktrack.rt.update import Update
from specktrack.rt.windowed import NAMES, WindowedEngine, open_windowed
from specktrack.training import windowed_models
from specktrack.training.cotracker import CoTracker
from specktrack.training.cotracker_stream import slide
from specktrack.training.echotracker import EchoTracker
from specktrack.training.point_tracker import EchoTrackerTracker
from specktrack.training.windowed_models import MODELS, CoTrackerRun, TorchWindowed, as_video

WAIT_MS = 60_000
WINDOW = 6
ANY_PORT = [f"{name}.endpoint=tcp://127.0.0.1:*" for name in ("frames", "results", "control")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(windowed_models, "COTRACKER_ITERATIONS", 1)
    monkeypatch.setattr(windowed_models, "PIPS_ITERATIONS", 2)


@pytest.fixture(scope="module")
def echotracker() -> EchoTracker:
    torch.manual_seed(0)
    return calm(EchoTracker()).eval()


@pytest.fixture(scope="module")
def weights(echotracker: EchoTracker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "echotracker.pt"
    torch.save(echotracker.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def engine(weights: Path) -> WindowedEngine:
    return open_windowed(ModelConfig(name="echotracker", weights=str(weights), window=WINDOW))


def stream_of(engine: WindowedEngine) -> LateSession:
    session = open_session("test", SessionConfig(), engine)
    assert isinstance(session, LateSession)
    return session


def seqs(updates: list[Update]) -> list[int]:
    return [update.seq for update in updates]


def test_the_runtime_names_every_model_of_the_plug_in() -> None:
    assert set(NAMES) == set(MODELS)


def test_frames_are_not_held_back_while_nothing_is_followed(engine: WindowedEngine) -> None:
    session = stream_of(engine)
    assert [seqs(session.answers(frame(p, k))) for k, p in enumerate(drifting_speckle(3, 256))] == [[0], [1], [2]]


def test_a_window_is_answered_when_it_is_full_as_the_network_answers_it(
    engine: WindowedEngine, echotracker: EchoTracker
) -> None:
    frames = drifting_speckle(WINDOW, 256)
    session = stream_of(engine)
    session.answers(frame(frames[0], 0))
    session.set_points(grid(), "points")
    for k in range(1, WINDOW - 1):
        assert session.answers(frame(frames[k], k)) == []
    updates = session.answers(frame(frames[-1], WINDOW - 1))
    assert seqs(updates) == [1, 2, 3, 4, 5]
    queries = np.pad(grid(), ((0, 0), (1, 0)))
    expected = EchoTrackerTracker(echotracker).track(frames, queries).tracks
    for update in updates:
        np.testing.assert_allclose(update.points[:, :2], expected[:, update.seq], atol=2e-3)


def test_every_frame_is_answered_once_in_order_whatever_happens_to_the_stream(engine: WindowedEngine) -> None:
    frames, session, answered = drifting_speckle(16, 256), stream_of(engine), list[int]()
    times_s = np.cumsum([0.02] * 8 + [5.0] + [0.02] * 7)  # a silence before frame 8
    for k, pixels in enumerate(frames):
        given = frame(pixels, k)
        answered += seqs(session.answers(type(given)(**{**vars(given), "t_acq_ns": round(times_s[k] * 1e9)})))
        if k in (0, 6):
            session.set_points(grid(), "points")
        if k == 13:
            session.clear_points()
            session.set_points(grid(), "points", name="others", seq=11)
    answered += seqs(session.finish())
    assert answered == list(range(16))


def test_a_new_image_size_answers_the_waiting_frames_first(engine: WindowedEngine) -> None:
    frames, session = drifting_speckle(4, 256), stream_of(engine)
    session.answers(frame(frames[0], 0))
    session.set_points(grid(), "points")
    session.answers(frame(frames[1], 1))
    updates = session.answers(frame(frames[2][:200], 2))
    assert seqs(updates) == [1, 2]
    assert len(updates[0].points) == 16
    assert updates[1].is_new_epoch
    assert len(updates[1].points) == 0


def test_points_that_leave_the_image_are_lost(engine: WindowedEngine) -> None:
    frames, session = drifting_speckle(2, 256), stream_of(engine)
    session.answers(frame(frames[0], 0))
    session.set_points(np.float32([[0.0, 0.0], [128.0, 128.0]]), "points")
    session.answers(frame(frames[1], 1))
    (update,) = session.finish()
    outside = (update.points[:, 2] == 0) == ~np.isfinite(update.points[:, 0])
    assert outside.all()
    assert np.isfinite(update.points[1]).all()


def test_cotracker_answers_as_its_authors_windows_do() -> None:
    torch.manual_seed(0)
    network = calm(CoTracker(16)).eval()
    frames = drifting_speckle(24, 64)
    points = np.float32([[20, 30], [40, 25]])
    run = CoTrackerRun(network, 16, frames[0], points)
    first = run.follow(list(frames[1:16]))
    assert run.wanted == 8
    second = run.follow(list(frames[16:24]))
    queries = torch.nn.functional.pad(torch.from_numpy(points), (1, 0))
    video = as_video(list(frames)).expand(-1, 3, -1, -1)
    expected = slide(network, video, queries, 1).positions_px.numpy()
    np.testing.assert_allclose(second[..., :2].transpose(1, 0, 2), expected[:, 16:], atol=1e-3)
    early = slide(network, video[:16], queries, 1).positions_px.numpy()  # before the second window revised them
    np.testing.assert_allclose(first[..., :2].transpose(1, 0, 2), early[:, 1:], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_short_window_can_be_gone_on_from(name: str) -> None:
    torch.manual_seed(0)
    build, run, _ = MODELS[name]
    engine = TorchWindowed(name, calm(build()), run, (64, 64), 8)
    frames = list(drifting_speckle(14, 64))
    going = engine.begin(frames[0], np.float32([[20, 30], [40, 25]]))
    done = [going.follow(frames[1:4]), going.follow(frames[4:6]), going.follow(frames[6:13])]
    assert [len(part) for part in done] == [3, 2, 7]
    assert np.isfinite(np.concatenate(done)).all()


def test_a_model_without_weights_says_how_to_give_them() -> None:
    with pytest.raises(EngineError, match="give a checkpoint with --weights FILE"):
        open_windowed(ModelConfig(name="pips"))


def served(weights: Path) -> DaemonConfig:
    model = ["model.name=echotracker", f"model.weights={weights}", f"model.window={WINDOW}"]
    return load_config(None, ["frames.queue=256", *model, *ANY_PORT])


@pytest.fixture
def daemon(weights: Path) -> Iterator[tuple[Daemon, Client]]:
    config = served(weights)
    daemon = Daemon(config, open_windowed(config.model))
    ends = daemon.bind()
    thread = threading.Thread(target=daemon.run)
    thread.start()
    client = Client(ends.frames, ends.results, ends.control, "probe")
    yield daemon, client
    daemon.stop()
    thread.join(WAIT_MS / 1000)
    assert not thread.is_alive()
    client.close()


def test_the_daemon_publishes_late_frames_with_their_own_numbers(daemon: tuple[Daemon, Client]) -> None:
    _, client = daemon
    frames = drifting_speckle(14, 256)

    def send(seq: int) -> None:
        assert client.frames.poll(WAIT_MS, zmq.POLLOUT)
        assert client.send_frame(seq, frames[min(seq, 13)].tobytes(), 256, 256)

    def next_track(timeout_ms: int) -> tuple[dict, list] | None:
        while (message := client.receive(timeout_ms)) is not None:
            if message[0] == "track":
                return message[1], message[2]
        return None

    heard = None
    while heard is None:  # a subscription needs a moment
        send(0)
        heard = next_track(200)
    assert client.request("describe", WAIT_MS)["result"]["delay_frames"] == WINDOW - 2
    client.request("set_points", WAIT_MS, stream="probe", points=grid().tolist(), kind="points")
    for seq in range(1, 14):
        send(seq)
    tracks = [next_track(WAIT_MS) for _ in range(10)]  # two windows of five
    # No frame comes to fill the third window: after a moment of silence the last three are answered as they are.
    tracks += [next_track(WAIT_MS) for _ in range(3)]
    assert [header["seq"] for header, _ in tracks] == list(range(1, 14))
    assert all(len(points) == 16 for _, points in tracks)
    assert all(header["latency_ms"]["total"] >= header["latency_ms"]["match"] for header, _ in tracks)


def test_rt_track_runs_a_windowed_model_forward_and_backward(weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", drifting_speckle(10, 256))
    (tmp_path / "points.json").write_text('{"frame": 4, "kind": "points", "points": [[100, 120], [140, 90]]}')
    told = [str(tmp_path / "clip.npy"), "--points", str(tmp_path / "points.json"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(rt_track, [*told, "--model", "echotracker", "--weights", str(weights), "--fps", "50"])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out" / "tracks.npz") as stored:
        tracks = stored["tracks"]
    assert tracks.shape == (2, 10, 2)
    np.testing.assert_allclose(tracks[:, 4], [[100, 120], [140, 90]], atol=1e-4)
    assert np.isfinite(tracks).all()
