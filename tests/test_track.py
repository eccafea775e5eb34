import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from specktrack.rt.clip import open_clip
from specktrack.rt.config import SessionConfig
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.errors import InputError
from specktrack.rt.offline import track_clip
from specktrack.rt.points import read_points
from specktrack.rt.track import app

SIZE_PX = 256
N_FRAMES = 16
MIDDLE = (SIZE_PX - 1) / 2
POINTS = [[100.0, 90.0], [150.0, 120.0], [120.0, 170.0]]


def moved_at(frame: int) -> tuple[float, float]:
    """How far the tissue has moved by a frame: a slow circle."""
    angle = 2 * np.pi * frame / N_FRAMES
    return float(7 * (1 - np.cos(angle))), float(7 * np.sin(angle))


def shrunk_at(frame: int) -> float:
    """How far the tissue is shrunk about its middle by a frame."""
    return 1.0 - 0.1 * float(np.sin(np.pi * frame / N_FRAMES))


def film(is_shrinking: bool = False) -> NDArray[np.uint8]:
    """A speckle texture that moves, or shrinks, exactly."""
    noise = np.random.default_rng(5).integers(0, 255, (SIZE_PX, SIZE_PX)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 10, 240, cv2.NORM_MINMAX)
    frames = []
    for k in range(N_FRAMES):
        s, (dx, dy) = (shrunk_at(k), (0.0, 0.0)) if is_shrinking else (1.0, moved_at(k))
        matrix = np.array([[s, 0, (1 - s) * MIDDLE + dx], [0, s, (1 - s) * MIDDLE + dy]])
        frames.append(cv2.warpAffine(texture, matrix, (SIZE_PX, SIZE_PX), borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames).astype(np.uint8)


def write(folder: Path, is_shrinking: bool = False, **points: Any) -> tuple[Path, Path]:
    clip, file = folder / "clip.npz", folder / "points.json"
    np.savez(clip, frames=film(is_shrinking), frame_rate_hz=40.0, mm_per_px=np.array([0.5, 0.5]))
    file.write_text(json.dumps({"frame": 0, "points": POINTS, "kind": "points"} | points))
    return clip, file


def run(clip: Path, points: Path, out: Path, *options: str) -> Any:
    return CliRunner().invoke(
        app, [str(clip), "--points", str(points), "--out", str(out), "--model", "block", *options]
    )


@pytest.mark.parametrize("query_frame", [0, 7, N_FRAMES - 1])
def test_points_are_followed_from_the_drawn_frame_to_both_ends_of_the_clip(tmp_path: Path, query_frame: int) -> None:
    clip, points = write(tmp_path, frame=query_frame)
    result = run(clip, points, tmp_path / "out", "--no-overlay")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out" / "tracks.npz") as found:
        tracks = found["tracks"]
        assert int(found["query_frame"]) == query_frame
    where = np.array([moved_at(k) for k in range(N_FRAMES)])
    truth = np.array(POINTS)[:, None] + (where - where[query_frame])[None]
    np.testing.assert_allclose(tracks[:, query_frame], POINTS, atol=1e-4)
    assert np.median(np.linalg.norm(tracks - truth, axis=-1)) < 0.7


def test_tracks_npz_holds_exactly_what_is_promised(tmp_path: Path) -> None:
    clip, points = write(tmp_path)
    assert run(clip, points, tmp_path / "out", "--no-overlay").exit_code == 0
    with np.load(tmp_path / "out" / "tracks.npz") as found:
        arrays = {name: found[name] for name in found.files}
    assert set(arrays) == {"tracks", "confidence", "time_s", "phase", "strain_percent", "query_frame"}
    assert arrays["tracks"].shape == (3, N_FRAMES, 2)
    assert arrays["tracks"].dtype == np.float32
    assert arrays["confidence"].shape == (3, N_FRAMES)
    np.testing.assert_allclose(arrays["time_s"], np.arange(N_FRAMES) / 40.0, atol=1e-6)
    assert arrays["phase"].shape == arrays["strain_percent"].shape == (N_FRAMES,)
    assert np.isnan(arrays["phase"]).all()  # half a second holds no beat


def test_without_a_beat_strain_counts_from_the_drawn_frame_and_says_so(tmp_path: Path) -> None:
    angle = np.linspace(0, np.pi, 15)
    contour = np.stack([MIDDLE - 60 * np.cos(angle), MIDDLE + 40 - 90 * np.sin(angle)], 1).tolist()
    clip, points = write(tmp_path, is_shrinking=True, points=contour, kind="contour", segments=3)
    result = run(clip, points, tmp_path / "out", "--no-overlay")
    assert result.exit_code == 0, result.output
    assert "since frame 0" in result.output
    with (tmp_path / "out" / "strain.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N_FRAMES
    assert {row["zero_at"] for row in rows} == {"query_frame"}
    assert float(rows[0]["strain_percent"]) == pytest.approx(0, abs=1e-3)
    assert float(rows[N_FRAMES // 2]["strain_percent"]) == pytest.approx(-10, abs=1.5)
    assert [name for name in rows[0] if name.startswith("segment")] == [f"segment_{i}_percent" for i in (1, 2, 3)]


def test_a_contour_is_resampled_evenly_and_keeps_its_ends(tmp_path: Path) -> None:
    clip, points = write(tmp_path, kind="contour")
    engine = BlockEngine()
    tracked = track_clip(open_clip(clip), read_points(points), engine, SessionConfig(), 40.0)
    engine.close()
    assert tracked.points.shape == (N_FRAMES, 61, 3)
    np.testing.assert_allclose(tracked.points[0, [0, -1], :2], [POINTS[0], POINTS[-1]], atol=1e-3)


def test_the_overlay_video_has_every_frame(tmp_path: Path) -> None:
    clip, points = write(tmp_path)
    result = run(clip, points, tmp_path / "out")
    assert result.exit_code == 0, result.output
    capture = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == N_FRAMES
    capture.release()


def test_progress_is_told_once_for_every_frame_in_either_direction(tmp_path: Path) -> None:
    clip, points = write(tmp_path, frame=5)
    steps: list[int] = []
    engine = BlockEngine()
    track_clip(open_clip(clip), read_points(points), engine, SessionConfig(), 40.0, lambda: steps.append(1))
    engine.close()
    assert len(steps) == N_FRAMES + 5


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--weights", "x.onnx"], "block matching has no weights"),
        (["--model", "specknet-s", "--weights", "nothing.onnx"], "no such file"),
        (["--model", "mine.onnx", "--weights", "x.onnx"], "give only one"),
        (["--engine", "abacus"], "--engine abacus"),
        (["--fps", "0"], "--fps 0"),
        (["--mm-per-px", "-1"], "--mm-per-px"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], complaint: str) -> None:
    clip, points = write(tmp_path)
    result = run(clip, points, tmp_path / "out", *options)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


def test_weights_that_were_never_exported_are_told_how(tmp_path: Path) -> None:
    clip, points = write(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"x")
    result = run(clip, points, tmp_path / "out", "--model", "specknet-s", "--weights", str(tmp_path / "model.pt"))
    assert isinstance(result.exception, InputError)
    assert "export-trt" in str(result.exception)


def test_a_frame_or_point_beyond_the_clip_is_refused(tmp_path: Path) -> None:
    clip, points = write(tmp_path, frame=N_FRAMES)
    assert isinstance(run(clip, points, tmp_path / "out").exception, InputError)
    clip, points = write(tmp_path, points=[[SIZE_PX + 1, 3]])
    result = run(clip, points, tmp_path / "out")
    assert isinstance(result.exception, InputError)
    assert "point 0" in str(result.exception)


def test_bad_input_ends_with_code_two_and_one_sentence(tmp_path: Path) -> None:
    code = "from specktrack.rt.cli import track_main; track_main()"
    arguments = ["nothing.mp4", "--points", "nothing.json", "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: nothing.mp4: no such file")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
