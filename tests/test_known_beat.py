"""A recording of one beat whose events are known: it is measured without the phase, which would need two beats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shrinking import ES_S, PERIOD_S, RATE_HZ, SHRINK, shrinking
from streams import arch
from typer.testing import CliRunner

from specktrack.rt.errors import InputError
from specktrack.rt.known_beat import KnownEvents, frames_of
from specktrack.rt.track import app

ED, ES, NEXT_ED = 0, round(ES_S * RATE_HZ), round(PERIOD_S * RATE_HZ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One beat and one frame of a wall that shortens by twelve percent, and a contour drawn at end-diastole."""
    folder = tmp_path_factory.mktemp("known")
    frames, _ = shrinking(2)
    np.savez(folder / "clip.npz", frames=frames[: NEXT_ED + 1], frame_rate_hz=RATE_HZ, mm_per_px=np.array([0.5, 0.5]))
    drawn = {"frame": 0, "points": arch().tolist(), "kind": "contour"}
    (folder / "contour.json").write_text(json.dumps(drawn))
    (folder / "points.json").write_text(json.dumps(drawn | {"kind": "points"}))
    return folder


def run(folder: Path, out: Path, *options: str, points: str = "contour.json") -> Any:
    files = [str(folder / "clip.npz"), "--points", str(folder / points), "--out", str(out), "--no-overlay"]
    return CliRunner().invoke(app, [*files, *options])


def beats_of(out: Path) -> Any:
    return json.loads((out / "beats.json").read_text())


def test_without_events_one_beat_is_too_short_for_the_phase(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path).exit_code == 0
    assert beats_of(tmp_path)["beats"] == []


def test_a_beat_of_known_events_is_measured_and_its_drift_closed(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path, "--ed", str(ED), "--es", str(ES), "--next-ed", str(NEXT_ED))
    assert result.exit_code == 0, result.output
    said = beats_of(tmp_path)
    (beat,) = said["beats"]
    assert beat["accepted"], beat["why"]
    assert beat["gls_percent"] == pytest.approx(-100 * SHRINK, abs=0.6)
    assert beat["segments_percent"] == pytest.approx([-100 * SHRINK] * 6, abs=1.5)
    assert (beat["ed_frame"], beat["es_frame"], beat["next_ed_frame"]) == (ED, ES, NEXT_ED)
    assert beat["heart_rate_bpm"] == pytest.approx(60 / PERIOD_S, rel=0.01)
    assert beat["drift_percent"] == pytest.approx(0.0, abs=0.5)
    assert said["average"]["gls_percent"] == beat["gls_percent"]
    assert said["method"]["end_systole"] == "as named by the user"


def test_without_the_next_end_diastole_nothing_is_said_of_drift_and_heart_rate(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path, "--ed", str(ED), "--es", str(ES)).exit_code == 0
    said = beats_of(tmp_path)
    (beat,) = said["beats"]
    assert beat["gls_percent"] == pytest.approx(-100 * SHRINK, abs=0.6)
    assert beat["drift_percent"] is None
    assert beat["next_ed_frame"] is None
    assert beat["heart_rate_bpm"] is None
    assert said["average"]["n_beats"] == 1


@pytest.mark.parametrize(
    ("options", "points", "complaint"),
    [
        (["--ed", "0"], "contour.json", "--ed and --es belong together"),
        (["--next-ed", "30"], "contour.json", "--ed and --es belong together"),
        (["--ed", "0", "--es", "14"], "points.json", "needs a contour"),
        (["--ed", "14", "--es", "0"], "contour.json", "expected frames in this order within 0..34"),
        (["--ed", "0", "--es", "14", "--next-ed", "35"], "contour.json", "expected frames in this order within 0..34"),
        (["--ed", "0", "--es", "99"], "contour.json", "expected frames in this order within 0..34"),
        (["--ed", "28", "--es", "30", "--next-ed", "33"], "contour.json", "8 at least from ED on"),
    ],
)
def test_events_that_make_no_beat_are_one_sentence(
    options: list[str], points: str, complaint: str, folder: Path, tmp_path: Path
) -> None:
    result = run(folder, tmp_path / "out", *options, points=points)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_of_a_long_recording_no_more_than_a_beat_is_looked_at() -> None:
    assert frames_of(KnownEvents(10, 30), 500, 50.0) == range(10, 86)
    assert frames_of(KnownEvents(10, 30, 60), 500, 50.0) == range(10, 61)
    assert frames_of(KnownEvents(10, 30), 50, 50.0) == range(10, 50)
