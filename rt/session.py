"""One stream's session: a frame's journey from pixels to points, phase and strain.

    Frame -> preprocess -> encode -> match -> phase -> anchor -> strain -> Update

Everything that outlives a frame is in the parts named here; the session only passes values along. It is the same code
for the daemon and for offline clips. Coordinates in the tracker are engine pixels, everywhere else source pixels.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.anchor import AnchorPolicy
from specktrack.rt.beat import BeatHistory
from specktrack.rt.config import SessionConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.drawn import checked_points
from specktrack.rt.engine import Engine
from specktrack.rt.errors import ControlError
from specktrack.rt.frame import Frame
from specktrack.rt.frame_encoder import FrameEncoder
from specktrack.rt.geometry import FloatArray, Geometry, ImageScale
from specktrack.rt.phase import PhaseTracker
from specktrack.rt.preprocess import preprocess
from specktrack.rt.pulse import wall_length
from specktrack.rt.same_phase import SamePhase
from specktrack.rt.settle import BeatSettler
from specktrack.rt.still_picture import StillPicture, share_for
from specktrack.rt.strain import StrainMeter
from specktrack.rt.update import AnchorInfo, BeatEvents, Group, GroupKind, SettledBeat, StrainSample, Update
from specktrack.rt.window import RollingWindow, WindowEntry
from specktrack.rt.windowed import WindowedEngine, open_tracker


@dataclass(frozen=True)
class PointsSet:
    """Where a new group of points was put."""

    seq: int
    first: int
    count: int


class Session:
    """Follows points through one stream. One thread."""

    def __init__(
        self, stream: str, config: SessionConfig, engine: Engine | WindowedEngine, still: StillPicture | None = None
    ) -> None:
        """still: what is known of the pattern that does not move, where the clip is at hand; absent: it is learned."""
        self.stream = stream
        self._config = config
        self._engine = engine
        self._window = RollingWindow(config.window.frames)
        self._tracker = open_tracker(engine, config.match)
        self._encoder = FrameEncoder(engine)
        self._still = still or StillPicture(share_for(engine, config.match))
        self._phase = PhaseTracker(config.phase)
        self._anchors = AnchorPolicy(config.anchor)
        self._same_phase = SamePhase()
        self._history = BeatHistory(0)
        self._settler = BeatSettler(config, engine if not isinstance(engine, WindowedEngine) else None)
        self._meter: StrainMeter | None = None
        self._groups: tuple[Group, ...] = ()
        self._geometry: Geometry | None = None
        self._scale: ImageScale | None = None
        self._anchor: AnchorInfo | None = None
        self._anchor_time_s = 0.0
        self._stage_ms: dict[str, float] = {}
        self._settled: tuple[SettledBeat, ...] = ()  # since the last answer
        self._is_behind = False  # is there something to catch up with?
        self._unlearned: tuple[NDArray[np.uint8], float] | None = None  # the newest image as it came, and its time

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of points followed now."""
        return self._groups

    @property
    def geometry(self) -> Geometry | None:
        """Of the newest frame; None before the first."""
        return self._geometry

    @property
    def wanted(self) -> int:
        """Frames that the engine wants to see together next: 1, or what fills a window."""
        return self._tracker.wanted

    def is_break(self, before: Frame, frame: Frame) -> bool:
        """Does the frame not simply go on from the one before? Then it begins a new epoch, or ends a gap."""
        gap_s = frame.time_s - before.time_s
        return frame.geometry != before.geometry or not 0 < gap_s <= self._config.window.max_gap_ms / 1000

    def foresee(self, frames: Sequence[Frame]) -> None:
        """Let the engine see the next frames together before each gets its `update`; they must go on from the last."""
        self._tracker.foresee([preprocess(frame.pixels, self._engine.input_size)[0] for frame in frames])

    def prepared(self, frame: Frame) -> NDArray[np.uint8]:
        """The image of a frame that waits, as the engine will be asked to encode it; safe from another thread."""
        return self._still.taken_out(preprocess(frame.pixels, self._engine.input_size)[0])

    def answers(self, frame: Frame) -> list[Update]:
        """As late_session.LateSession: what this frame lets be said, here of itself alone."""
        return [self.update(frame)]

    def finish(self) -> list[Update]:
        """As late_session.LateSession: no frame waits for its answer."""
        return []

    def update(self, frame: Frame) -> Update:
        """Take in the next frame and say where everything is."""
        self.catch_up()
        message = self._check_continuity(frame)
        with self._stage("preprocess"):
            shown, self._scale = preprocess(frame.pixels, self._engine.input_size)
            image = self._still.taken_out(shown)
        self._tracker.look_ahead(image)
        with self._stage("encode"):
            entry = self._encoder.encode(frame.seq, frame.time_s, image, self._tracker.points)
        with self._stage("match"):
            motion_px_s = self._follow(entry)
        with self._stage("analyse"):
            points = self._published_points()
            update = self._analyse(frame, entry, points, motion_px_s)
        self._is_behind = bool(self._groups)
        self._unlearned = shown, frame.time_s
        return replace(update, stage_ms=dict(self._stage_ms), message=message, is_new_epoch=bool(message))

    def catch_up(self, spare_s: float | None = None) -> None:
        """Do what the next frame needs and no answer waits for; without this call the next `update` does it first.

        spare_s  how long until that frame is to be expected, for what can wait; None: as long as it takes
        """
        if self._unlearned is not None:
            self._still.learn(*self._unlearned)
            self._unlearned = None
        if self._is_behind:
            self._is_behind = False
            started_s = time.perf_counter()
            self._tracker.catch_up()
            if spare_s is not None:
                spare_s -= time.perf_counter() - started_s
            self._settled += self._settler.advance(spare_s)

    def set_points(
        self,
        points: FloatArray,
        kind: GroupKind,
        name: str | None = None,
        segments: int = 6,
        seq: int | None = None,
    ) -> PointsSet:
        """Follow new points, drawn on frame `seq` (absent: the newest); a group of the same name is replaced.

        points  (K, 2) x, y in source pixels; a contour is resampled to evenly spaced query points
        Points already followed go on from where they are. Raises ControlError.
        """
        drawn_on = self._entry(seq)
        geometry = self._geometry
        assert geometry is not None
        points = checked_points(points, kind, geometry)
        if kind == "contour":
            points = resample_contour(points, self._config.strain.query_points)
        name = name or kind
        kept = tuple(g for g in self._groups if g.name != name)
        at_frame = self._positions_at(drawn_on)
        everything = [at_frame[g.slice] for g in kept] + [points]
        groups = [*kept, Group(name, kind, 0, len(points), segments if kind == "contour" else None)]
        self._replace_points(groups, np.concatenate(everything), drawn_on)
        new = self._groups[-1]
        return PointsSet(drawn_on.seq, new.first, new.count)

    def clear_points(self, name: str | None = None) -> None:
        """Stop following a group, or all; raises ControlError for an unknown name."""
        if name is not None and all(g.name != name for g in self._groups):
            known = ", ".join(g.name for g in self._groups) or "none"
            raise ControlError("no_group", f"no group named {name}; there are: {known}")
        kept = [g for g in self._groups if name is not None and g.name != name]
        if not kept:
            self._forget_points()
            return
        newest = self._window.back(0)
        at_frame = self._positions_at(newest)
        self._replace_points(kept, np.concatenate([at_frame[g.slice] for g in kept]), newest)

    def reanchor(self) -> None:
        """Take the appearance templates from the newest frame, by hand; raises ControlError without points."""
        if not self._groups or not len(self._window):
            raise ControlError("no_points", "there are no points to re-anchor; set some with set_points")
        self._anchor_on(self._window.back(0).seq)

    def settle_now(self) -> tuple[SettledBeat, ...]:
        """No more frames are to be expected: the finished beats that are not settled yet, settled."""
        self.catch_up()
        settled, self._settled = self._settled, ()
        return settled + self._settler.finish()

    # -- a frame's journey, step by step ------------------------------------------------------------------------------

    def _check_continuity(self, frame: Frame) -> str:
        """A new geometry or a clock that went back starts a new epoch; returns what to tell, or nothing."""
        known, self._geometry = self._geometry, frame.geometry
        if known is None:
            return ""
        had_points = bool(self._groups)
        if known != frame.geometry:
            self._start_epoch()
            return "the image size or scale changed: new epoch" + (", set the points again" if had_points else "")
        if len(self._window) and frame.time_s <= self._window.back(0).time_s:
            self._start_epoch()
            return "the clock of the frames went back: new epoch" + (", set the points again" if had_points else "")
        if len(self._window) and frame.time_s - self._window.back(0).time_s > self._config.window.max_gap_ms / 1000:
            self._window.clear()
            self._phase.reset()
            self._anchors.reset()
            self._tracker.relocalise()
        return ""

    def _start_epoch(self) -> None:
        self._still.reset()
        self._window.clear()
        self._phase.reset()
        self._forget_points()

    def _follow(self, entry: WindowEntry) -> float | None:
        """Move the points into the new frame; returns their mean speed in engine pixels per second."""
        speed = None
        if self._groups:
            before = self._tracker.points
            self._tracker.update(entry.features, entry.image)
            if len(self._window):
                step = np.hypot(*(self._tracker.points - before).T)
                interval_s = max(entry.time_s - self._window.back(0).time_s, 1e-3)
                speed = float(np.nanmean(step)) / interval_s if np.isfinite(step).any() else None
            self._remember(entry)
        self._window.push(entry)
        if self._groups and self._config.anchor.enabled:
            self._close_loop(entry)
        return speed

    def _remember(self, entry: WindowEntry) -> None:
        """What the tracker found in this frame, for when it is looked at again."""
        entry.points = self._tracker.points.copy()
        entry.flow = self._tracker.flow

    def _close_loop(self, entry: WindowEntry) -> None:
        """Once a beat, at the phase the points were set in, take out what has drifted."""
        steps = self._same_phase.update(entry.image)
        if steps is None or steps >= len(self._window):
            return
        alike = self._window.back(steps)
        if alike.points is not None:
            known = self._tracker.pending.copy()
            self._tracker.close_loop(alike.features, alike.points, alike.image)
            assert self._scale is not None
            self._history.correct(alike.seq, (self._tracker.pending - known) / self._scale.factors)

    def _published_points(self, ahead: FloatArray | float = 0.0) -> FloatArray:
        """(N, 3) in source pixels, moved ahead (N, 2) engine pixels; a lost point is NaN, NaN, 0."""
        assert self._scale is not None
        points = np.empty((len(self._tracker.points), 3), np.float32)
        points[:, :2] = self._scale.back(self._tracker.steady + ahead)
        points[:, 2] = self._tracker.confidence
        points[self._tracker.is_lost] = (np.nan, np.nan, 0.0)
        return points

    def _followed_length(self, contour: Group) -> float | None:
        """For the phase: of the contour as it is followed, unsure points included."""
        assert self._geometry is not None
        assert self._scale is not None
        return wall_length(self._geometry.to_mm(self._scale.back(self._tracker.points[contour.slice])))

    def _analyse(self, frame: Frame, entry: WindowEntry, points: FloatArray, motion_px_s: float | None) -> Update:
        """Phase, re-anchoring and strain of one frame."""
        assert self._geometry is not None
        contour = next((g for g in self._groups if g.kind == "contour"), None)
        wall_mm = self._geometry.to_mm(points[contour.slice, :2]) if contour else None
        confidence = points[contour.slice, 2] if contour else None
        r_waves_s = [t * 1e-9 for t in frame.r_waves_ns or ()]
        length = self._followed_length(contour) if contour else None
        phased = self._phase.update(frame.time_s, entry.image, length, motion_px_s, r_waves_s, frame.ecg)
        beats: tuple[SettledBeat, ...] = ()
        if self._groups:
            self._history.update(frame.seq, frame.t_acq_ns, self._published_points(self._tracker.pending))
            seq = self._anchors.update(frame.time_s, frame.seq, phased.phase, motion_px_s)
            if seq is not None:
                self._anchor_on(seq)
            if phased.completed is not None:
                self._finish_beat(phased.completed, contour)
            beats, self._settled = self._settled, ()
        strain = None
        if self._meter is not None and wall_mm is not None and confidence is not None:
            strain = self._meter.update(wall_mm, confidence, frame.time_s)
        return Update(
            seq=frame.seq,
            t_acq_ns=frame.t_acq_ns,
            clock=frame.clock,
            points=points,
            groups=self._groups,
            phase=phased.phase,
            anchor=self._anchor_now(frame.time_s),
            strain=_unless_lost(strain),
            beats=beats,
            events=phased.completed,
        )

    def _finish_beat(self, events: BeatEvents, contour: Group | None) -> None:
        """Begin to settle the finished beat and put the zero of the live strain at the end-diastole that ended it."""
        assert self._geometry is not None
        assert self._scale is not None
        at_ed = self._history.nearest(events.next_ed_s)
        if self._meter is not None and contour is not None and at_ed is not None:
            wall = at_ed.points[contour.slice]
            self._meter.set_reference(self._geometry.to_mm(wall[:, :2]), wall[:, 2], events.next_ed_s)
        beat = self._history.cut(events)
        if beat is not None:
            entries = self._window.between(int(beat.seq[0]), int(beat.seq[-1]))
            self._settler.begin(beat, entries, self._groups, self._geometry, self._scale)

    def _anchor_on(self, seq: int) -> None:
        """New appearance templates from a frame of the window where the points were found."""
        steps = self._window.steps_to(seq)
        entry = self._window.back(steps) if steps is not None else None
        if entry is None or entry.points is None or self._anchor is None:
            return
        self._tracker.re_anchor(entry.features, entry.points, entry.image)
        self._anchor = AnchorInfo(seq, 0.0, self._anchor.count + 1)
        self._anchor_time_s = entry.time_s

    def _anchor_now(self, time_s: float) -> AnchorInfo | None:
        return replace(self._anchor, age_s=time_s - self._anchor_time_s) if self._anchor else None

    # -- points -------------------------------------------------------------------------------------------------------

    def _entry(self, seq: int | None) -> WindowEntry:
        """The frame points were drawn on."""
        if not len(self._window):
            raise ControlError("no_frame", "no frame has arrived yet; send frames first, then set the points")
        steps = 0 if seq is None else self._window.steps_to(seq)
        if steps is None:
            oldest, newest = self._window.back(len(self._window) - 1).seq, self._window.back(0).seq
            raise ControlError(
                "frame_gone", f"frame {seq} is not in the window ({oldest}..{newest}); draw on a newer one"
            )
        return self._window.back(steps)

    def _positions_at(self, entry: WindowEntry) -> FloatArray:
        """Source pixels (N, 2) of all points in a frame of the window; where they are now if it is older than they."""
        assert self._scale is not None
        points = entry.points if entry.points is not None else self._tracker.points
        return self._scale.back(points)

    def _replace_points(self, groups: list[Group], points: FloatArray, drawn_on: WindowEntry) -> None:
        """Start all points anew on a frame of the window and bring them forward to the newest one."""
        assert self._scale is not None
        first, placed = 0, []
        for group in groups:
            placed.append(replace(group, first=first))
            first += group.count
        self._forget_points()
        self._groups = tuple(placed)
        contour = next((g for g in placed if g.kind == "contour"), None)
        if contour is not None:
            self._meter = StrainMeter(self._config.strain, contour.count, contour.segments)
        self._history.reset(first)
        self._settler.reset()
        self._settled = ()
        self._anchor = AnchorInfo(drawn_on.seq, 0.0, 0)
        self._anchor_time_s = drawn_on.time_s
        drawn_on.points = self._scale.forward(points)
        self._encoder.complete(drawn_on)
        self._tracker.start(drawn_on.features, drawn_on.points, drawn_on.image)
        self._same_phase.start(drawn_on.image)
        later = list(self._entries_after(drawn_on))
        self._tracker.foresee([entry.image for entry in later])
        for entry in later:
            self._encoder.complete(entry)
            self._tracker.update(entry.features, entry.image)
            self._remember(entry)

    def _entries_after(self, entry: WindowEntry) -> Iterator[WindowEntry]:
        steps = self._window.steps_to(entry.seq)
        assert steps is not None
        for back in range(steps - 1, -1, -1):
            yield self._window.back(back)

    def _forget_points(self) -> None:
        self._groups = ()
        self._meter = None
        self._anchor = None
        self._tracker.reset()
        self._encoder.reset()
        self._anchors.reset()
        self._history.reset(0)
        self._settler.reset()
        self._settled = ()
        self._window.forget_points()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Measure how long a stage takes."""
        start = time.perf_counter()
        yield
        self._stage_ms[name] = (time.perf_counter() - start) * 1e3


def _unless_lost(strain: StrainSample | None) -> StrainSample | None:
    """No number where too much of the contour is lost."""
    return None if strain is None or np.isnan(strain.global_percent) else strain
