"""One beat of a recording whose events somebody knows already: from an ECG, from a report, or by eye.

The phase needs two beats to lock; an archive often holds one. Given its frames of end-diastole and end-systole a beat
is measured as in the stream (settle.py): followed once more from its end, both accounts joined, judged and measured.
Where the next end-diastole is in the recording, drift is closed there; without it there is no loop to close, and
nothing is said of drift and heart rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.beat import RecordedBeat
from specktrack.rt.beat_measure import Moments, measure
from specktrack.rt.clip import Clip
from specktrack.rt.config import MatchConfig, SessionConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.drift import joined
from specktrack.rt.engine import Engine
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray, Geometry, ImageScale
from specktrack.rt.offline import TrackedClip
from specktrack.rt.preprocess import preprocess
from specktrack.rt.retrack import Retracking
from specktrack.rt.segment_quality import Strays, judge
from specktrack.rt.settle import settled
from specktrack.rt.still_picture import without_still_picture
from specktrack.rt.update import BeatEvents, BeatMeasures, Group, SettledBeat
from specktrack.rt.window import WindowEntry
from specktrack.rt.windowed import WindowedEngine

LONGEST_S = 1.5  # after end-diastole: what is looked at of a recording that does not hold the next one
FEWEST_FRAMES = 8  # from end-diastole on


@dataclass(frozen=True)
class KnownEvents:
    """Frames of the clip."""

    ed: int
    es: int
    next_ed: int | None = None

    def checked(self, n_frames: int) -> "KnownEvents":
        """Itself; raises InputError for frames out of order or beyond the clip."""
        last = self.next_ed if self.next_ed is not None else n_frames - 1
        if not 0 <= self.ed < self.es < last <= n_frames - 1 or last - self.ed + 1 < FEWEST_FRAMES:
            said = f"--ed {self.ed} --es {self.es}" + (f" --next-ed {self.next_ed}" if self.next_ed is not None else "")
            raise InputError(
                f"{said}: expected frames in this order within 0..{n_frames - 1}, {FEWEST_FRAMES} at least from ED on"
            )
        return self


def frames_of(events: KnownEvents, n_frames: int, frame_rate_hz: float) -> range:
    """The frames that are looked at: to the next end-diastole, or as long as a beat may be."""
    longest = max(events.ed + round(LONGEST_S * frame_rate_hz), events.es + 1)
    last = events.next_ed if events.next_ed is not None else min(n_frames - 1, longest)
    return range(events.ed, last + 1)


def with_known_beat(
    tracked: TrackedClip,
    clip: Clip,
    events: KnownEvents,
    engine: Engine | WindowedEngine,
    config: SessionConfig,
    frame_rate_hz: float,
) -> TrackedClip:
    """The tracked clip with the beat of these events measured; raises InputError for other kinds of trackers."""
    if isinstance(engine, WindowedEngine):
        raise InputError(f"--ed, --es: {engine.model} cannot follow a beat a second time; use specknet-s or block")
    wanted = frames_of(events.checked(len(tracked.points)), len(tracked.points), frame_rate_hz)
    images = list(islice(clip.frames(), wanted.start, wanted.stop))
    live = tracked.points[wanted.start : wanted.stop]
    known = known_beat(images, live, events, tracked.groups, clip.geometry, frame_rate_hz, engine, config)
    return replace(tracked, known=known)


def known_beat(
    images: Sequence[NDArray[np.uint8]],
    live: FloatArray,
    events: KnownEvents,
    groups: tuple[Group, ...],
    geometry: Geometry,
    frame_rate_hz: float,
    engine: Engine,
    config: SessionConfig,
) -> SettledBeat:
    """The beat, measured.

    images  the T frames of `frames_of`, as they came
    live    (T, N, 3) x, y in source pixels, confidence, as they were followed forwards
    """
    time_s = np.arange(len(images)) / frame_rate_hz
    entries, scale = _entries(images, time_s, engine, config.match)
    again = _again(entries, live, scale, engine, config)
    seq = np.arange(events.ed, events.ed + len(images))
    t_ns = np.round(seq * 1e9 / frame_rate_hz).astype(np.int64)
    if events.next_ed is not None:
        found = BeatEvents(
            beat=0,
            ed_s=float(t_ns[0]) * 1e-9,
            es_s=float(t_ns[events.es - events.ed]) * 1e-9,
            next_ed_s=float(t_ns[-1]) * 1e-9,
            diastasis_s=None,
            heart_rate_bpm=60.0 / float(time_s[-1]),
        )
        beat = RecordedBeat(found, seq, t_ns, live, events.es - events.ed, None)
        return settled(beat, again, groups, geometry, config.strain)
    tracks = joined(live, again, np.linspace(0.0, 1.0, len(live)))
    contour = next(group for group in groups if group.kind == "contour")
    measures = measured_open(tracks, live, again, events.es - events.ed, contour, geometry, time_s, config)
    return SettledBeat(
        beat=0,
        seq=seq,
        t_acq_ns=t_ns,
        tracks=tracks,
        ed_index=0,
        es_index=events.es - events.ed,
        next_ed_index=len(tracks) - 1,
        diastasis_index=None,
        heart_rate_bpm=math.nan,
        accepted=measures.why is None,
        is_retracked=True,
        is_closed=False,
        **vars(measures),
    )


def measured_open(
    tracks: FloatArray,
    live: FloatArray,
    again: FloatArray,
    es: int,
    contour: Group,
    geometry: Geometry,
    time_s: NDArray[np.float64],
    config: SessionConfig,
) -> BeatMeasures:
    """Measures of a contour over a beat that does not come back to where it began: there is no loop to judge by."""
    apart = np.hypot(*(again[0, contour.slice, :2] - live[0, contour.slice, :2]).T).astype(np.float64)
    smoother = ContourSmoother(contour.count, config.strain.knots, contour.segments or config.strain.segments)
    own = tracks[:, contour.slice]
    judged = judge(own, Strays(np.zeros(len(apart)), apart), smoother, geometry, config.strain)
    found = measure(own, 0.0, Moments(time_s, es, None), judged, smoother, geometry, config.strain)
    return replace(found, drift_percent=None)


def _entries(
    images: Sequence[NDArray[np.uint8]], time_s: NDArray[np.float64], engine: Engine, config: MatchConfig
) -> tuple[list[WindowEntry], ImageScale]:
    seen = [preprocess(image, engine.input_size) for image in images]
    followed = without_still_picture([image for image, _ in seen], engine, config)
    entries = [
        WindowEntry(k, float(t), image, engine.encode(image))
        for k, (t, image) in enumerate(zip(time_s, followed, strict=True))
    ]
    return entries, seen[0][1]


def _again(
    entries: Sequence[WindowEntry], live: FloatArray, scale: ImageScale, engine: Engine, config: SessionConfig
) -> FloatArray:
    """(T, N, 3) the same points followed back from the last frame, source pixels."""
    retracking = Retracking(engine, config.match, entries, len(entries) - 1, scale.forward(live[-1, :, :2]))
    while retracking.advance():
        pass
    tracks = retracking.tracks.copy()
    tracks[..., :2] = scale.back(tracks[..., :2])
    return tracks
