"""The training clip: one `.npz` of frames, tracks and truth (documented in docs/clip-format.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray


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
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **fields)
    partial.replace(path)


def load_clip(path: Path) -> TrainingClip:
    """Read and check one clip; raises InputError with one sentence that names the file and the remedy."""
    fields = _read(path)
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
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file; never unpickles."""
    try:
        with path.open("rb") as file:  # numpy leaves a file of its own open when the archive is damaged
            data = np.load(file, allow_pickle=False)
            if not isinstance(data, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {key: data[key] for key in data.files}
    except Exception as error:  # damaged bytes fail in any of the ways of zipfile, zlib, tokenize and numpy
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable .npz clip ({reason}); write it with numpy.savez") from error


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
    """All clips of a folder in name order; raises InputError when there is none."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"{folder}: no .npz clips found; make some with simulate-echo --out {folder} --n 100")
    return files
