import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import Geometry
from specktrack.rt.points import read_points

GEOMETRY = Geometry(64, 128)


def write(folder: Path, **changes: Any) -> Path:
    content = {"frame": 1, "points": [[3, 4], [5.5, 6], [127.4, 63.4]], "kind": "contour", "segments": 6} | changes
    path = folder / "points.json"
    path.write_text(json.dumps(content))
    return path


def test_a_points_file_gives_frame_points_kind_and_segments(tmp_path: Path) -> None:
    points = read_points(write(tmp_path, order="base to apex"), GEOMETRY, 10)
    assert (points.frame, points.kind, points.segments) == (1, "contour", 6)
    assert points.points.dtype == np.float32
    np.testing.assert_allclose(points.points, [[3, 4], [5.5, 6], [127.4, 63.4]])


def test_frame_kind_and_segments_have_defaults(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('{"points": [[1, 2]]}')
    points = read_points(path)
    assert (points.frame, points.kind, points.segments) == (0, "points", 6)


def test_the_first_point_outside_the_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"point 1 \(200\.0, 6\.0\) lies outside the 128 x 64 image"):
        read_points(write(tmp_path, points=[[3, 4], [200, 6], [-9, 9]]), GEOMETRY)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"points": [[1, 2], [float("nan"), 3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], [float("inf"), 3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], [10**400, 3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], [3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], ["3", 3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], [True, 3], [4, 5]]}, "point 1"),
        ({"points": [[1, 2], [3, 4]]}, "contour needs at least 3"),
        ({"points": [], "kind": "points"}, "at least 1"),
        ({"points": "many"}, "list of"),
        ({"kind": "line"}, "'contour' or 'points'"),
        ({"kind": ["contour"]}, "'contour' or 'points'"),
        ({"frame": -1}, "frame is -1"),
        ({"frame": 1.5}, "frame is 1.5"),
        ({"frame": 10}, r"the clip has frames 0\.\.9"),
        ({"segments": 0}, r"1\.\.18"),
        ({"segments": 19}, r"1\.\.18"),
    ],
)
def test_what_is_wrong_in_a_points_file_is_said_in_one_sentence(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        read_points(write(tmp_path, **changes), GEOMETRY, 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"[" * 100_000, b'"text"'])
def test_a_file_that_is_no_points_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "points.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_points(path)


def test_a_missing_points_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path)
