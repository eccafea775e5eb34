"""Other trackers under the stopwatch: networks of the training package, opened only when asked for.

They answer a window of frames at a time; what counts is the time per frame. They are a plug-in like an engine: without
the training package installed everything else is measured all the same.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from specktrack.rt.bench_scene import Scene
from specktrack.rt.bench_subjects import CalledSubject
from specktrack.rt.errors import InputError

WINDOW_FRAMES = {"echotracker": 24, "pips": 24, "cotracker3": 24}
TRACKERS = tuple(WINDOW_FRAMES)


class WindowSubject(CalledSubject):
    """A tracker asked once for a whole window; each of its frames took its share."""

    def __init__(self, name: str, scene: Scene, weights: Path | None) -> None:
        from specktrack.training.point_tracker import open_tracker

        tracker = open_tracker(name, weights)
        self.window_frames = WINDOW_FRAMES[name]
        frames = np.stack([scene.pixels(seq) for seq in range(self.window_frames)])
        queries = np.column_stack((np.zeros(len(scene.points), np.float32), scene.points))
        super().__init__(f"{name}, {self.window_frames} frames", lambda _: tracker.track(frames, queries))

    def turn(self, n_frames: int) -> int:
        """One window, however many frames were asked for."""
        super().turn(1)
        self._ms[-1] /= self.window_frames
        return self.window_frames

    def burst(self, n_frames: int) -> int:
        """Nothing: the rate follows from the time."""
        return 0


def other_tracker(name: str, scene: Scene, weights: Mapping[str, Path], threads: int) -> WindowSubject:
    """A tracker with the user's checkpoint, or with random weights; raises InputError."""
    for library in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[library] = str(threads)  # read when the library is imported, just below
    try:
        return WindowSubject(name, scene, weights.get(name))
    except ImportError as error:
        raise InputError(f"model {name}: {error}; install it with pip install specktrack[train]") from error
