"""One stream inside the daemon: its session, its health and its figures. Times are given by the daemon."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from specktrack.rt.config import DaemonConfig
from specktrack.rt.engine import Engine
from specktrack.rt.errors import SpeckError
from specktrack.rt.frame import Frame
from specktrack.rt.health import Health, is_same_image
from specktrack.rt.ingest import LOG_INTERVAL_S, Complaint, Received
from specktrack.rt.late_session import open_session
from specktrack.rt.latency import LatencyMeter, LatencySummary, RateMeter
from specktrack.rt.update import Update
from specktrack.rt.windowed import WindowedEngine
from specktrack.rt.wire import LatencyHeader, State, StatusHeader, StreamCounts

log = logging.getLogger(__name__)

EVENT_S = 10.0  # how long a status speaks of something that happened once


@dataclass(frozen=True)
class Answer:
    """What is said of one frame, and when it came and was begun on; seconds, monotonic."""

    update: Update
    t_recv_s: float
    started_s: float


@dataclass(frozen=True)
class ServerFacts:
    """What every status says about the server, beside the stream."""

    model: str
    engine: str
    version: str
    delay_frames: int = 0  # how many frames an answer is late at most; windowed models answer late


class Stream:
    """Follows one probe or view from its first frame on."""

    def __init__(self, name: str, config: DaemonConfig, engine: Engine | WindowedEngine) -> None:
        self.name = name
        self.session = open_session(name, config.session, engine)
        self.health = Health(config.health)
        self.latency = LatencyMeter()
        self.frames_out = 0
        self.newest: Frame | None = None
        self._stalled_after_s = config.health.stalled_after_ms / 1000.0
        self._rate = RateMeter()
        self._last_recv_s = -np.inf
        self._received_s: dict[int, float] = {}  # when frames without an answer yet came, by number
        self._n_points = self._n_lost = 0  # in the newest answer
        self._event = ""
        self._event_s = -np.inf
        self._complaint = Complaint(LOG_INTERVAL_S)

    @property
    def state(self) -> State:
        """Whether the stream is to be trusted now."""
        return self.health.state

    @property
    def n_points(self) -> int:
        """Points followed now, of all groups."""
        return sum(group.count for group in self.session.groups)

    def track(self, received: Received, counts: StreamCounts, started_s: float) -> list[Answer]:
        """Follow the points into a new frame; what can now be said, oldest frame first.

        Of a windowed model that is often nothing, then a window of frames. A frame that the session could not use
        has no answer; the status then says why.
        """
        frame, time_s = received.frame, received.t_recv_s
        if time_s - self._last_recv_s > self._stalled_after_s:
            self._rate.reset()
        self._rate.update(time_s)
        self._last_recv_s = time_s
        is_identical = self.newest is not None and is_same_image(frame, self.newest)
        self.newest = frame
        self._received_s[frame.seq] = time_s
        try:
            updates = self.session.answers(frame)
        except SpeckError as error:
            self._complaint.say(time_s, "%s: frame %d: %s", self.name, frame.seq, error)
            self.say(time_s, str(error))
            return []
        answers = self._dated(updates, started_s)
        self.health.update(
            time_s,
            is_frozen=frame.is_frozen,
            is_identical=is_identical,
            n_points=self._n_points,
            n_lost=self._n_lost,
            n_missed=counts.dropped + counts.gaps,
        )
        return answers

    def finish(self, started_s: float) -> list[Answer]:
        """No frame comes for now: what can be said of those that wait for a window to be full."""
        return self._dated(self.session.finish(), started_s)

    def catch_up(self, spare_s: float) -> None:
        """The answers are out: do what only the next frame needs, and in the time to spare what can wait."""
        self.session.catch_up(spare_s)

    @property
    def interval_s(self) -> float:
        """Between frames; 0 while it is not known."""
        rate_hz = self._rate.rate_hz
        return 1.0 / rate_hz if rate_hz else 0.0

    @property
    def is_silent(self) -> bool:
        """Have frames stopped coming?"""
        return self.health.is_silent

    def _dated(self, updates: list[Update], started_s: float) -> list[Answer]:
        answers = []
        for update in updates:
            if update.is_new_epoch or update.message:
                self.say(started_s, update.message or "new epoch: the points were lost; set them again")
            self._n_points = len(update.points)
            self._n_lost = int(np.count_nonzero(update.points[:, 2] <= 0.0))
            answers.append(Answer(update, self._received_s.pop(update.seq, started_s), started_s))
        if updates:  # whatever is older will not be answered any more
            self._received_s = {seq: t for seq, t in self._received_s.items() if seq > updates[-1].seq}
        return answers

    def published(self, seq: int, latency_ms: Mapping[str, float]) -> None:
        """Remember what a published frame took."""
        self.frames_out += 1
        self.latency.update(seq, latency_ms)

    def tick(self, time_s: float) -> None:
        """Let time pass without a frame."""
        self.health.tick(time_s)
        if time_s - self._event_s > EVENT_S:
            self._event = ""

    def say(self, time_s: float, event: str) -> None:
        """Put something that happened into the status for a while."""
        self._event, self._event_s = event, time_s

    def change_key(self) -> tuple[State, int, str]:
        """What makes a new status worth publishing at once."""
        return self.state, self.n_points, self._event

    def status(self, facts: ServerFacts, counts: StreamCounts, n_invalid: int, uptime_s: float) -> StatusHeader:
        """How the stream fares, as clients see it."""
        return StatusHeader(
            stream=self.name,
            state=self.state,
            model=facts.model,
            engine=facts.engine,
            frames_in=counts.frames_in,
            frames_out=self.frames_out,
            dropped=counts.dropped,
            gaps=counts.gaps,
            invalid=n_invalid,
            frame_rate_hz=None if self.health.is_silent else self._rate.rate_hz,
            latency_ms=_latency_header(self.latency.summary()),
            points=self.n_points,
            uptime_s=uptime_s,
            version=facts.version,
            message="; ".join(text for text in (self._event, self.health.why) if text),
        )


def _latency_header(summary: LatencySummary | None) -> LatencyHeader | None:
    if summary is None:
        return None
    return LatencyHeader(
        p50=summary.p50_ms, p95=summary.p95_ms, p99=summary.p99_ms, max=summary.max_ms, seq=summary.max_seq
    )
