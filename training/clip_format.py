"""The training clip: one `.npz` of frames, tracks and truth (documented in docs/clip-format.md).

Files in the layout of TAP-Vid are read too (`tapvid.py`). Nothing is ever unpickled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training.tapvid import from_tapvid, is_tapvid

PICKLES = (".pkl", ".pickle")


@dataclass(frozen=True)
class TrainingClip:
    """An annotated clip; coordinates are pixels of the frames, centres at integers."""

    name: str
    frames: NDArray[np.uint8]  # (T, H, W)
    tracks: FloatArray  # (N, T, 2) x, y
    visible: NDArray[np.bool_]  # (N, T)
    frame_rate_hz: float
    mm_per_px: tuple[float, float] | None
    ed_frames: tuple[int, ...] = ()
    es_frames: tuple[int, ...] = ()
    view: str = ""
    wall_depth: FloatArray | None = None  # (N,) 0 endocardium .. 1 epicardium of the tracked wall, NaN elsewhere
    contour: FloatArray | None = None  # (K, T, 2) true mid-wall contour, base to apex to base
    phase: FloatArray | None = None  # (T,) fraction of the beat from ED to ED, in [0, 1), NaN unknown
    query_frame: int | None = None  # a diastasis frame to query at


def save_clip(path: Path, clip: TrainingClip) -> None:
    """Write whole or not at all: a stopped run leaves no half clip behind."""
    fields: dict[str, Any] = {
        "frames": clip.frames,
        "tracks": clip.tracks.astype(np.float32),
        "visible": clip.visible,
        "frame_rate_hz": np.float64(clip.frame_rate_hz),
        "ed_frames": np.asarray(clip.ed_frames, np.int64),
        "es_frames": np.asarray(clip.es_frames, np.int64),
        "view": np.str_(clip.view),
    }
    if clip.mm_per_px is not None:
        fields["mm_per_px"] = np.asarray(clip.mm_per_px, np.float64)
    for key in ("wall_depth", "contour", "phase"):
        if getattr(clip, key) is not None:
            fields[key] = getattr(clip, key).astype(np.float32)
    if clip.phase is not None:
        fields["phase"][fields["phase"] == 1] = 0  # just below 1 before rounding to float32
    if clip.query_frame is not None:
        fields["query_frame"] = np.int64(clip.query_frame)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **fields)
    partial.replace(path)


def load_clip(path: Path) -> TrainingClip:
    """Read and check one clip; raises InputError with one sentence that names the file and the remedy."""
    return _clip_of(path, _read(path, whole=True))


def check_clip(path: Path, n_frames: int) -> None:
    """Everything that can be checked without decoding the frames, in a few milliseconds; raises InputError.

    n_frames  as many frames as training needs
    """
    found = len(_clip_of(path, _read(path, whole=False)).frames)
    if found < n_frames:
        remedy = "leave it out or train on fewer frames (recent_lags, window_frames)"
        raise InputError(f"{path}: {found} frames, but training needs {n_frames}; {remedy}")


def _clip_of(path: Path, fields: dict[str, NDArray[Any]]) -> TrainingClip:
    if is_tapvid(fields):
        fields = from_tapvid(path, fields)
    missing = [key for key in ("frames", "tracks", "visible", "frame_rate_hz") if key not in fields]
    if missing:
        raise InputError(
            f"{path}: {', '.join(missing)} missing; a training clip has frames, tracks, visible, frame_rate_hz"
        )
    frames, tracks, visible = fields["frames"], fields["tracks"], fields["visible"]
    _check(path, frames, tracks, visible)
    return TrainingClip(
        name=path.stem,
        frames=frames,
        tracks=tracks.astype(np.float32),
        visible=visible.astype(bool),
        frame_rate_hz=_positive(path, fields, "frame_rate_hz", 1)[0],
        mm_per_px=_spacing(path, fields),
        ed_frames=_frame_numbers(path, fields, "ed_frames", len(frames)),
        es_frames=_frame_numbers(path, fields, "es_frames", len(frames)),
        view=str(fields.get("view", "")),
        wall_depth=_fraction(path, fields, "wall_depth", len(tracks)),
        contour=_contour(path, fields, len(frames)),
        phase=_fraction(path, fields, "phase", len(frames), below_one=True),
        query_frame=_query_frame(path, fields, len(frames)),
    )


def _read(path: Path, whole: bool) -> dict[str, NDArray[Any]]:
    """All arrays of the file, frames as zeros of their shape unless `whole`; never unpickles."""
    if path.suffix.lower() in PICKLES:
        raise InputError(_pickle_sentence(path))
    try:
        with path.open("rb") as file:  # numpy leaves a file of its own open when the archive is damaged
            data = np.load(file, allow_pickle=False)
            if not isinstance(data, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {key: data[key] if whole or key not in ("frames", "video") else _blank(data, key) for key in data}
    except Exception as error:  # damaged bytes fail in any of the ways of zipfile, zlib, tokenize and numpy
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable .npz clip ({reason}); write it with numpy.savez") from error


def _blank(data: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    """Zeros that take no memory, with the shape and type that the archive says."""
    assert data.zip is not None  # open as long as the file is
    with data.zip.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{key} holds Python objects")
    return np.broadcast_to(np.zeros((), dtype), shape)


def _pickle_sentence(path: Path) -> str:
    return (
        f"{path}: a pickled file can run code when it is opened and is never read; turn it into .npz clips where you "
        "trust it, numpy.savez(NAME, video=..., target_points=..., occluded=...), see docs/clip-format.md"
    )


def _positive(path: Path, fields: dict[str, NDArray[Any]], key: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers above zero."""
    value = fields[key]
    if value.size != count or value.dtype.kind not in "fiu" or not (np.isfinite(value) & (value > 0)).all():
        raise InputError(f"{path}: {key} must be {count} number{'s' * (count > 1)} above zero, found {value.tolist()}")
    return tuple(float(v) for v in value.ravel())


