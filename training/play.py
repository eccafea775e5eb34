"""Recordings played through the real session, as a scanner would send them, and all that the session said.

image    as recorded; the contour of the wall is set on the first frame
picture  the same, but nothing is tracked: the phase has the picture alone
drops    a share of the frames never arrives
trigger  with the R waves of a scanner that finds them itself
ecg      with samples of an ECG
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine import Engine
from specktrack.rt.frame import EcgChunk, Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.session import Session
from specktrack.rt.update import BeatEvents, Update
from specktrack.training.clip_format import TrainingClip
from specktrack.training.ecg_signal import RATE_HZ, ecg_of
from specktrack.training.phase_config import PhaseEvalConfig, Playing
from specktrack.training.recordings import Recording

R_WAVE_DELAY_S = 0.06  # a scanner reports an R wave so much later


@dataclass(frozen=True)
class Trace:
    """What was said about T frames; NaN where nothing was."""

    time_s: NDArray[np.float64]  # (T,)
    fraction: NDArray[np.float64]  # (T,) of the beat
    beat: NDArray[np.int64]  # (T,) -1: none
    rate_bpm: NDArray[np.float64]  # (T,)
    is_locked: NDArray[np.bool_]  # (T,)
    announced_s: NDArray[np.float64]  # (B,) when each finished beat was published
    beats: tuple[BeatEvents, ...]  # (B,)

    @staticmethod
    def of(updates: Sequence[Update]) -> "Trace":
        """From what a session said about each frame."""
        time_s = np.array([update.t_acq_ns * 1e-9 for update in updates])
        phases = [update.phase for update in updates]
        done = [(t, update.events) for t, update in zip(time_s, updates, strict=True) if update.events]
        nan = float("nan")
        return Trace(
            time_s=time_s,
            fraction=np.array([phase.fraction if phase else nan for phase in phases]),
            beat=np.array([phase.beat if phase else -1 for phase in phases]),
            rate_bpm=np.array([phase.heart_rate_bpm if phase else nan for phase in phases]),
            is_locked=np.array([phase is not None and phase.is_locked for phase in phases]),
            announced_s=np.array([t for t, _ in done]),
            beats=tuple(beat for _, beat in done),
        )


def play(clip: TrainingClip, recording: Recording, playing: Playing, config: PhaseEvalConfig, engine: Engine) -> Trace:
    """Play a recording; the true mid-wall contour of its first frame is the one drawn."""
    session, updates = Session(clip.name, config.session, engine), []
    for k, frame in enumerate(frames_of(clip, recording, playing, config)):
        updates.append(session.update(frame))
        if k == 0 and playing != "picture":
            session.set_points(clip.tracks[:, 0], "contour")
    return Trace.of(updates)


def frames_of(clip: TrainingClip, recording: Recording, playing: Playing, config: PhaseEvalConfig) -> list[Frame]:
    """The frames as they arrive, each with what came with it since the one before."""
    arriving = _arriving(len(clip.frames), playing, config, recording)
    rate = clip.frame_rate_hz
    _, height, width = clip.frames.shape
    plain = Frame(clip.name, 0, 0, "recording", clip.frames[0], Geometry(height, width, clip.mm_per_px), rate)
    r_waves = _r_waves(recording, arriving / rate) if playing == "trigger" else [None] * len(arriving)
    ecg = _ecg_chunks(recording, arriving / rate) if playing == "ecg" else [None] * len(arriving)
    return [
        replace(plain, seq=int(k), t_acq_ns=round(k * 1e9 / rate), pixels=clip.frames[k], ecg=chunk, r_waves_ns=waves)
        for k, waves, chunk in zip(arriving, r_waves, ecg, strict=True)
    ]


def _arriving(n_frames: int, playing: Playing, config: PhaseEvalConfig, recording: Recording) -> NDArray[np.int64]:
    every = np.arange(n_frames)
    if playing != "drops":
        return every
    rng = np.random.default_rng(recording.spec.seed)
    return every[(rng.random(n_frames) >= config.dropped_share) | (every == 0)]


def _r_waves(recording: Recording, arrivals: NDArray[np.float64]) -> list[tuple[int, ...] | None]:
    at = np.searchsorted(arrivals, recording.ed_s + R_WAVE_DELAY_S)
    return [tuple(round(t * 1e9) for t in recording.ed_s[at == k]) for k in range(len(arrivals))]


def _ecg_chunks(recording: Recording, arrivals: NDArray[np.float64]) -> list[EcgChunk | None]:
    times, samples = ecg_of(recording.spec.heart.rhythm, recording.duration_s, recording.spec.seed)
    bounds = np.searchsorted(times, arrivals, side="right")
    chunks: list[EcgChunk | None] = []
    for first, last in zip(np.r_[0, bounds[:-1]], bounds, strict=True):
        part = samples[first:last].astype(np.float32)
        chunks.append(EcgChunk(RATE_HZ, round(times[first] * 1e9), part) if len(part) else None)
    return chunks
