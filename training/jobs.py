"""Clips tracked and judged in this process, or in several at the same time."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import cv2
import numba

from specktrack.training.cases import ClipSource, EvalConfig, load_case
from specktrack.training.follow import Follower, open_follower, warm_up
from specktrack.training.score import ClipScore, score_clip

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """A clip, and the trackers still to follow it."""

    source: ClipSource
    settings: EvalConfig
    trackers: tuple[str, ...]


class Worker:
    """Keeps its trackers open from clip to clip; `close` frees them."""

    def __init__(self) -> None:
        self._followers: dict[str, Follower] = {}

    def run(self, task: Task) -> dict[str, ClipScore]:
        """Scores by tracker, one tracker after the other on the same clip; empty without a point to judge."""
        case = load_case(task.source, task.settings)
        return {} if case is None else {name: score_clip(self._open(name, task), case) for name in task.trackers}

    def close(self) -> None:
        """Free all engines."""
        for follower in self._followers.values():
            follower.close()
        self._followers.clear()

    def _open(self, name: str, task: Task) -> Follower:
        if name not in self._followers:
            self._followers[name] = open_follower(name, task.settings.match, threads_of_a_job(task.settings))
            warm_up(self._followers[name])
        return self._followers[name]


def threads_of_a_job(settings: EvalConfig) -> int:
    """Threads an engine may use; 0 leaves it to the engine, which then has the machine to itself."""
    if settings.threads or settings.jobs == 1:
        return settings.threads
    return max(len(os.sched_getaffinity(0)) // settings.jobs, 1)


def run_in_processes(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, dict[str, ClipScore]]]:
    """Tasks with their scores, in the order they are done; an error in one of them ends the run."""
    if not tasks:
        return
    threads = threads_of_a_job(tasks[0].settings)
    with (
        _thread_variables(threads),
        ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=(threads,)) as pool,
    ):
        running = {pool.submit(_run, task): task for task in tasks}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _thread_variables(threads: int) -> Iterator[None]:
    """What libraries of new processes read when they are loaded."""
    before = {key: os.environ.get(key) for key in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def _begin(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it lets clips under way end
    cv2.setNumThreads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


@cache
def _worker() -> Worker:
    """The one of this process."""
    return Worker()


def _run(task: Task) -> dict[str, ClipScore]:
    return _worker().run(task)
