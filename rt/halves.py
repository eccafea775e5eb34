"""A compiled pass over the points on two cores: while a frame is matched, the core of the optical flow is idle."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

LEAST_POINTS = 48  # with fewer, handing over saves little and makes every frame wait for a second core


def in_halves(kernel: Callable[..., None], n_points: int, *arguments: object) -> None:
    """kernel(*arguments, first, last) for all points; it must let go of the interpreter and write to its own points.

    The second half begins at an even number, for kernels that take points two at a time.
    """
    if n_points < LEAST_POINTS or len(os.sched_getaffinity(0)) < 2:
        kernel(*arguments, 0, n_points)
        return
    middle = n_points // 4 * 2
    other = _worker().submit(kernel, *arguments, middle, n_points)
    kernel(*arguments, 0, middle)
    other.result()


@cache
def _worker() -> ThreadPoolExecutor:
    """One thread for the second halves of all streams."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="halves")
