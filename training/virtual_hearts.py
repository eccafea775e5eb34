"""Virtual hearts to judge strain on: random ones as a sonographer would record them, rendered once and kept on disk.

Random phantoms (random_phantom.py) also hold what nobody would measure: walls that leave the sector, windows in which
the heart cannot be seen. Whether a heart is assessable is decided before anything is tracked: the whole mid-wall line
lies in the sector at all times, and in the first end-diastolic frame the wall stands out from the cavity.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray
from specktrack.training.heart import Heart
from specktrack.training.phantom import Phantom, PhantomSpec
from specktrack.training.random_phantom import random_spec
from specktrack.training.rhythm import Rhythm
from specktrack.training.strain_config import HeartsConfig

CONTOUR_POINTS = 61
INSIDE_MARGIN_MM = 0.5
STEP_S = 0.06  # between the times at which the wall must be in the sector
CAVITY_SHARES = (0.3, 0.45, 0.6)  # of the way from the middle of the cavity to the wall: where blood is looked at
BLUR_PX = 1.5


@dataclass(frozen=True)
class HeartFilm:
    """A recording of T frames and its truth."""

    name: str
    frames: NDArray[np.uint8]  # (T, H, W)
    contour: FloatArray  # (K, T, 2) true mid-wall line, pixels
    frame_rate_hz: float
    mm_per_px: float
    ed_s: NDArray[np.float64]  # end-diastoles, the first may lie before the first frame
    es_s: NDArray[np.float64]  # end-systole of each beat but the last
    rest_s: NDArray[np.float64]  # middle of diastasis of each beat but the last


def hearts(config: HeartsConfig) -> Iterator[tuple[int, PhantomSpec]]:
    """Assessable hearts without end, each with its seed; the same settings give the same ones."""
    for seed in count(config.seed):
        spec = heart_of(seed, config)
        if is_in_sector(spec, config.seconds) and contrast(spec) >= config.least_contrast:
            yield seed, spec


def heart_of(seed: int, config: HeartsConfig) -> PhantomSpec:
    """The heart of a seed, assessable or not."""
    view = config.views[seed % len(config.views)]
    spec = random_spec(seed, view, config.seconds + 1.0, config.size_px)
    heart = spec.heart
    assert isinstance(heart, Heart)
    if config.regular:
        beat_s = heart.rhythm.ed_s[1] - heart.rhythm.ed_s[0]
        beat_s = min(max(beat_s, 60.0 / 100.0), 60.0 / 50.0)
        regular = Rhythm.regular(60.0 / beat_s, config.seconds + 1.0, heart.rhythm.ed_s[0])
        heart = replace(heart, rhythm=replace(regular, course=heart.rhythm.course))
    return replace(spec, heart=heart, frame_rate_hz=config.frame_rate_hz)


def is_in_sector(spec: PhantomSpec, seconds: float) -> bool:
    """Does the whole mid-wall line lie in the picture, all the time?"""
    line = spec.heart.contour(CONTOUR_POINTS)
    times = np.arange(0.0, seconds, STEP_S)
    return all(bool(spec.imaging.in_sector(spec.heart.position(line, t), INSIDE_MARGIN_MM).all()) for t in times)


def contrast(spec: PhantomSpec) -> float:
    """How many standard deviations the wall is brighter than the cavity in the first end-diastolic frame."""
    phantom = Phantom(spec)
    index = math.ceil(_first(np.array(spec.heart.rhythm.ed_s), 0.0) * spec.frame_rate_hz)
    image = cv2.GaussianBlur(phantom.frame(index).astype(np.float32), (0, 0), BLUR_PX)
    line = phantom.truth(spec.heart.contour(CONTOUR_POINTS), index).numpy().astype(np.float32)
    middle = line.mean(axis=0)
    wall = _read(image, line)
    cavity = np.concatenate([_read(image, middle + share * (line - middle)) for share in CAVITY_SHARES])
    return float((wall.mean() - cavity.mean()) / math.sqrt(0.5 * (wall.var() + cavity.var()) + 1e-6))


def film(seed: int, spec: PhantomSpec, seconds: float, folder: Path) -> HeartFilm:
    """The recording of a heart, from `folder` when it was rendered before."""
    path = folder / f"{spec.heart.view}-{seed}-{seconds:g}s-{spec.frame_rate_hz:g}hz-{spec.imaging.size_px}px.npz"
    try:
        return _load(path)
    except (OSError, ValueError, KeyError, BadZipFile):
        made = _render(path.stem, spec, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **{key: value for key, value in vars(made).items() if key != "name"})
    partial.replace(path)
    return made


def _render(name: str, spec: PhantomSpec, seconds: float) -> HeartFilm:
    phantom, rhythm = Phantom(spec), spec.heart.rhythm
    n_frames = round(seconds * spec.frame_rate_hz)
    line = spec.heart.contour(CONTOUR_POINTS)
    beats = range(len(rhythm.ed_s) - 1)
    with torch.inference_mode():
        frames = np.stack([phantom.frame(k) for k in range(n_frames)])
        walls = torch.stack([phantom.truth(line, k) for k in range(n_frames)], 1).float().numpy()
    return HeartFilm(
        name=name,
        frames=frames,
        contour=walls,
        frame_rate_hz=spec.frame_rate_hz,
        mm_per_px=spec.imaging.mm_per_px,
        ed_s=np.array(rhythm.ed_s),
        es_s=np.array([rhythm.end_systole_s(beat) for beat in beats]),
        rest_s=np.array([rhythm.quiet_s(beat) for beat in beats]),
    )


def _load(path: Path) -> HeartFilm:
    with path.open("rb") as file:
        data = np.load(file, allow_pickle=False)
        arrays: dict[str, Any] = {key: data[key] for key in data.files}
    arrays.update({key: float(arrays[key]) for key in ("frame_rate_hz", "mm_per_px")})
    return HeartFilm(name=path.stem, **arrays)


def _read(image: FloatArray, points: FloatArray) -> FloatArray:
    x, y = (np.ascontiguousarray(points[None, :, axis]) for axis in (0, 1))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR)[0], np.float32)


def _first(times: NDArray[np.float64], after: float) -> float:
    return float(times[times >= after][0])
