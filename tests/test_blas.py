"""Small products stay on the thread that asks for them: no other core spins while it waits for the next."""

import os
import subprocess
import sys

LOOK = """
import numpy
from threadpoolctl import threadpool_info
from specktrack.rt import blas

def most():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

before = most()
blas.on_one_thread()
numpy.ones((300, 300)) @ numpy.ones((300, 300))
print(before, most())
"""


def test_linear_algebra_uses_one_thread_once_told() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    said = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert said.stdout.split() == [str(min(2, os.cpu_count() or 1)), "1"]
