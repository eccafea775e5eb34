"""Batches made ahead: in order, decided by seed, step and rank alone, by threads or processes alike."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import save_clip
from specktrack.training.data import Batch, ExampleSettings
from specktrack.training.loader import Plan, batches, make_batch
from specktrack.training.sources import ClipPool, Source

SETTINGS = ExampleSettings(size=64, n_points=6, recent_lags=(4, 1))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    for seed in range(3):
        save_clip(tmp_path / f"dots-{seed}.npz", moving_dots(seed=seed))
    return Plan(3, 2, (Source(folder=str(tmp_path)),), SETTINGS)


def batch_of(plan: Plan, step: int) -> Batch:
    return make_batch(plan, step, ClipPool(plan.sources))


def same(first: Batch, second: Batch) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("frames", "points", "visible"))


def test_the_same_seed_and_step_give_the_same_batch(plan: Plan) -> None:
    assert same(batch_of(plan, 17), batch_of(plan, 17))


def test_another_step_seed_or_rank_gives_another_batch(plan: Plan) -> None:
    base = batch_of(plan, 17)
    assert not same(base, batch_of(plan, 18))
    assert not same(base, batch_of(replace(plan, seed=4), 17))
    assert not same(base, batch_of(replace(plan, rank=1), 17))


def test_the_examples_of_a_batch_differ(plan: Plan) -> None:
    batch = batch_of(replace(plan, batch=6), 0)
    assert len({example.tobytes() for example in batch.points}) == 6


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_and_are_the_same_for_any_number_of_workers(plan: Plan, workers: int) -> None:
    made = list(batches(plan, 5, 15, workers))
    assert len(made) == 10
    for step, batch in zip(range(5, 15), made, strict=True):
        assert same(batch, batch_of(plan, step))


def test_a_run_of_no_steps_makes_no_batch(plan: Plan) -> None:
    assert list(batches(plan, 5, 5)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_making_batches_may_be_given_up_early(plan: Plan, workers: int) -> None:
    made = batches(plan, 0, 1000, workers)
    next(made)
    assert isinstance(made, Iterator)
    made.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_stops_the_batches_with_its_own_sentence(tmp_path: Path, workers: int) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no clip")
    plan = Plan(0, 1, (Source(folder=str(tmp_path)),), SETTINGS)
    with pytest.raises(InputError, match=r"broken\.npz: not a readable") as failure:
        next(batches(plan, 0, 5, workers))
    assert "\n" not in str(failure.value)


KILLED = """
import multiprocessing, sys
from specktrack.training.data import ExampleSettings
from specktrack.training.loader import Plan, batches
from specktrack.training.sources import Source
if __name__ == "__main__":
    plan = Plan(0, 1, (Source(folder=sys.argv[1]),), ExampleSettings(size=64, n_points=6))
    made = batches(plan, 0, 1000, 1)
    next(made)
    print(multiprocessing.active_children()[0].pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is not a child: Linux")
def test_workers_end_when_their_run_is_killed(plan: Plan, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), plan.sources[0].folder]
    with (
        (tmp_path / "stderr.txt").open("w") as said,  # the killed run's semaphores are mourned there
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as run,
    ):
        assert run.stdout is not None
        worker = os.pidfd_open(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
        run.wait()
    ended, _, _ = select.select([worker], [], [], 30)
    os.close(worker)
    assert ended
