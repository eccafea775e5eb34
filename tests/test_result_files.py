"""From a clip of several beats to beats.json and a bull's eye, through the commands themselves."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shrinking import RATE_HZ, shrinking
from typer.testing import CliRunner

from specktrack.rt import bullseye_cli, track
from specktrack.rt.walls import segment_names


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What rt-track wrote about a wall that shortens by 12 % in a four-chamber view."""
    folder = tmp_path_factory.mktemp("tracked")
    frames, contour = shrinking(beats=6)
    np.savez(folder / "clip.npz", frames=frames, frame_rate_hz=RATE_HZ, mm_per_px=np.array([0.7, 0.7]))
    drawn = {"frame": 0, "kind": "contour", "segments": 6, "points": contour[::4, 0].tolist()}
    (folder / "points.json").write_text(json.dumps(drawn))
    files = [str(folder / "clip.npz"), "--points", str(folder / "points.json"), "--out", str(folder / "out")]
    options = ["--model", "block", "--view", "a4c", "--no-overlay"]
    result = CliRunner().invoke(track.app, files + options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "out"


@pytest.fixture(scope="module")
def content(tracked: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((tracked / "beats.json").read_text())
    return loaded


def test_the_beats_file_says_what_was_measured_and_how(content: dict[str, Any]) -> None:
    assert content["view"] == "a4c"
    assert content["segment_names"] == list(segment_names("a4c"))
    assert content["frame_rate_hz"] == RATE_HZ
    assert content["reanchored"] is True
    assert "end-diastole" in content["method"]["strain"]
    assert {"version", "model", "engine", "notice"} <= set(content)


def test_the_average_is_that_of_the_accepted_beats(content: dict[str, Any]) -> None:
    values = [beat["gls_percent"] for beat in content["beats"] if beat["accepted"]]
    assert len(values) >= 2
    assert content["average"]["gls_percent"] == pytest.approx(np.mean(values))
    assert content["average"]["n_beats"] == len(values)
    assert content["average"]["gls_percent"] == pytest.approx(-12.0, abs=1.5)


def test_every_beat_has_its_curves_its_times_and_reasons(content: dict[str, Any]) -> None:
    for beat in content["beats"]:
        n_frames = beat["next_ed_frame"] - beat["ed_frame"] + 1
        assert len(beat["strain_percent"]) == len(beat["rate_per_s"]) == n_frames
        assert len(beat["segments_percent"]) == len(beat["segments_why"]) == len(beat["quality"]) == 6
        assert set(beat["peak_rates_per_s"]) == {"systolic", "early_filling", "atrial"}
        assert beat["retracked"] is True
        assert "tapse_mm" not in beat


def test_the_last_beat_of_the_clip_is_settled_too(content: dict[str, Any], tracked: Path) -> None:
    with (tracked / "strain.csv").open() as file:
        last_row = list(csv.DictReader(file))[-1]
    assert content["beats"][-1]["beat"] == int(last_row["beat"]) - 1


def test_three_views_of_it_make_a_bulls_eye(tracked: Path, tmp_path: Path) -> None:
    folders = []
    for view in ("a4c", "a2c", "a3c"):
        beats = json.loads((tracked / "beats.json").read_text())
        (tmp_path / view).mkdir()
        (tmp_path / view / "beats.json").write_text(json.dumps({**beats, "view": view}))
        folders.append(str(tmp_path / view))
    picture = tmp_path / "heart.png"
    CliRunner().invoke(bullseye_cli.app, [*folders, "--out", str(picture)], catch_exceptions=False)
    values = json.loads(picture.with_suffix(".json").read_text())["models"]["17"]
    known = [value for value in values.values() if value is not None]
    assert len(known) >= 14
    assert known == pytest.approx([-12.0] * len(known), abs=2.5)


def test_an_unknown_view_is_refused_before_anything_is_tracked(tracked: Path, tmp_path: Path) -> None:
    clip, points = tracked.parent / "clip.npz", tracked.parent / "points.json"
    options = ["--points", str(points), "--out", str(tmp_path / "out"), "--model", "block", "--view", "plax"]
    result = CliRunner().invoke(track.app, [str(clip), *options])
    assert "view plax: unknown; choose one of a4c, a2c, a3c, rv" in str(result.exception)
    assert not (tmp_path / "out").exists()
