"""Which part of the beat every frame of an annotated clip shows, and the frame at a wanted moment of the beat.

The fraction of the beat comes with the clip or from its end-diastolic frames; where systole ends from its
end-systolic frames, or else, like diastasis, from the heart-rate model the runtime uses (rt/cycle.py).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from specktrack.rt import cycle
from specktrack.rt.config import PhaseConfig
from specktrack.rt.geometry import FloatArray

PHASES = ("systole", "early_filling", "diastasis", "atrial")
UNKNOWN = "unknown"

Beat = tuple[int, int, float]  # first frame, one past the last, period in frames


def fractions_from_ed(ed_frames: Sequence[int], n_frames: int) -> FloatArray:
    """Fraction of the beat (T,) in [0, 1) from end-diastolic frames; NaN where unknown.

    With fewer than two of them nothing is known. Up to one mean period before the first and after the last, the
    beats are taken to go on as they are.
    """
    fractions = np.full(n_frames, np.nan, np.float32)
    eds = sorted(set(ed_frames))
    if len(eds) < 2:
        return fractions
    period = (eds[-1] - eds[0]) / (len(eds) - 1)
    for start, end in pairwise([eds[0] - period, *eds, eds[-1] + period]):
        frames = np.arange(max(int(np.ceil(start)), 0), min(int(np.ceil(end)), n_frames))
        fractions[frames] = np.minimum((frames - start) / (end - start), np.nextafter(np.float32(1), np.float32(0)))
    return fractions


def beats(fractions: FloatArray) -> list[Beat]:
    """The beats, whole or cut off, in fractions of the beat (T,): runs of known, rising values."""
    steps = np.diff(fractions)
    if not (steps > 0).any():
        return []
    usual = 1.0 / float(np.median(steps[steps > 0]))
    breaks = [0, *(int(k) + 1 for k in np.flatnonzero(~(steps > 0))), len(fractions)]
    found = []
    for first, end in pairwise(breaks):
        if np.isfinite(fractions[first]):
            rise = float(fractions[end - 1] - fractions[first])
            found.append((first, end, (end - 1 - first) / rise if rise > 0 else usual))
    return found


def frame_labels(
    fractions: FloatArray, frame_rate_hz: float, es_frames: Sequence[int], config: PhaseConfig
) -> tuple[str, ...]:
    """The part of the beat each of T frames lies in: one of PHASES, or UNKNOWN."""
    labels = [UNKNOWN] * len(fractions)
    for first, end, period in beats(fractions):
        es, window = _model(fractions, (first, end, period), frame_rate_hz, es_frames, config)
        for frame in range(first, end):
            labels[frame] = cycle.label_of(float(fractions[frame]), es, window)
    return tuple(labels)


def _model(
    fractions: FloatArray, beat: Beat, frame_rate_hz: float, es_frames: Sequence[int], config: PhaseConfig
) -> tuple[float, cycle.Window]:
    """Fraction of the beat at which systole ends, and diastasis of this beat."""
    first, end, period_frames = beat
    period_s = period_frames / frame_rate_hz
    marked = [float(fractions[frame]) for frame in es_frames if first <= frame < end]
    es = marked[0] if marked else cycle.systole_s(60.0 / period_s, config) / period_s
    return es, cycle.diastasis_window(period_s, es * period_s, config)


def diastasis_frame(
    fractions: FloatArray, frame_rate_hz: float, es_frames: Sequence[int], config: PhaseConfig
) -> int | None:
    """The frame nearest to the middle of diastasis, of the beat nearest to the middle of the clip; None without phase.

    A heart too fast for a diastasis is taken at the moment between its early and its atrial filling.
    """
    middle = 0.5 * (len(fractions) - 1)
    best: tuple[float, float, int] | None = None
    for beat in beats(fractions):
        _, window = _model(fractions, beat, frame_rate_hz, es_frames, config)
        wanted = 0.5 * (window.start + window.end)
        frame = beat[0] + int(np.abs(fractions[beat[0] : beat[1]] - wanted).argmin())
        off = abs(float(fractions[frame]) - wanted) * beat[2]  # frames; below one the moment lies in the clip
        candidate = (max(off, 1.0), abs(frame - middle), frame)
        best = candidate if best is None else min(best, candidate)
    return None if best is None else best[2]


def frame_at(fractions: FloatArray, wanted: float) -> int | None:
    """The frame nearest to a fraction of the beat, of several the one nearest to the middle of the clip.

    The beat is a circle: 0.98 is near 0. None without phase.
    """
    if not np.isfinite(fractions).any():
        return None
    apart = np.abs(fractions - wanted)
    apart = np.where(np.isfinite(apart), np.minimum(apart, 1.0 - apart), np.inf)
    steps = np.diff(fractions)
    half_step = 0.5 * float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    middle = 0.5 * (len(fractions) - 1)
    return min(range(len(fractions)), key=lambda k: (max(float(apart[k]), half_step), abs(k - middle)))
