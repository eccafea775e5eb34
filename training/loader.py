"""Batches made ahead of training, by a thread or by processes; a batch depends on seed, step and rank alone.

Each clip always goes to the same worker, so every clip is decoded and cached in one place only.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

import cv2
import numpy as np

from specktrack.training.data import Batch, Example, ExampleSettings, draw_example, stack
from specktrack.training.sources import ClipPool, Source

AHEAD = 6  # steps whose batches are under way


@dataclass(frozen=True)
class Plan:
    """What decides every batch of a run."""

    seed: int
    batch: int
    sources: tuple[Source, ...]
    examples: ExampleSettings
    rank: int = 0  # of several processes that train together: each draws its own batches


def clips_of_step(plan: Plan, step: int, pool: ClipPool) -> list[int]:
    """Indices of the clips in the batch of a step."""
    rng = np.random.default_rng([plan.seed, step, plan.rank, 0])
    return [pool.draw(rng) for _ in range(plan.batch)]


def make_example(plan: Plan, step: int, place: int, pool: ClipPool, index: int) -> Example:
    """Example number `place` of the batch of a step, from the clip `index`."""
    return draw_example(np.random.default_rng([plan.seed, step, plan.rank, 1 + place]), pool[index], plan.examples)


def make_batch(plan: Plan, step: int, pool: ClipPool) -> Batch:
    """The batch of a step, here and now."""
    indices = clips_of_step(plan, step, pool)
    return stack([make_example(plan, step, place, pool, index) for place, index in enumerate(indices)])


def batches(plan: Plan, first: int, last: int, workers: int = 0, cache_mb: float = 1024.0) -> Iterator[Batch]:
    """Batches of steps first..last-1, the same for any number of workers.

    workers  processes; 0 makes the examples in a thread of this one (OpenCV releases the lock)
    Raises InputError with its one sentence when a clip turns out to be malformed.
    """
    pool = ClipPool(plan.sources, cache_mb)
    makers = _makers(plan, pool, workers, cache_mb)
    under_way: deque[list[Future[Example]]] = deque()
    try:
        for step in range(first, last + AHEAD):
            if step < last:
                indices = enumerate(clips_of_step(plan, step, pool))
                under_way.append([makers[i % len(makers)](step, place, i) for place, i in indices])
            if step >= first + AHEAD:
                yield stack([future.result() for future in under_way.popleft()])
    finally:
        for maker in makers:
            maker.close()


class _Maker:
    """One worker: a thread or a process that makes the examples of its clips."""

    def __init__(self, executor: Executor, make: Callable[[int, int, int], Example]) -> None:
        self._executor = executor
        self._make = make

    def __call__(self, step: int, place: int, index: int) -> Future[Example]:
        return self._executor.submit(self._make, step, place, index)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _makers(plan: Plan, pool: ClipPool, workers: int, cache_mb: float) -> Sequence[_Maker]:
    if not workers:

        def make_here(step: int, place: int, index: int) -> Example:
            return make_example(plan, step, place, pool, index)

        return [_Maker(ThreadPoolExecutor(1, "examples"), make_here)]
    context = get_context("spawn")  # a fork would copy the threads' locks of torch
    start = (plan, cache_mb / workers)
    return [_Maker(ProcessPoolExecutor(1, context, _start_worker, start), _make_in_worker) for _ in range(workers)]


_worker: tuple[Plan, ClipPool]


def _start_worker(plan: Plan, cache_mb: float) -> None:
    """What a worker process does once: its own cache, one core, Ctrl-C left to the parent, and an end with it."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = plan, ClipPool(plan.sources, cache_mb)


def _end_with_parent() -> None:
    """A killed parent closes nothing: without this its workers would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_worker(step: int, place: int, index: int) -> Example:
    plan, pool = _worker
    return make_example(plan, step, place, pool, index)
