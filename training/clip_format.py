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
    try:
        with np.load(path, allow_pickle=False) as data:
            fields = {key: data[key] for key in data.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable .npz clip ({error}); write it with numpy.savez") from error
    missing = [key for key in ("frames", "tracks", "visible", "frame_rate_hz") if key not in fields]
    if missing:
        raise InputError(
            f"{path}: {', '.join(missing)} missing; a training clip has frames, tracks, visible, frame_rate_hz"
        )
    frames, tracks, visible = fields["frames"], fields["tracks"], fields["visible"]
    _check(path, frames, tracks, visible)
    mm = fields.get("mm_per_px")
    return TrainingClip(
        name=path.stem,
        frames=frames,
        tracks=tracks.astype(np.float32),
        visible=visible.astype(bool),
        frame_rate_hz=float(fields["frame_rate_hz"]),
        mm_per_px=(float(mm[0]), float(mm[1])) if mm is not None else None,
        ed_frames=tuple(int(i) for i in fields.get("ed_frames", ())),
        es_frames=tuple(int(i) for i in fields.get("es_frames", ())),
        view=str(fields.get("view", "")),
    )


def _check(path: Path, frames: NDArray[Any], tracks: NDArray[Any], visible: NDArray[Any]) -> None:
    if frames.ndim != 3 or frames.dtype != np.uint8:
        raise InputError(f"{path}: frames must be uint8 [T, H, W], found {frames.dtype} {list(frames.shape)}")
    n_frames, height, width = frames.shape
    if tracks.ndim != 3 or tracks.shape[1:] != (n_frames, 2):
        raise InputError(f"{path}: tracks must be [N, {n_frames}, 2] as x, y in pixels, found {list(tracks.shape)}")
    if visible.shape != tracks.shape[:2]:
        raise InputError(f"{path}: visible must be {list(tracks.shape[:2])}, found {list(visible.shape)}")
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
