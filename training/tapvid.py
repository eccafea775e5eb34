"""Clips in the layout of TAP-Vid, saved as `.npz`: brought to the fields of our training clip (docs/clip-format.md)."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError

ASSUMED_RATE_HZ = 50.0  # the layout has no frame rate, and training needs none
LARGEST_UNIT = 2.0  # visible coordinates all below this are shares of the frame: no clip lives in two pixels

Fields = dict[str, NDArray[Any]]


def is_tapvid(fields: Fields) -> bool:
    """TAP-Vid calls its frames `video`."""
    return "video" in fields and "frames" not in fields


def from_tapvid(path: Path, fields: Fields) -> Fields:
    """Fields of a training clip; raises InputError with one sentence that names the file and what was found.

    TAP-Vid measures from the edges of the frame, as shares of width and height or in pixels: the centre of the first
    pixel lies at 0.5 there and at 0 here. Colour becomes grey.
    """
    key = "points" if "points" in fields and "target_points" not in fields else "target_points"
    missing = [name for name in (key, "occluded") if name not in fields]
    if missing:
        wanted = "a TAP-Vid clip has video, target_points, occluded"
        raise InputError(f"{path}: {', '.join(missing)} missing; {wanted}")
    video, points, occluded = fields["video"], fields[key], fields["occluded"]
    _check(path, key, video, points, occluded)
    height, width = video.shape[1:3]
    visible = ~occluded.astype(bool)
    shown = points[visible]
    is_share = bool(len(shown)) and not (np.abs(shown[np.isfinite(shown)]) >= LARGEST_UNIT).any()
    scale = np.array([width, height] if is_share else [1, 1], np.float64)
    others = {name: value for name, value in fields.items() if name not in ("video", key, "occluded", "query_points")}
    return {
        "frame_rate_hz": np.array(ASSUMED_RATE_HZ),
        **_query_frame(path, fields, len(points)),
        **others,
        "frames": _grey(video),
        "tracks": (points * scale - 0.5).astype(np.float32),
        "visible": visible,
    }


def _check(path: Path, key: str, video: NDArray[Any], points: NDArray[Any], occluded: NDArray[Any]) -> None:
    is_grey, is_colour = video.ndim == 3, video.ndim == 4 and video.shape[-1] in (1, 3)
    if video.dtype != np.uint8 or not (is_grey or is_colour):
        found = f"{video.dtype} {list(video.shape)}"
        raise InputError(f"{path}: video must be uint8 [T, H, W] or [T, H, W, 3], found {found}")
    if points.ndim != 3 or points.shape[1:] != (len(video), 2) or points.dtype.kind not in "fiu":
        found = f"{points.dtype} {list(points.shape)}"
        raise InputError(f"{path}: {key} must be float32 [N, {len(video)}, 2] as x, y, found {found}")
    if occluded.shape != points.shape[:2] or occluded.dtype.kind not in "biu":
        found = f"{occluded.dtype} {list(occluded.shape)}"
        raise InputError(f"{path}: occluded must be bool {list(points.shape[:2])}, found {found}")


def _grey(video: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if video.ndim == 3:
        return video
    if video.shape[-1] == 1 or not video.size:
        return video[..., 0]
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in video])


def _query_frame(path: Path, fields: Fields, n_points: int) -> Fields:
    """The frame of the query points (N, 3) t, y, x when it is the same for all."""
    if "query_points" not in fields:
        return {}
    query = fields["query_points"]
    if query.shape != (n_points, 3) or query.dtype.kind not in "fiu" or not np.isfinite(query).all():
        found = f"{query.dtype} {list(query.shape)}"
        raise InputError(f"{path}: query_points must be finite [{n_points}, 3] as t, y, x, found {found}")
    frames = np.unique(query[:, 0])
    return {"query_frame": frames.astype(np.int64)} if len(frames) == 1 else {}
