"""A session whose engine wants whole windows of frames: they wait, then are answered together, each once, in order."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import SessionConfig
from specktrack.rt.engine import Engine
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.session import PointsSet, Session
from specktrack.rt.still_picture import StillPicture
from specktrack.rt.update import Group, GroupKind, SettledBeat, Update
from specktrack.rt.windowed import WindowedEngine


def open_session(
    stream: str, config: SessionConfig, engine: Engine | WindowedEngine, still: StillPicture | None = None
) -> "Session | LateSession":
    """The session for this kind of engine; `still` as in Session."""
    session = Session(stream, config, engine, still)
    return LateSession(session) if isinstance(engine, WindowedEngine) else session


class LateSession:
    """Holds frames back until a window is full; everything else is the session's. One thread.

    While no points are set no frame waits. A gap, a new epoch and every request end the window early.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: Frame | None = None
        self._waiting: list[Frame] = []
        self._answered: list[Update] = []  # not yet handed out

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of points followed now."""
        return self._session.groups

    def prepared(self, frame: Frame) -> NDArray[np.uint8]:
        """See Session.prepared."""
        return self._session.prepared(frame)

    @property
    def geometry(self) -> Geometry | None:
        """Of the newest frame answered; None before the first."""
        return self._session.geometry

    def answers(self, frame: Frame) -> list[Update]:
        """Take in the next frame; the updates that it completes, oldest first, often none."""
        is_break = self._last is not None and self._session.is_break(self._last, frame)
        self._last = frame
        if is_break:
            self._answer_waiting()
        if is_break or not self.groups:
            self._answered.append(self._session.update(frame))
        else:
            self._waiting.append(frame)
            if len(self._waiting) >= self._session.wanted:
                self._answer_waiting()
        return self._hand_out()

    def finish(self) -> list[Update]:
        """No more frames are to be expected now: answer those that wait."""
        self._answer_waiting()
        return self._hand_out()

    def catch_up(self, spare_s: float | None = None) -> None:
        """See Session.catch_up."""
        self._session.catch_up(spare_s)

    def settle_now(self) -> tuple[SettledBeat, ...]:
        """See Session.settle_now."""
        return self._session.settle_now()

    def set_points(
        self,
        points: FloatArray,
        kind: GroupKind,
        name: str | None = None,
        segments: int = 6,
        seq: int | None = None,
    ) -> PointsSet:
        """See Session.set_points; the frames that wait are answered first."""
        self._answer_waiting()
        return self._session.set_points(points, kind, name, segments, seq)

    def clear_points(self, name: str | None = None) -> None:
        """See Session.clear_points."""
        self._answer_waiting()
        self._session.clear_points(name)

    def reanchor(self) -> None:
        """See Session.reanchor; windowed engines keep templates of their own, and nothing comes of it."""
        self._answer_waiting()
        self._session.reanchor()

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        started_s = time.perf_counter()
        self._session.foresee(waiting)
        share_ms = 1e3 * (time.perf_counter() - started_s) / len(waiting)
        for frame in waiting:
            update = self._session.update(frame)
            match_ms = update.stage_ms["match"] + share_ms
            self._answered.append(replace(update, stage_ms={**update.stage_ms, "match": match_ms}))

    def _hand_out(self) -> list[Update]:
        answered, self._answered = self._answered, []
        return answered
