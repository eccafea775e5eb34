"""The bull's eye: three views in, a picture and its numbers out; where each segment lies."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from specktrack.rt.bullseye import draw_bullseye, wedges
from specktrack.rt.bullseye_cli import app
from specktrack.rt.drawing import GREY, strain_colour
from specktrack.rt.errors import InputError

SIX = [-16.0, -18.0, -21.0, -22.0, -19.0, -14.0]


def view_folder(
    folder: Path, view: str | None, segments: list[float | None] = SIX, gls: float | None = -18.0, beats: int = 3
) -> Path:
    folder.mkdir()
    average = {"segments_percent": segments, "gls_percent": gls, "n_beats": beats}
    (folder / "beats.json").write_text(json.dumps({"view": view, "average": average}))
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    inferior_scar: list[float | None] = [-3.0, -4.0, -9.0, -20.0, -19.0, None]
    return [
        str(view_folder(tmp_path / "a", "a4c")),
        str(view_folder(tmp_path / "b", "a2c", inferior_scar, -12.0)),
        str(view_folder(tmp_path / "c", "a3c")),
    ]


def run(*arguments: str) -> None:
    CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize(("model", "count"), [(16, 16), (17, 17), (18, 18)])
def test_the_segments_cover_the_disc_once(model: int, count: int) -> None:
    found = wedges(model)
    area = [(w.outer**2 - w.inner**2) * (w.end_deg - w.start_deg) / 360.0 for w in found]
    assert len(found) == count
    assert sum(area) == pytest.approx(1.0)


def test_the_anterior_wall_lies_on_top_and_the_septum_on_the_left() -> None:
    where = {wedge.name: wedge.middle for wedge in wedges(17)}
    apex = where["apex"]
    assert where["basal anterior"][1] < apex[1] - 150
    assert where["basal inferior"][1] > apex[1] + 150
    assert where["mid inferoseptal"][0] < apex[0] - 50
    assert where["mid anterolateral"][0] > apex[0] + 50


def test_every_segment_has_the_colour_of_its_strain_and_a_rejected_one_is_grey() -> None:
    values = {wedge.name: -25.0 + 2 * k for k, wedge in enumerate(wedges(17))}
    picture = draw_bullseye({**values, "mid inferior": None}, 17, "title", [])
    for wedge in wedges(17):
        x, y = (round(v) for v in wedge.middle)
        expected = GREY if wedge.name == "mid inferior" else strain_colour(values[wedge.name])
        assert tuple(int(v) for v in picture[y - 14, x]) == expected, wedge.name


def test_three_views_become_a_picture_and_a_file_of_numbers(three: list[str], tmp_path: Path) -> None:
    run(*three, "--out", str(tmp_path / "heart.png"))
    assert cv2.imread(str(tmp_path / "heart.png")).shape == (640, 960, 3)
    content = json.loads((tmp_path / "heart.json").read_text())
    assert content["gls_percent"] == pytest.approx(-16.0)
    assert content["models"]["17"]["basal inferior"] == -3.0
    assert content["models"]["17"]["basal anterior"] is None
    assert [len(content["models"][key]) for key in ("16", "17", "18")] == [16, 17, 18]


def test_one_view_alone_has_no_global_strain(three: list[str], tmp_path: Path) -> None:
    run(three[0], "--out", str(tmp_path / "heart.png"))
    assert json.loads((tmp_path / "heart.json").read_text())["gls_percent"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": None}, "does not say which view it is; track the clip again with --view"),
        ({"view": "rv"}, "view rv is not one of a4c, a2c, a3c"),
        ({"view": "a4c", "beats": 0}, "has no accepted beat"),
        ({"view": "a4c", "segments": [-1.0] * 3}, "has 3 segments"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = view_folder(tmp_path / "x", **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        run(str(folder), "--out", str(tmp_path / "heart.png"))


def test_a_view_twice_is_refused(three: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two of view a4c"):
        run(three[0], three[0], "--out", str(tmp_path / "heart.png"))


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beats.json: cannot be read .*; give a folder that rt-track wrote"):
        run(str(tmp_path), "--out", str(tmp_path / "heart.png"))


def test_a_picture_needs_the_name_of_one(three: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.png"):
        run(*three, "--out", str(tmp_path / "heart.jpeg"))
    assert np.array_equal(list(tmp_path.glob("heart*")), [])
