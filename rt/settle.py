"""Finished beats, settled: followed once more from their diastasis, their loop closed, their strain measured again.

Live values are provisional. When a beat is over, its frames are still in the window with their features: a little
with every frame that comes, the points are followed back from the calmest frame of diastasis to the end-diastole the
beat began with, and on to the next (retrack.py). Live tracking came the other way; the two accounts of every frame are
weighed by how near each began. What then does not come back to where it was is drift, shared out over the beat.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt import strain
from specktrack.rt.beat import RecordedBeat
from specktrack.rt.beat_measure import Moments, contour_lengths, layers, measure, nothing
from specktrack.rt.config import SessionConfig, StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.drift import close_loop, drift_of, joined
from specktrack.rt.engine import Engine
from specktrack.rt.geometry import FloatArray, Geometry, ImageScale
from specktrack.rt.retrack import Retracking
from specktrack.rt.segment_quality import Strays, judge
from specktrack.rt.update import BeatMeasures, Group, SettledBeat
from specktrack.rt.window import WindowEntry

FIRST_STEP_S = 0.008  # until it is known how long a frame of re-tracking takes here
STEP_RATE = 0.1  # share of the newest in that


@dataclass
class _Job:
    """A beat on its way to being settled."""

    beat: RecordedBeat
    groups: tuple[Group, ...]
    geometry: Geometry
    scale: ImageScale
    retracking: Retracking | None


class BeatSettler:
    """Settles the beats of one stream, in order, a few frames of re-tracking for each frame that comes."""

    def __init__(self, config: SessionConfig, engine: Engine | None) -> None:
        """engine: None where points cannot be followed a second time, because the model sees windows of frames."""
        self._config = config
        self._engine = engine
        self.reset()

    def reset(self) -> None:
        """Forget beats that are not settled: their points are gone."""
        self._jobs: list[_Job] = []
        self._due = 0.0  # frames of re-tracking
        self._step_s = FIRST_STEP_S  # what one of them takes

    def begin(
        self,
        beat: RecordedBeat,
        entries: Sequence[WindowEntry] | None,
        groups: tuple[Group, ...],
        geometry: Geometry,
        scale: ImageScale,
    ) -> None:
        """Take a finished beat in hand; entries: its frames, or None when the window no longer holds them all."""
        retracking = None
        if self._engine is not None and entries is not None and self._config.beat.retrack:
            rest = beat.rest_index if beat.rest_index is not None else len(beat.seq) - 1
            points = scale.forward(beat.points[rest, :, :2])
            retracking = Retracking(self._engine, self._config.match, entries, rest, points)
        self._jobs.append(_Job(beat, groups, geometry, scale, retracking))

    def advance(self, spare_s: float | None = None) -> tuple[SettledBeat, ...]:
        """A frame has come: go on with re-tracking; beats that are settled now, often none.

        spare_s  until the next frame is to be expected: no more is done than fits, and a beat that is not done when the
                 next one is over is settled as it was followed live. None: all the time in the world.
        """
        if not self._jobs:
            self._due = 0.0
            return ()
        if spare_s is not None and len(self._jobs) > 1:
            self._jobs[0].retracking = None
        share = self._config.beat.frames_per_frame * len(self._jobs)  # faster when another beat waits
        self._due += share if spare_s is None else min(share, max(spare_s, 0.0) / self._step_s)
        while self._due >= 1.0 or self._jobs[0].retracking is None:
            self._due = max(self._due - 1.0, 0.0)
            if not self._step(self._jobs[0]):
                return (self._finish(self._jobs.pop(0)),)
        return ()

    def _step(self, job: _Job) -> bool:
        """Follow the points of a beat into one more frame; False when it is done."""
        started_s = time.perf_counter()
        is_going_on = job.retracking is not None and job.retracking.advance()
        if is_going_on:
            self._step_s += STEP_RATE * (time.perf_counter() - started_s - self._step_s)
        return is_going_on

    def finish(self) -> tuple[SettledBeat, ...]:
        """No frame comes any more: settle what is left, at once."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            while job.retracking is not None and job.retracking.advance():
                pass
        return tuple(self._finish(job) for job in jobs)

    def _finish(self, job: _Job) -> SettledBeat:
        again = None
        if job.retracking is not None:
            again = job.retracking.tracks.copy()
            again[..., :2] = job.scale.back(again[..., :2])
        return settled(job.beat, again, job.groups, job.geometry, self._config.strain)


def settled(
    beat: RecordedBeat,
    again: FloatArray | None,
    groups: Sequence[Group],
    geometry: Geometry,
    config: StrainConfig,
) -> SettledBeat:
    """The settled beat.

    again  (T, N, 3) the same points followed from diastasis in both directions, source pixels; None: only once
    The first contour among the groups is the measured one; without any, the tracks are settled and nothing measured.
    """
    both = beat.points if again is None else joined(beat.points, again, _share_of_again(beat))
    tracks = close_loop(both, beat.t_acq_ns)
    apart = None if again is None else np.hypot(*(again[0, :, :2] - beat.points[0, :, :2]).T).astype(np.float64)
    contour = next((g for g in groups if g.kind == "contour"), None)
    if contour is None:
        measures = nothing(len(tracks), 0, "no contour was set, so there is no strain")
    else:
        measures = _measures(beat, both, tracks, apart, contour, geometry, config)
    events = beat.events
    return SettledBeat(
        beat=events.beat,
        seq=beat.seq,
        t_acq_ns=beat.t_acq_ns,
        tracks=tracks,
        ed_index=0,
        es_index=beat.es_index,
        next_ed_index=len(tracks) - 1,
        diastasis_index=beat.rest_index,
        heart_rate_bpm=events.heart_rate_bpm,
        accepted=measures.why is None,
        layers=layers(tracks, groups, beat.es_index, geometry, config),
        is_retracked=again is not None,
        **vars(measures),
    )


def _share_of_again(beat: RecordedBeat) -> NDArray[np.float64]:
    """(T,) how much re-tracking counts: 1 from diastasis on, less the nearer a frame lies to the diastasis before.

    The beat before was about as long, so its diastasis lay as long before this beat as this one's before its end.
    """
    rest = beat.rest_index if beat.rest_index is not None else len(beat.seq) - 1
    t = beat.t_acq_ns.astype(np.float64)
    before = t[0] - (t[-1] - t[rest])
    return np.clip((t - before) / max(t[rest] - before, 1.0), 0.0, 1.0)


def _measures(
    beat: RecordedBeat,
    both: FloatArray,
    tracks: FloatArray,
    apart: NDArray[np.float64] | None,
    contour: Group,
    geometry: Geometry,
    config: StrainConfig,
) -> BeatMeasures:
    """Judge and measure one contour; both and tracks (T, N, 3), with and without drift; apart (N,) px."""
    smoother = ContourSmoother(contour.count, config.knots, contour.segments or config.segments)
    own = tracks[:, contour.slice]
    open_loop = both[[0, -1]][:, contour.slice]
    _, lengths, _ = contour_lengths(open_loop, smoother, geometry, config)
    loop_px = np.hypot(*drift_of(open_loop[0, :, :2], open_loop[1, :, :2]).T)
    strays = Strays(loop_px, apart[contour.slice] if apart is not None else None)
    judged = judge(own, strays, smoother, geometry, config)
    drift = abs(strain.global_percent(lengths[1], lengths[0], np.asarray(np.isfinite(lengths).all(axis=0))))
    moments = Moments((beat.t_acq_ns - beat.t_acq_ns[0]) * 1e-9, beat.es_index, beat.rest_index)
    return measure(own, drift, moments, judged, smoother, geometry, config)
