"""Other trackers under the stopwatch: networks of the training package, opened only when asked for.

They answer a window of frames at a time, as in the stream (windowed.py); what counts is the time per new frame. They
are a plug-in like an engine: without the training package installed everything else is measured all the same.
"""

import os
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from specktrack.rt.bench_scene import Scene
from specktrack.rt.bench_subjects import CalledSubject
from specktrack.rt.config import ModelConfig
from specktrack.rt.errors import EngineError, InputError
from specktrack.rt.geometry import ImageScale
from specktrack.rt.preprocess import preprocess
from specktrack.rt.windowed import NAMES, WindowedEngine, open_plug_in

TRACKERS = NAMES


class WindowSubject(CalledSubject):
    """A tracker asked for one window after the other; each new frame of a window took its share."""

    def __init__(self, engine: WindowedEngine, scene: Scene) -> None:
        side = scene.side_px
        images = [preprocess(frame, engine.input_size)[0] for frame in scene.frames]
        points = ImageScale((side, side), engine.input_size).forward(scene.points)
        self._next = (images[k % len(images)] for k in count(1))
        self._run = engine.begin(images[0], points)
        self._n_new = self._run.wanted
        self._answer_window()  # the first is longer for some
        super().__init__(
            f"{engine.model}, {self._run.wanted} new frames", lambda _: self._answer_window(), engine.close
        )

    def turn(self, n_frames: int) -> int:
        """One window, however many frames were asked for."""
        started_s = time.perf_counter()
        super().turn(1)
        self._ms[-1] = 1e3 * (time.perf_counter() - started_s) / self._n_new
        return self._n_new

    def burst(self, n_frames: int) -> int:
        """Nothing: the rate follows from the time."""
        return 0

    def _answer_window(self) -> None:
        self._n_new = self._run.wanted
        self._run.follow([next(self._next) for _ in range(self._n_new)])


def other_tracker(name: str, scene: Scene, weights: Mapping[str, Path], threads: int) -> WindowSubject:
    """A tracker with the user's checkpoint, or with random weights; raises InputError."""
    for library in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[library] = str(threads)  # read when the library is imported, just below
    try:
        config = ModelConfig(name=name, weights=str(weights.get(name, "")), threads=threads)
        return WindowSubject(open_plug_in(config), scene)
    except EngineError as error:
        raise InputError(str(error)) from error
