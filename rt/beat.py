"""What a stream remembers of its recent frames, and the frames of one finished beat cut out of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray
from specktrack.rt.update import BeatEvents

MIN_FRAMES = 8  # of a beat


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of the history."""

    seq: int
    t_acq_ns: int
    points: FloatArray  # (N, 3) x, y, confidence


@dataclass(frozen=True)
class RecordedBeat:
    """The T frames from one end-diastole to the next, as they were tracked live."""

    events: BeatEvents
    seq: NDArray[np.int64]  # (T,)
    t_acq_ns: NDArray[np.int64]  # (T,)
    points: FloatArray  # (T, N, 3) x, y in source pixels, confidence; a lost point is NaN, NaN, 0
    es_index: int  # into the T frames
    rest_index: int | None  # the calmest frame of diastasis


class BeatHistory:
    """Ring of the tracked points of recent frames, enough of them for the slowest beat."""

    def __init__(self, n_points: int, capacity: int = 512) -> None:
        self._capacity = capacity
        self.reset(n_points)

    def reset(self, n_points: int) -> None:
        """Forget all frames; from now on there are n_points."""
        self._seq = np.zeros(self._capacity, np.int64)
        self._t_acq_ns = np.zeros(self._capacity, np.int64)
        self._points = np.zeros((self._capacity, n_points, 3), np.float32)
        self._count = 0
        self._corrected_seq = -1  # where drift was found the last time

    def update(self, seq: int, t_acq_ns: int, points: FloatArray) -> None:
        """Remember the points (N, 3) of one frame; x, y in source pixels, confidence; lost points NaN, NaN, 0."""
        slot = self._count % self._capacity
        self._seq[slot], self._t_acq_ns[slot] = seq, t_acq_ns
        self._points[slot] = points
        self._count += 1

    def correct(self, since_seq: int, drift: FloatArray) -> None:
        """Drift (N, 2) was found in frame `since_seq`: points of that frame and of all later ones lie this much off.

        It grew since it was found the last time, so earlier frames have their share of it. All at once, it would be
        a jump near end-diastole, between the zero of the strain and everything measured from there.
        """
        order = self._order()
        since = int(np.searchsorted(self._seq[order], since_seq))
        last = int(np.searchsorted(self._seq[order], self._corrected_seq))
        if since < len(order):
            times = self._t_acq_ns[order].astype(np.float64)
            share = np.clip((times - times[last]) / max(times[since] - times[last], 1.0), 0.0, 1.0)
            share[since:] = 1.0
            self._points[order, :, :2] += (share[:, None, None] * drift).astype(np.float32)
        self._corrected_seq = since_seq

    def nearest(self, time_s: float) -> RecordedFrame | None:
        """The frame nearest to a time on the sender's clock, such as a confirmed ED; None beyond the history."""
        order = self._order()
        index = self._index(order, time_s)
        if index is None:
            return None
        slot = order[index]
        return RecordedFrame(int(self._seq[slot]), int(self._t_acq_ns[slot]), self._points[slot].copy())

    def cut(self, events: BeatEvents) -> RecordedBeat | None:
        """The beat between two end-diastoles, or None when its frames were not all remembered."""
        order = self._order()
        ed, end = self._index(order, events.ed_s), self._index(order, events.next_ed_s)
        if ed is None or end is None or end - ed < MIN_FRAMES:
            return None
        slots = order[ed : end + 1]
        es = self._index(order, events.es_s)
        rest = self._index(order, events.diastasis_s) if events.diastasis_s is not None else None
        return RecordedBeat(
            events=events,
            seq=self._seq[slots],
            t_acq_ns=self._t_acq_ns[slots],
            points=self._points[slots],
            es_index=min(max((es or ed) - ed, 0), end - ed),
            rest_index=min(max(rest - ed, 0), end - ed) if rest is not None else None,
        )

    def _order(self) -> NDArray[np.int64]:
        return np.arange(max(self._count - self._capacity, 0), self._count) % self._capacity

    def _index(self, order: NDArray[np.int64], time_s: float) -> int | None:
        """Position in `order` of the frame nearest to a time; None when the time lies outside the history."""
        if len(order) < 2:
            return None
        times = self._t_acq_ns[order] * 1e-9
        slack = float(np.median(np.diff(times)))
        if not times[0] - slack <= time_s <= times[-1] + slack:
            return None
        return int(np.abs(times - time_s).argmin())
