"""The viewers against a scripted server: exact tracks go in, pictures come out."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from scripted_server import BEAT_FRAMES, SIZE_PX, ScriptedServer, picture_at
from typer.testing import CliRunner

from specktrack.rt.errors import InputError
from specktrack.rt.frame_index import read_index
from specktrack.tools.client import ask
from specktrack.tools.memory import FrameMemory
from specktrack.tools.receiver import Receiver, Shown
from specktrack.tools.view import app


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def test_every_track_is_shown_with_the_picture_of_its_own_frame(server: ScriptedServer) -> None:
    seen: list[tuple[int, int | None]] = []
    with Receiver(server.results, server.frames) as receiver:
        while len(seen) < 20:
            for event in receiver.events(2000):
                if isinstance(event, Shown):
                    shown = None if event.pixels is None else read_index(event.pixels)
                    seen.append((event.track.header.seq, shown))
    matched = [pair for pair in seen if pair[1] is not None]
    assert len(matched) >= 15
    assert all(track == picture for track, picture in matched)


def test_a_stream_becomes_a_video_with_as_many_frames(server: ScriptedServer, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "live.mp4"
    result = CliRunner().invoke(app, ["--headless", "--out", str(out), "--frames-count", "50", *server.options])
    assert result.exit_code == 0, result.output
    assert "50 frames" in result.output
    assert "0 missing" in result.output
    assert "Research use only" in result.output
    capture = cv2.VideoCapture(str(out))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 50
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(50, abs=0.5)
    capture.release()


def test_without_pictures_the_tracks_are_drawn_on_black(tmp_path: Path, server: ScriptedServer) -> None:
    out = tmp_path / "live.png"
    options = ["--results", server.results, "--frames", "", "--control", server.control]
    result = CliRunner().invoke(app, ["--headless", "--out", str(out), "--frames-count", "3", *options])
    assert result.exit_code == 0, result.output
    assert "3 frames, 0 with picture" in result.output
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture[400:420, 20:40].max() < 20  # nothing but black beside the contour


def test_frames_of_unknown_size_are_said_instead_of_guessed(tmp_path: Path, server: ScriptedServer) -> None:
    options = ["--results", server.results, "--frames", "", "--control", "tcp://127.0.0.1:9"]
    result = CliRunner().invoke(app, ["--headless", "--out", str(tmp_path / "live.png"), *options])
    assert isinstance(result.exception, InputError)
    assert "size of the frames" in str(result.exception)


def test_points_of_a_file_are_set_on_the_frame_they_were_drawn_on(server: ScriptedServer, tmp_path: Path) -> None:
    server.has_points = False
    points = tmp_path / "points.json"
    points.write_text(json.dumps({"frame": 2, "kind": "contour", "points": [[90, 250], [160, 60], [230, 250]]}))
    options = ["--points", str(points), "--loop-length", str(BEAT_FRAMES), "--frames-count", "5", *server.options]
    result = CliRunner().invoke(app, ["--headless", "--out", str(tmp_path / "live.mp4"), *options])
    assert result.exit_code == 0, result.output
    asked = next(request["args"] for request in server.requests if request["cmd"] == "set_points")
    assert asked["seq"] % BEAT_FRAMES == 2
    assert asked["kind"] == "contour"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--headless"], "--out"),
        (["--headless", "--out", "live.gif"], "ending in .mp4 or .png"),
        (["--headless", "--out", "live.mp4", "--results", "nowhere"], "--results nowhere"),
        (["--points", "nothing.json", "--headless", "--out", "live.mp4"], "no such file"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


def test_without_a_display_the_window_says_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = CliRunner().invoke(app, [])
    assert isinstance(result.exception, InputError)
    assert "rt-view --web" in str(result.exception)


def test_a_server_that_is_not_there_is_said_instead_of_waited_for() -> None:
    with pytest.raises(InputError, match="is rt-serve running"):
        ask("tcp://127.0.0.1:9", "ping", {}, timeout_s=0.05)


def test_a_contour_drawn_slowly_lands_on_the_frame_that_looks_the_same() -> None:
    memory = FrameMemory()
    for seq in range(30):
        memory.add(seq, picture_at(seq))
    memory.hold(12)
    for seq in range(30, 300):
        memory.add(seq, picture_at(seq))
    assert memory.showing(299) == 299
    assert memory.showing(12) % BEAT_FRAMES == 12
    with pytest.raises(InputError, match="draw the contour again"):
        memory.showing(13)


def test_a_contour_drawn_on_another_view_is_refused() -> None:
    memory = FrameMemory()
    memory.add(0, picture_at(0))
    memory.hold(0)
    rng = np.random.default_rng(3)
    for seq in range(1, 150):
        memory.add(seq, rng.integers(0, 255, (SIZE_PX, SIZE_PX), np.uint8))
    with pytest.raises(InputError, match="changed too much"):
        memory.showing(0)
