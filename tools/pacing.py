"""Sending at an exact rate: every frame has its deadline, lateness of one never moves the next."""

import time
from collections.abc import Callable

MAX_LAG_NS = 500_000_000  # further behind than this, the schedule starts anew instead of a burst


class Pacer:
    """Deadlines t0 + k / rate on the monotonic clock."""

    def __init__(
        self,
        frame_rate_hz: float,
        now_ns: Callable[[], int] = time.monotonic_ns,
        wait_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_ns = 1e9 / frame_rate_hz
        self._now_ns = now_ns
        self._wait_s = wait_s
        self._t0_ns: int | None = None
        self._k = 0
        self.worst_late_ns = 0
        self.restarts = 0  # times we fell so far behind that the schedule was given up

    def next(self) -> int:
        """Wait for the next deadline and return it, ns on the monotonic clock."""
        if self._t0_ns is None:
            self._t0_ns = self._now_ns()
        deadline_ns = self._t0_ns + round(self._k * self._interval_ns)
        while (remaining_ns := deadline_ns - self._now_ns()) > 0:
            self._wait_s(remaining_ns * 1e-9)
        if -remaining_ns > MAX_LAG_NS:
            self.restarts += 1
            self._t0_ns, self._k = self._now_ns(), 0
            deadline_ns = self._t0_ns
        else:
            self.worst_late_ns = max(self.worst_late_ns, -remaining_ns)
        self._k += 1
        return deadline_ns
