"""What can be put under the stopwatch: a served stream, its encoder alone, optical flow, other trackers."""

import time
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.bench_scene import Scene
from specktrack.rt.bench_served import Served
from specktrack.rt.engine import Engine
from specktrack.rt.lucas_kanade import opencv_step
from specktrack.rt.preprocess import preprocess

Times = dict[str, NDArray[np.float32]]  # stage -> (T,) ms
TOTAL = "total"
FLOWS = ("dis", "lucas-kanade")


class Subject(Protocol):
    """Something measured frame by frame."""

    name: str

    def turn(self, n_frames: int) -> int:
        """Answer frames; each is remembered with what it took. How many were answered."""
        ...

    def burst(self, n_frames: int) -> int:
        """Answer frames as fast as possible; nothing is remembered. How many were answered."""
        ...

    def times(self) -> tuple[NDArray[np.int64], Times]:
        """Numbers (T,) of the remembered frames, and what their stages took."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class ServedSubject:
    """The whole path of the daemon, receipt to publish."""

    def __init__(self, engine: Engine, scene: Scene) -> None:
        self.name = name_of(engine)
        self._served = Served(engine, scene)
        self._seqs: list[int] = []

    def turn(self, n_frames: int) -> int:
        """See Subject."""
        first = self._served.next_seq
        self._served.turn(n_frames)
        self._seqs += range(first, first + n_frames)
        return n_frames

    def burst(self, n_frames: int) -> int:
        """See Subject."""
        self._served.burst(n_frames)
        return n_frames

    def times(self) -> tuple[NDArray[np.int64], Times]:
        """See Subject."""
        seqs = np.asarray(self._seqs, np.int64)
        return seqs, self._served.stage_ms(seqs)

    def close(self) -> None:
        """See Subject."""
        self._served.close()


class CalledSubject:
    """A function called once a frame on this thread."""

    def __init__(self, name: str, answer: Callable[[int], object], close: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.close = close
        self._answer = answer
        self._seq = 0
        self._seqs: list[int] = []
        self._ms: list[float] = []

    def turn(self, n_frames: int) -> int:
        """See Subject."""
        for seq in range(self._seq, self._seq + n_frames):
            start = time.perf_counter()
            self._answer(seq)
            self._ms.append(1e3 * (time.perf_counter() - start))
            self._seqs.append(seq)
        self._seq += n_frames
        return n_frames

    def burst(self, n_frames: int) -> int:
        """See Subject."""
        for seq in range(self._seq, self._seq + n_frames):
            self._answer(seq)
        self._seq += n_frames
        return n_frames

    def times(self) -> tuple[NDArray[np.int64], Times]:
        """See Subject."""
        return np.asarray(self._seqs, np.int64), {TOTAL: np.asarray(self._ms, np.float32)}


def name_of(engine: Engine) -> str:
    """Model and engine, and the precision where it is not the usual one."""
    precision = "" if engine.precision == "fp32" else f" in {engine.precision}"
    return f"{engine.model} on {engine.name}{precision}"


def encoder_alone(engine: Engine, scene: Scene) -> CalledSubject:
    """The network and nothing else, on images already at the engine's size."""
    images = [preprocess(frame, engine.input_size)[0] for frame in scene.frames]
    name = f"{name_of(engine)}, encoder alone"
    return CalledSubject(name, lambda seq: engine.encode(images[seq % len(images)]), engine.close)


def optical_flow(name: str, scene: Scene) -> CalledSubject:
    """OpenCV's DIS flow at its medium preset, or pyramidal Lucas-Kanade of the points, at the size of the frames."""
    if name == "lucas-kanade":
        return CalledSubject(name, lambda seq: opencv_step(scene.pixels(seq), scene.pixels(seq + 1), scene.points))
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return CalledSubject("dis, medium preset", lambda seq: dis.calc(scene.pixels(seq), scene.pixels(seq + 1), None))
