"""A whole clip through the same session as a live stream, forward from the drawn frame and backward to the first."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.clip import Clip, GreyFrame
from specktrack.rt.config import AnchorConfig, SessionConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.engine import Engine
from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import FloatArray
from specktrack.rt.late_session import open_session
from specktrack.rt.points import PointsFile
from specktrack.rt.preprocess import preprocess
from specktrack.rt.still_picture import StillPicture, memory_frames, share_for
from specktrack.rt.strain import StrainMeter
from specktrack.rt.update import Group, SettledBeat, StrainSample, Update
from specktrack.rt.windowed import WindowedEngine

_STREAM = "clip"


@dataclass(frozen=True)
class TrackedClip:
    """What `rt-track` knows about a clip of T frames and N query points."""

    points: FloatArray  # (T, N, 3): x, y in clip pixels, confidence; a lost point is NaN, NaN, 0
    groups: tuple[Group, ...]
    query_frame: int
    updates: tuple[Update, ...]  # (T,) of the forward pass: phase, beats, anchors
    strain: tuple[StrainSample | None, ...]  # (T,)
    is_strain_from_ed: bool  # False: no end-diastole was found, zero strain is the query frame
    known: SettledBeat | None = None  # the beat of which the user named the events

    @property
    def time_s(self) -> NDArray[np.float64]:
        """Time of each frame (T,) since the first."""
        return np.array([update.t_acq_ns * 1e-9 for update in self.updates])

    @property
    def beats(self) -> tuple[SettledBeat, ...]:
        """The beat whose events were named; without one the finished beats that the phase found, in order."""
        if self.known is not None:
            return (self.known,)
        return tuple(beat for update in self.updates for beat in update.beats)


def track_clip(
    clip: Clip,
    drawn: PointsFile,
    engine: Engine | WindowedEngine,
    config: SessionConfig,
    frame_rate_hz: float,
    on_frame: Callable[[], None] = lambda: None,
) -> TrackedClip:
    """Track the drawn points through every frame of the clip.

    What stands still in the picture is learned from the first frames before any is followed: a clip is often shorter
    than the beat that a live stream takes for it.
    Frames before the drawn one are tracked in reversed time by a second session without re-anchoring: phase and
    strain mean nothing there, so both are taken in forward order. They are held in memory for it.
    on_frame is called once for each frame tracked, in either direction.
    Raises InputError when the clip ends before the drawn frame, ControlError when the points cannot be set.
    """
    still = _still_picture(clip, engine, config, frame_rate_hz)
    session = open_session(_STREAM, config, engine, deepcopy(still))
    updates: list[Update] = []
    earlier: list[GreyFrame] = []
    for frame in _frames(clip, clip.frames(), frame_rate_hz):
        updates += session.answers(frame)
        on_frame()
        if frame.seq <= drawn.frame:
            earlier.append(np.asarray(frame.pixels, np.uint8))
        if frame.seq == drawn.frame:
            session.set_points(drawn.points, drawn.kind, segments=drawn.segments, seq=frame.seq)
    updates += session.finish()
    updates[-1:] = [replace(update, beats=update.beats + session.settle_now()) for update in updates[-1:]]
    if len(updates) <= drawn.frame:
        raise InputError(
            f"{clip.source}: ends after {len(updates)} frames; the points are drawn on frame {drawn.frame}"
        )
    groups = updates[-1].groups or session.groups
    at_query = _query_points(drawn, sum(group.count for group in groups))
    backward = _track_backward(clip, drawn, engine, config, still, frame_rate_hz, earlier, on_frame)
    forward = [_as_many(update.points, len(at_query)) for update in updates[drawn.frame + 1 :]]
    points = np.stack([*backward[::-1], at_query, *forward])
    strain, is_from_ed = _strain(points, groups, updates, drawn.frame, clip, config)
    return TrackedClip(points, groups, drawn.frame, tuple(updates), strain, is_from_ed)


def _still_picture(
    clip: Clip, engine: Engine | WindowedEngine, config: SessionConfig, frame_rate_hz: float
) -> StillPicture:
    memory = memory_frames(frame_rate_hz)
    images = (preprocess(grey, engine.input_size)[0] for grey in islice(clip.frames(), memory))
    return StillPicture.of(images, share_for(engine, config.match), memory)


def _frames(clip: Clip, pixels: Iterator[GreyFrame], frame_rate_hz: float) -> Iterator[Frame]:
    for seq, grey in enumerate(pixels):
        t_ns = round(seq * 1e9 / frame_rate_hz)
        yield Frame(_STREAM, seq, t_ns, "clip", grey, clip.geometry, frame_rate_hz)


def _track_backward(
    clip: Clip,
    drawn: PointsFile,
    engine: Engine | WindowedEngine,
    config: SessionConfig,
    still: StillPicture,
    frame_rate_hz: float,
    earlier: list[GreyFrame],
    on_frame: Callable[[], None],
) -> list[FloatArray]:
    """Points (N, 3) of frame drawn.frame - 1, drawn.frame - 2, ... 0."""
    if drawn.frame == 0:
        return []
    session = open_session(_STREAM, config.model_copy(update={"anchor": AnchorConfig(enabled=False)}), engine, still)
    updates: list[Update] = []
    for frame in _frames(clip, iter(earlier[::-1]), frame_rate_hz):
        updates += session.answers(frame)
        if frame.seq == 0:
            session.set_points(drawn.points, drawn.kind, segments=drawn.segments, seq=0)
        else:
            on_frame()
    updates += session.finish()
    count = sum(group.count for group in session.groups)
    return [_as_many(update.points, count) for update in updates[1:]]


def _query_points(drawn: PointsFile, count: int) -> FloatArray:
    """The query points themselves (N, 3): in the drawn frame they are where they were drawn."""
    where = resample_contour(drawn.points, count) if drawn.kind == "contour" else drawn.points
    return np.column_stack([where, np.ones(len(where), np.float32)]).astype(np.float32)


def _as_many(points: FloatArray, count: int) -> FloatArray:
    """All points lost where the session had none (a new epoch dropped them)."""
    if len(points) == count:
        return points
    return np.tile(np.array([np.nan, np.nan, 0.0], np.float32), (count, 1))


def _strain(
    points: FloatArray,
    groups: tuple[Group, ...],
    updates: list[Update],
    query_frame: int,
    clip: Clip,
    config: SessionConfig,
) -> tuple[tuple[StrainSample | None, ...], bool]:
    """The session's strain, completed for the frames before the drawn one.

    Where no end-diastole was ever found, strain against the drawn frame, and False.
    """
    contour = next((group for group in groups if group.kind == "contour"), None)
    live = [update.strain for update in updates]
    if contour is None:
        return tuple(live), True
    is_from_ed = any(sample is not None for sample in live)
    ed_frames = _ed_frames(updates) if is_from_ed else set()
    meter = StrainMeter(config.strain, contour.count, contour.segments)
    mm = clip.geometry.to_mm(points[:, contour.slice, :2])
    confidence = points[:, contour.slice, 2]
    if not is_from_ed:
        meter.set_reference(mm[query_frame], confidence[query_frame], updates[query_frame].t_acq_ns * 1e-9)
    for k, update in enumerate(updates[:query_frame] if is_from_ed else updates):
        time_s = update.t_acq_ns * 1e-9
        if k in ed_frames:
            meter.set_reference(mm[k], confidence[k], time_s)
        live[k] = meter.update(mm[k], confidence[k], time_s)
    return tuple(live), is_from_ed


def _ed_frames(updates: list[Update]) -> set[int]:
    """The end-diastolic frames: a beat is announced a few frames after it began, its phase says how many."""
    times = np.array([update.t_acq_ns * 1e-9 for update in updates])
    found: set[int] = set()
    for k in range(1, len(updates)):
        before, phase = updates[k - 1].phase, updates[k].phase
        if phase is not None and before is not None and phase.beat != before.beat:
            ed_s = times[k] - phase.fraction * 60.0 / phase.heart_rate_bpm
            found.add(int(np.abs(times - ed_s).argmin()))
    return found
