"""Recorded clips: videos and numpy files become grey frames, one at a time.

A video is decoded while it is iterated, so a long one never lies in memory; every pass decodes it again.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt import recording
from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.preprocess import to_grey

GreyFrame = NDArray[np.uint8]  # (H, W)

MIN_SIDE_PX = 16
_SNIFF_BYTES = 4096


@dataclass(frozen=True)
class Clip:
    """A clip that was opened and checked; `frames()` starts a new pass each time."""

    source: Path
    geometry: Geometry
    frame_count: int  # what the file promises; a damaged video may hold fewer
    frame_rate_hz: float | None
    frames: Callable[[], Iterator[GreyFrame]]  # (H, W) uint8, oldest first


def open_clip(source: str | Path) -> Clip:
    """Open a video, an .npy or an .npz clip.

    .npy  [T, H, W] grey or [T, H, W, 3] RGB, uint8
    .npz  the same under `frames`, with optional `frame_rate_hz` and `mm_per_px` [2] (x, y)
    DICOM (.dcm or any name), where pydicom is installed (dicom.py)
    .rec  a recording of rt-serve (recording.py), up to where its frames change size
    Raises InputError for anything that cannot be read as at least one whole frame.
    """
    from specktrack.rt import dicom  # which makes clips itself

    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file; give an existing video, .npz or .npy clip")
    if not path.is_file():
        raise InputError(f"{path}: is a folder, not a clip; name one video, .npz or .npy file in it")
    match path.suffix.lower():
        case ".npy":
            return _array_clip(path, _load(path), None, None)
        case ".npz":
            return _npz_clip(path)
        case recording.SUFFIX:
            return _recorded_clip(path)
        case _:
            return dicom.dicom_clip(path) if dicom.is_dicom(path) else _video_clip(path)


def _load(path: Path) -> Any:
    """np.load without pickle, its many exceptions made one sentence."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a readable numpy file; write it with np.save or np.savez, without objects"
        ) from error


def _npz_clip(path: Path) -> Clip:
    archive = _load(path)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: named .npz but holds a single array; rename it to .npy")
    with archive:
        names = archive.files
        if "frames" not in names:
            raise InputError(f"{path}: no array named 'frames' in it, found {', '.join(names) or 'nothing'}; add one")
        frames = _member(path, archive, "frames")
        rate = _member(path, archive, "frame_rate_hz") if "frame_rate_hz" in names else None
        spacing = _member(path, archive, "mm_per_px") if "mm_per_px" in names else None
    return _array_clip(path, frames, _frame_rate(path, rate), _mm_per_px(path, spacing))


def _member(path: Path, archive: "np.lib.npyio.NpzFile", name: str) -> Any:
    try:
        return archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: '{name}' cannot be read ({error}); write it again as a plain numeric array"
        ) from error


def _frame_rate(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or value.item() <= 0:
        raise InputError(f"{path}: frame_rate_hz must be one number above 0, found {value.tolist()!r}")
    return float(value.item())


def _mm_per_px(path: Path, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if value.shape != (2,) or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or (value <= 0).any():
        raise InputError(f"{path}: mm_per_px must be two numbers above 0 (x, y), found {value.tolist()!r}")
    return float(value[0]), float(value[1])


def _array_clip(path: Path, frames: Any, rate_hz: float | None, mm_per_px: tuple[float, float] | None) -> Clip:
    if not isinstance(frames, np.ndarray):
        raise InputError(f"{path}: named .npy but holds several arrays; rename it to .npz")
    if frames.dtype.kind == "f" and np.isnan(frames).any():
        raise InputError(f"{path}: frames hold NaN; replace missing pixels by 0 and save the frames as uint8")
    if frames.dtype != np.uint8:
        raise InputError(f"{path}: frames are {frames.dtype}, expected uint8; scale them to 0..255 and save as uint8")
    if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
        raise InputError(f"{path}: frames have shape {frames.shape}, expected [T, H, W] grey or [T, H, W, 3] RGB")
    if frames.shape[0] == 0:
        raise InputError(f"{path}: the clip holds no frames; record at least one")
    check_size(path, frames.shape[1], frames.shape[2])
    geometry = Geometry(frames.shape[1], frames.shape[2], mm_per_px)
    return Clip(path, geometry, frames.shape[0], rate_hz, lambda: map(to_grey, frames))


def check_size(path: Path, height: int, width: int) -> None:
    """Raises InputError for pictures too small to track anything in."""
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"{path}: frames are {width} x {height} pixels; at least {MIN_SIDE_PX} on a side are needed")


def _recorded_clip(path: Path) -> Clip:
    first = next(recording.recorded_frames(path), None)
    if first is None:
        raise InputError(f"{path}: no frame is in this recording; record while frames arrive")

    def alike() -> Iterator[Frame]:
        return takewhile(lambda frame: frame.geometry == first.geometry, recording.recorded_frames(path))

    times = np.array([frame.t_acq_ns for frame in alike()])
    steps_ns = np.diff(times)
    rate_hz = first.frame_rate_hz or (float(1e9 / np.median(steps_ns)) if (steps_ns > 0).any() else None)
    return Clip(path, first.geometry, len(times), rate_hz, lambda: (to_grey(f.pixels) for f in alike()))


def _video_clip(path: Path) -> Clip:
    _refuse_text(path)
    with _video(path) as capture:
        is_read, first = capture.read()
        if not is_read:
            raise InputError(f"{path}: no frame can be decoded; check that it plays, or convert it to H.264 .mp4")
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    height, width = first.shape[:2]
    check_size(path, height, width)
    is_known = np.isfinite(rate_hz) and rate_hz > 0
    return Clip(path, Geometry(height, width), max(count, 1), rate_hz if is_known else None, lambda: _decode(path))


def _refuse_text(path: Path) -> None:
    """FFmpeg gladly plays a text file as a terminal recording, which nobody means."""
    with path.open("rb") as file:
        head = file.read(_SNIFF_BYTES)
    if not head:
        raise InputError(f"{path}: the file is empty; give a video, .npz or .npy clip")
    if b"\0" not in head and not head.startswith(b"YUV4MPEG2"):
        raise InputError(f"{path}: is not a video; give a video (.mp4, .avi, .mkv, ...), .npz or .npy clip")


@contextmanager
def _video(path: Path) -> Iterator[cv2.VideoCapture]:
    """An open decoder. The libraries' own messages are silenced: the caller gets one sentence instead."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: is not a video that can be decoded; give an .mp4, .avi, .mkv, .npz or .npy clip")
        yield capture
    finally:
        capture.release()


def _decode(path: Path) -> Iterator[GreyFrame]:
    with _video(path) as capture:
        while True:
            is_read, frame = capture.read()
            if not is_read:
                return
            yield frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
