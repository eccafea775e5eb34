"""Measures many things in turns, so that a machine that is busy with something else slows all of them alike.

Every subject answers a few frames, then the next one does, round after round, in an order that changes. Absolute times
are those of the machine in that hour; ratios of medians hold.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.bench_subjects import TOTAL, Subject
from specktrack.rt.latency import LatencySummary, summary_of

TURN_FRAMES = 8
WARM_UP_TURNS = 3
WATCHED_FRAMES = 16  # frames during which allocations are looked at
SLOW_TURN_S = 1.0  # of processor time: one turn is warm-up enough, and allocations are looked at once


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    rounds: int
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One subject's figures."""

    name: str
    stages: dict[str, LatencySummary]  # at least `total`
    frames_per_s: float | None  # as fast as possible; None where it follows from the time
    cpu_ms_per_frame: float
    memory_mib: float  # what opening and warming it added to the process
    transient_kib_per_frame: float  # most that Python and NumPy newly held at once while a frame was answered, median
    kept_blocks_per_frame: float  # Python objects that remained

    @property
    def total(self) -> LatencySummary:
        """Receipt to publish, or the whole call."""
        return self.stages[TOTAL]


class Measured:
    """A subject with what the stopwatch has seen of it."""

    def __init__(self, opening: Callable[[], Subject]) -> None:
        before = resident_mib()
        self.subject = opening()
        started_s = time.process_time()
        self.subject.turn(TURN_FRAMES)
        self._is_slow = time.process_time() - started_s > SLOW_TURN_S
        for _ in range(0 if self._is_slow else WARM_UP_TURNS - 1):
            self.subject.turn(TURN_FRAMES)
        self.memory_mib = resident_mib() - before
        self._n_warm = len(self.subject.times()[0])
        self._cpu_s: list[float] = []
        self._rates: list[float] = []

    def turn(self) -> None:
        """A few frames for latency, then a few for throughput."""
        cpu_s = time.process_time()
        n_frames = self.subject.turn(TURN_FRAMES)
        self._cpu_s.append((time.process_time() - cpu_s) / n_frames)
        start_s = time.perf_counter()
        n_frames = self.subject.burst(TURN_FRAMES)
        if n_frames:
            self._rates.append(n_frames / (time.perf_counter() - start_s))

    def row(self) -> Row:
        """All figures."""
        seqs, times = self.subject.times()
        stages = {stage: summary_of(seqs[self._n_warm :], ms[self._n_warm :]) for stage, ms in times.items()}
        transient, kept = _allocations(self.subject, 1 if self._is_slow else WATCHED_FRAMES)
        return Row(
            name=self.subject.name,
            stages=stages,
            frames_per_s=float(np.median(self._rates)) if self._rates else None,
            cpu_ms_per_frame=1e3 * float(np.median(self._cpu_s)),
            memory_mib=self.memory_mib,
            transient_kib_per_frame=transient,
            kept_blocks_per_frame=kept,
        )


def measure(
    openings: Sequence[Callable[[], Subject]], plan: Plan, on_turn: Callable[[], None] = lambda: None
) -> list[Row]:
    """Open all subjects, then measure them in turns; rows in the order given."""
    measured: list[Measured] = []
    try:
        for opening in openings:
            measured.append(Measured(opening))
        rng = np.random.default_rng(plan.seed)
        for _ in range(plan.rounds):
            for k in rng.permutation(len(measured)):
                measured[k].turn()
                on_turn()
        return [each.row() for each in measured]
    finally:
        for each in measured:
            each.subject.close()


def resident_mib() -> float:
    """Memory of this process that is really in use; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


def _allocations(subject: Subject, n_frames: int) -> tuple[float, float]:
    """KiB newly held at once while a frame is answered, and objects that remain, both per frame."""
    before = sys.getallocatedblocks()
    subject.turn(n_frames)
    kept = (sys.getallocatedblocks() - before) / n_frames
    peaks: NDArray[np.float64] = np.zeros(n_frames)
    tracemalloc.start()
    try:
        for k in range(n_frames):
            tracemalloc.reset_peak()
            held, _ = tracemalloc.get_traced_memory()
            subject.turn(1)
            peaks[k] = tracemalloc.get_traced_memory()[1] - held
    finally:
        tracemalloc.stop()
    return float(np.median(peaks)) / 1024, kept