def _spacing(path: Path, fields: dict[str, NDArray[Any]]) -> tuple[float, float] | None:
    if "mm_per_px" not in fields:
        return None
    x, y = _positive(path, fields, "mm_per_px", 2)
    return x, y


def _frame_numbers(path: Path, fields: dict[str, NDArray[Any]], key: str, n_frames: int) -> tuple[int, ...]:
    """Ascending or not, but frames of this clip."""
    value = fields.get(key, np.zeros(0, np.int64)).ravel()
    if value.size and (value.dtype.kind not in "iu" or value.min() < 0 or value.max() >= n_frames):
        raise InputError(f"{path}: {key} must be frame numbers from 0 to {n_frames - 1}, found {value.tolist()}")
    return tuple(int(i) for i in value)


def _fraction(
    path: Path, fields: dict[str, NDArray[Any]], key: str, count: int, below_one: bool = False
) -> FloatArray | None:
    """`count` numbers from 0 to 1, NaN where unknown."""
    if key not in fields:
        return None
    value = fields[key]
    if value.shape != (count,) or value.dtype.kind not in "fiu":
        raise InputError(f"{path}: {key} must be float32 [{count}], found {value.dtype} {list(value.shape)}")
    wrong = value[(value < 0) | (value > 1) | (below_one & (value == 1))]
    if len(wrong):
        expected = "in [0, 1)" if below_one else "from 0 to 1"
        raise InputError(f"{path}: {key} must be {expected}, or NaN where unknown, found {wrong[0]:g}")
    return value.astype(np.float32)


def _contour(path: Path, fields: dict[str, NDArray[Any]], n_frames: int) -> FloatArray | None:
    """A line through every frame; raises InputError when it is not one."""
    if "contour" not in fields:
        return None
    value = fields["contour"]
    if value.ndim != 3 or value.shape[1:] != (n_frames, 2) or len(value) < 2 or value.dtype.kind not in "fiu":
        found = f"{value.dtype} {list(value.shape)}"
        raise InputError(f"{path}: contour must be float32 [K, {n_frames}, 2] with K at least 2, found {found}")
    if not np.isfinite(value).all():
        raise InputError(f"{path}: contour has NaN or infinite points; give every point in every frame or leave it out")
    return value.astype(np.float32)


def _query_frame(path: Path, fields: dict[str, NDArray[Any]], n_frames: int) -> int | None:
    if "query_frame" not in fields:
        return None
    found = _frame_numbers(path, fields, "query_frame", n_frames)
    if len(found) != 1:
        raise InputError(f"{path}: query_frame must be one frame number, found {list(found)}")
    return found[0]


def _check(path: Path, frames: NDArray[Any], tracks: NDArray[Any], visible: NDArray[Any]) -> None:
    if frames.ndim != 3 or frames.dtype != np.uint8:
        raise InputError(f"{path}: frames must be uint8 [T, H, W], found {frames.dtype} {list(frames.shape)}")
    n_frames, height, width = frames.shape
    if not frames.size:
        raise InputError(f"{path}: frames are empty, {list(frames.shape)}; a clip has at least one frame")
    if tracks.ndim != 3 or tracks.shape[1:] != (n_frames, 2) or tracks.dtype.kind not in "fiu":
        found = f"{tracks.dtype} {list(tracks.shape)}"
        raise InputError(f"{path}: tracks must be float32 [N, {n_frames}, 2] as x, y in pixels, found {found}")
    if not len(tracks):
        raise InputError(f"{path}: no point in it; a training clip has at least one track")
    if visible.shape != tracks.shape[:2] or visible.dtype.kind not in "biu":
        raise InputError(
            f"{path}: visible must be bool {list(tracks.shape[:2])}, found {visible.dtype} {list(visible.shape)}"
        )
    shown = tracks[visible.astype(bool)]
    if not np.isfinite(shown).all():
        raise InputError(f"{path}: a visible point is NaN or infinite; mark it invisible or give its position")
    if len(shown) and ((shown < -0.5).any() or (shown > [width - 0.5, height - 0.5]).any()):
        raise InputError(f"{path}: a visible point lies outside the {width}x{height} frame; mark it invisible there")


def clip_files(folder: Path) -> list[Path]:
    """All clips of a folder in name order, of either layout; raises InputError when there is none."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        pickles = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICKLES)
        if pickles:
            raise InputError(_pickle_sentence(pickles[0]))
        raise InputError(f"{folder}: no .npz clips found; make some with simulate-echo --out {folder} --n 100")
    return files
