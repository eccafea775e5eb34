"""Trackers that see a window of frames at once (EchoTracker, CoTracker3, PIPs++): what they offer, points by them.

Such a model answers several frames together and late. `WindowTracker` stands where PointTracker does for a network
that matches frame by frame, so the session does not know which it has; late_session.py holds the frames back until a
window is full. The models are a plug-in of the training room, loaded when asked for: they need torch.
"""

import importlib
from collections import deque
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig, ModelConfig
from specktrack.rt.engine import Engine, Features, open_engine
from specktrack.rt.errors import EngineError
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.motion import align
from specktrack.rt.tracker import LOOP_REACH_UNITS, LOOP_RESIDUAL, PointTracker

PLUG_IN = "specktrack.training.windowed_models"
NAMES = ("echotracker", "echotracker-ptecho", "pips", "cotracker3")

Image = NDArray[np.uint8]


class Run(Protocol):
    """One model following its points from the frame they were set on."""

    @property
    def wanted(self) -> int:
        """New frames that make the next window full."""
        ...

    def follow(self, images: Sequence[Image]) -> FloatArray:
        """Points (K, N, 3) in the next K frames, 1..wanted: x, y in pixels of the images, confidence 0..1.

        Fewer than wanted are answered as well as a short window allows, and the run can go on from there.
        """
        ...


@runtime_checkable
class WindowedEngine(Protocol):
    """A loaded windowed model. Used from one thread."""

    name: str
    model: str
    input_size: tuple[int, int]  # height, width
    delay_frames: int  # how many frames an answer is late at most

    def begin(self, image: Image, points: FloatArray) -> Run:
        """Follow points (N, 2), pixels of the image (H, W), from this frame on."""
        ...

    def encode(self, image: Image) -> Features:
        """Nothing is computed frame by frame: the image itself."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


def open_windowed(config: ModelConfig) -> WindowedEngine:
    """The windowed model named in the settings with the user's weights; raises EngineError, InputError."""
    if not config.weights:
        raise EngineError(f"model {config.name}: comes without weights; give a checkpoint with --weights FILE")
    return open_plug_in(config)


def open_plug_in(config: ModelConfig) -> WindowedEngine:
    """The same; without weights a network that knows nothing, to measure its speed alone."""
    try:
        plug_in = importlib.import_module(PLUG_IN)
    except ImportError as error:
        raise EngineError(f"model {config.name}: {error}; install it with pip install specktrack[train]") from error
    engine: WindowedEngine = plug_in.open_engine(config)
    return engine


def open_model(config: ModelConfig) -> Engine | WindowedEngine:
    """The engine for the configured model, of either kind; raises EngineError, InputError."""
    return open_windowed(config) if config.name in NAMES else open_engine(config)


def delay_of(engine: Engine | WindowedEngine) -> int:
    """How many frames an answer is late at most."""
    return engine.delay_frames if isinstance(engine, WindowedEngine) else 0


def open_tracker(engine: Engine | WindowedEngine, config: MatchConfig) -> "PointTracker | WindowTracker":
    """What follows points with this engine."""
    return WindowTracker(engine, config) if isinstance(engine, WindowedEngine) else PointTracker(engine, config)


class WindowTracker:
    """State of the points of one stream; coordinates are pixels of the engine's image.

    The model alone says where points go. Each window begins where the last one ended, so its drift adds up; once a
    beat, at the phase the points were set in, aligned patches say how much, and it is taken out (close_loop).
    """

    def __init__(self, engine: WindowedEngine, config: MatchConfig) -> None:
        self._engine = engine
        self._config = config
        self._scale = engine.input_size[1] / 256.0
        self.reset()

    def reset(self) -> None:
        """Forget points and images."""
        self.points: FloatArray = np.zeros((0, 2), np.float32)
        self.confidence: FloatArray = np.zeros(0, np.float32)
        self._run: Run | None = None
        self._foreseen: deque[FloatArray] = deque()  # (N, 3) of frames to come
        self._first: tuple[Image, FloatArray] | None = None  # image and points where they were set
        self._last_image: Image | None = None
        self._shift: FloatArray = self.points  # drift taken out so far
        self._pending: FloatArray = self.points  # drift found, not yet taken out

    @property
    def wanted(self) -> int:
        """Frames that the model wants to see together next."""
        return self._run.wanted if self._run is not None else 1

    @property
    def steady(self) -> FloatArray:
        """The points (N, 2) as they are published: as the model has them."""
        return self.points

    @property
    def flow(self) -> None:
        """No optical flow is computed."""
        return None

    @property
    def is_lost(self) -> NDArray[np.bool_]:
        """(N,) points that left the image or that the model does not believe in."""
        is_on_image = Geometry(*self._engine.input_size).contains(self.points)
        return np.asarray(~is_on_image | (self.confidence < self._config.lost_below))

    def start(self, features: Features, points: FloatArray, image: Image) -> None:
        """Begin at points (N, 2) of this frame; earlier points are forgotten."""
        self.reset()
        self.points = points.astype(np.float32)
        self.confidence = np.ones(len(points), np.float32)
        self._first, self._last_image = (image, self.points), image
        self._shift, self._pending = np.zeros_like(self.points), np.zeros_like(self.points)
        self._run = self._engine.begin(image, self.points)

    def foresee(self, images: Sequence[Image]) -> None:
        """Find the points in the next frames together; `update` then takes them one by one."""
        assert self._run is not None
        done = 0
        while done < len(images):
            part = images[done : done + self._run.wanted]
            self._foreseen.extend(self._run.follow(part))
            done += len(part)

    def update(self, features: Features, image: Image) -> None:
        """The points in the next frame, foreseen or found now; raises RuntimeError before `start`."""
        if self._run is None:
            raise RuntimeError("no points were set")
        if not self._foreseen:
            self.foresee([image])
        found = self._foreseen.popleft()
        taken_out = self._config.loop_rate * self._pending
        self._pending, self._shift = self._pending - taken_out, self._shift + taken_out
        self.points, self.confidence = found[:, :2] + self._shift, found[:, 2].copy()
        self._last_image = image

    def close_loop(self, features: Features, points: FloatArray, image: Image) -> None:
        """The heart is where it was when the points (N, 2 here) were set: their patches say how far they drifted."""
        assert self._first is not None
        patch = align(self._first[0], image, self._first[1], points)
        is_same = (np.hypot(*patch.offset.T) < LOOP_REACH_UNITS * self._scale) & (patch.residual < LOOP_RESIDUAL)
        self._pending = np.where(is_same[:, None], patch.offset, 0.0).astype(np.float32)

    @property
    def pending(self) -> FloatArray:
        """Drift (N, 2) that was found and is not yet taken out of `points`."""
        return self._pending

    def re_anchor(self, features: Features, points: FloatArray, image: Image) -> None:
        """Windowed models keep templates of their own."""

    def relocalise(self) -> None:
        """Frames are missing: begin anew where the points were last seen."""
        if self._run is not None:
            assert self._last_image is not None
            self._foreseen.clear()
            self._run = self._engine.begin(self._last_image, self.points)
            self._shift = np.zeros_like(self.points)

    def catch_up(self) -> None:
        """Nothing is left to do after an answer."""

    def look_ahead(self, image: Image) -> None:
        """Nothing can be begun before the window is full."""
