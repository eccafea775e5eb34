"""Points files: where someone clicked, in clip pixels.

`{"frame": 0, "points": [[x, y], ...], "kind": "contour" | "points", "segments": 6}`; further keys are ignored.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.update import GroupKind

_MIN_POINTS: dict[str, int] = {"contour": 3, "points": 1}
MAX_SEGMENTS = 18
_FAR_PX = 1e6  # refuses NaN, infinity and numbers that no float32 holds, in one comparison


@dataclass(frozen=True)
class PointsFile:
    """Query points drawn on one frame."""

    frame: int  # index into the clip, from 0
    points: FloatArray  # (N, 2) x, y in clip pixels
    kind: GroupKind
    segments: int  # contours only


def read_points(path: str | Path, geometry: Geometry | None = None, frame_count: int | None = None) -> PointsFile:
    """Read and check a points file.

    geometry     of the clip: every point must lie on its image
    frame_count  of the clip: `frame` must be one of its frames
    Raises InputError that names the first thing wrong.
    """
    path = Path(path).expanduser()
    raw = _read_json(path)
    kind = _kind(path, raw.get("kind", "points"))
    points = _points(path, raw.get("points"), kind)
    frame = _whole_number(path, "frame", raw.get("frame", 0), 0, None)
    segments = _whole_number(path, "segments", raw.get("segments", 6), 1, MAX_SEGMENTS)
    if geometry is not None:
        _check_inside(path, points, geometry)
    if frame_count is not None and frame >= frame_count:
        raise InputError(f"{path}: frame {frame} does not exist; the clip has frames 0..{frame_count - 1}")
    return PointsFile(frame, points, kind, segments)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a points file (JSON with frame, points and kind)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a points file (JSON)") from error
    except (ValueError, RecursionError) as error:  # json and unicode errors are ValueErrors
        raise InputError(f"{path}: is not JSON ({' '.join(str(error).split())}); write it as UTF-8 JSON") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a map with frame, points and kind, found {type(raw).__name__}")
    return raw


def _kind(path: Path, value: Any) -> GroupKind:
    kinds: tuple[GroupKind, ...] = get_args(GroupKind)
    for kind in kinds:
        if value == kind:
            return kind
    raise InputError(f"{path}: kind is {value!r}, expected {' or '.join(repr(kind) for kind in kinds)}")


def _points(path: Path, value: Any, kind: Literal["contour", "points"]) -> FloatArray:
    if not isinstance(value, list):
        raise InputError(f"{path}: 'points' must be a list of [x, y] pairs; add one")
    if len(value) < _MIN_POINTS[kind]:
        raise InputError(f"{path}: {len(value)} points are too few; {kind} needs at least {_MIN_POINTS[kind]}")
    for i, pair in enumerate(value):
        if not _is_pair(pair):
            raise InputError(f"{path}: point {i} is {pair!r}; every point must be two finite numbers [x, y]")
    return np.asarray(value, np.float32)


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < _FAR_PX for v in pair)
    )


def _whole_number(path: Path, name: str, value: Any, low: int, high: int | None) -> int:
    is_good = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not is_good or (high is not None and value > high):
        allowed = f"{low}..{high}" if high is not None else f"{low} or more"
        raise InputError(f"{path}: {name} is {value!r}; expected a whole number, {allowed}")
    return int(value)


def _check_inside(path: Path, points: FloatArray, geometry: Geometry) -> None:
    outside = np.flatnonzero(~geometry.contains(points))
    if outside.size:
        i = int(outside[0])
        x, y = points[i]
        raise InputError(
            f"{path}: point {i} ({x:.1f}, {y:.1f}) lies outside the {geometry.width_px} x {geometry.height_px} image; "
            "give points in pixels of this clip"
        )
