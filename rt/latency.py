"""How long frames take: times per stage and percentiles over the last frames, allocated once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STAGES = ("queue", "preprocess", "encode", "match", "analyse", "publish", "total")
DEFAULT_FRAMES = 4096  # over a minute at 60 frames a second


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles of one stage over the remembered frames, ms; `max_seq` is the frame that took longest."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    max_seq: int


def summary_of(seqs: NDArray[np.int64], times_ms: NDArray[np.float32]) -> LatencySummary:
    """Percentiles of times (T,), T > 0, of the frames with these numbers (T,)."""
    p50, p95, p99 = np.percentile(times_ms, (50, 95, 99))
    worst = int(times_ms.argmax())
    return LatencySummary(float(p50), float(p95), float(p99), float(times_ms[worst]), int(seqs[worst]))


class LatencyMeter:
    """Rings of stage times of the last `capacity` frames."""

    def __init__(self, capacity: int = DEFAULT_FRAMES) -> None:
        self._ms = np.zeros((len(STAGES), capacity), np.float32)
        self._seq = np.zeros(capacity, np.int64)
        self._count = 0

    def __len__(self) -> int:
        """How many frames are remembered."""
        return min(self._count, self._seq.size)

    def update(self, seq: int, stage_ms: Mapping[str, float]) -> None:
        """Remember one frame; a stage it does not name took no time, a stage we do not know is left out."""
        at = self._count % self._seq.size
        self._seq[at] = seq
        for row, stage in enumerate(STAGES):
            self._ms[row, at] = stage_ms.get(stage, 0.0)
        self._count += 1

    def summary(self, stage: str = "total") -> LatencySummary | None:
        """Percentiles of a stage; None before the first frame. Raises ValueError for an unknown stage."""
        times = self._ms[STAGES.index(stage), : len(self)]
        return summary_of(self._seq, times) if times.size else None

    def times_ms(self, stage: str) -> NDArray[np.float32]:
        """What a stage took of each remembered frame (T,), oldest first. Raises ValueError for an unknown stage."""
        return self._ms[STAGES.index(stage), self._order()]

    def seqs(self) -> NDArray[np.int64]:
        """Numbers (T,) of the remembered frames, oldest first."""
        return self._seq[self._order()]

    def reset(self) -> None:
        """Forget all frames."""
        self._count = 0

    def _order(self) -> NDArray[np.int64]:
        return np.arange(self._count - len(self), self._count) % self._seq.size


class RateMeter:
    """Events per second over the last `capacity` events."""

    def __init__(self, capacity: int = 64) -> None:
        self._times_s = np.zeros(capacity, np.float64)
        self._count = 0

    def update(self, time_s: float) -> None:
        """Remember one event."""
        self._times_s[self._count % self._times_s.size] = time_s
        self._count += 1

    @property
    def rate_hz(self) -> float | None:
        """None until two events lie apart in time."""
        n_known = min(self._count, self._times_s.size)
        if n_known < 2:
            return None
        newest = self._times_s[(self._count - 1) % self._times_s.size]
        oldest = self._times_s[self._count % self._times_s.size if self._count > self._times_s.size else 0]
        span_s = float(newest - oldest)
        return (n_known - 1) / span_s if span_s > 0 else None

    def reset(self) -> None:
        """Forget all events, for example after a silence."""
        self._count = 0
