"""Long phantom recordings with every event known, rendered once and kept on disk.

A recording is a training clip (docs/clip-format.md) of several beats whose tracks are the true mid-wall contour; the
events, which need not fall on frames, follow from its specification.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import TrainingClip, load_clip, save_clip
from specktrack.training.dice import Dice
from specktrack.training.phantom import Phantom, PhantomSpec
from specktrack.training.phase_config import Group, PhaseEvalConfig
from specktrack.training.random_phantom import random_spec
from specktrack.training.rhythm import Rhythm

CONTOUR_POINTS = 121
LONG_AGO_S = -10.0  # the last beat of a heart that stands still


@dataclass(frozen=True)
class Recording:
    """One heart to record: everything but the pixels."""

    name: str
    group: Group
    rate_bpm: float
    spec: PhantomSpec
    n_frames: int

    @property
    def duration_s(self) -> float:
        """From the first to the last frame."""
        return (self.n_frames - 1) / self.spec.frame_rate_hz

    @property
    def key(self) -> str:
        """Changes with anything that decides the pixels, except the code that renders them."""
        return hashlib.sha256(repr((self.spec, self.n_frames)).encode()).hexdigest()[:12]

    @property
    def file_name(self) -> str:
        """Where it is kept."""
        return f"{self.name}-{self.key}.npz"

    @property
    def ed_s(self) -> NDArray[np.float64]:
        """End-diastoles within the recording; none of a heart that stands still."""
        times = np.array(self.spec.heart.rhythm.ed_s)
        return times[(times >= 0.0) & (times <= self.duration_s)]

    @property
    def es_s(self) -> NDArray[np.float64]:
        """End-systoles (aortic valve closure) within the recording."""
        rhythm = self.spec.heart.rhythm
        times = np.array([rhythm.end_systole_s(beat) for beat in range(len(rhythm.ed_s) - 1)])
        return times[(times >= 0.0) & (times <= self.duration_s)]


def recordings_of(config: PhaseEvalConfig) -> Iterator[Recording]:
    """Every recording of the settings, always the same ones: a group's hearts do not change when others are added."""
    for group in config.groups:
        seed = config.seed + int(hashlib.sha256(group.name.encode()).hexdigest()[:6], 16)
        number = count()
        for _ in range(group.hearts):
            for rate in group.rates_bpm:
                k = next(number)
                view = config.views[k % len(config.views)]
                name = f"{group.name}-{k:03d}"
                yield _recording(name, group, rate, view, seed + k, config.size_px)


def _recording(name: str, group: Group, rate_bpm: float, view: str, seed: int, size_px: int) -> Recording:
    spec = random_spec(seed, view, group.seconds, size_px)
    rhythm = _rhythm(group, rate_bpm, Dice(torch.Generator().manual_seed(seed)), spec.heart.rhythm)
    heart = replace(spec.heart, rhythm=rhythm)  # type: ignore[type-var]
    spec = replace(spec, heart=heart, frame_rate_hz=group.frame_rate_hz)
    return Recording(name, group, rate_bpm, spec, round(group.seconds * group.frame_rate_hz))


def _rhythm(group: Group, rate_bpm: float, dice: Dice, drawn: Rhythm) -> Rhythm:
    """Beats as the group asks; how each beat goes was drawn with the heart. It starts anywhere in a beat."""
    start = -dice.between(0.05, 0.95) * 60.0 / rate_bpm
    match group.rhythm:
        case "still":
            return replace(drawn, ed_s=(LONG_AGO_S, 1e6), strengths=(), has_kick=False)
        case "fibrillation":
            rhythm = Rhythm.fibrillating(rate_bpm, group.seconds, group.rr_sd, dice.generator, start)
        case "step":
            slow = Rhythm.varying(rate_bpm, group.seconds / 2, group.rr_sd, dice.generator, start)
            slow_ed = [t for t in slow.ed_s if t < group.seconds / 2]
            step_s = slow.ed_s[len(slow_ed)]
            fast = Rhythm.varying(group.step_to_bpm, group.seconds, group.rr_sd, dice.generator, step_s)
            rhythm = Rhythm((*slow_ed, *fast.ed_s))
        case "sinus":
            rhythm = Rhythm.varying(rate_bpm, group.seconds, group.rr_sd, dice.generator, start, group.ectopic_share)
    return replace(rhythm, course=drawn.course)


def render(recording: Recording, folder: Path, on_frame: Callable[[], None] = lambda: None) -> TrainingClip:
    """The recording from disk, or rendered (a tenth of a second a frame) and kept; raises InputError."""
    path = folder / recording.file_name
    if path.exists():
        return load_clip(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror}); set another one") from error
    phantom = Phantom(recording.spec)
    line = recording.spec.heart.contour(CONTOUR_POINTS)
    frames, walls = [], []
    for k in range(recording.n_frames):
        frames.append(phantom.frame(k))
        walls.append(phantom.truth(line, k))
        on_frame()
    clip = _clip(recording, np.stack(frames), torch.stack(walls, 1).float().numpy())
    save_clip(path, clip)
    return clip


def _clip(recording: Recording, frames: NDArray[np.uint8], walls: NDArray[np.float32]) -> TrainingClip:
    spec = recording.spec
    inside = (walls >= 0.0) & (walls <= spec.imaging.size_px - 1.0)
    rate = spec.frame_rate_hz
    return TrainingClip(
        name=recording.name,
        frames=frames,
        tracks=walls,
        visible=np.asarray(inside.all(-1)),
        frame_rate_hz=rate,
        mm_per_px=(spec.imaging.mm_per_px,) * 2,
        ed_frames=tuple(_frames_of(recording.ed_s, rate, len(frames))),
        es_frames=tuple(_frames_of(recording.es_s, rate, len(frames))),
        view=spec.heart.view,
        contour=walls,
    )


def _frames_of(times_s: NDArray[np.float64], rate_hz: float, n_frames: int) -> list[int]:
    frames = {round(float(t) * rate_hz) for t in times_s}
    return sorted(k for k in frames if 0 <= k < n_frames and math.isfinite(k))
