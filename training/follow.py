"""Trackers put to work on one annotated clip, forward and backward from its query frame.

Networks and block matching run through the tracker of the stream (rt/tracker.py) without re-anchoring. What stands
still in the picture is learned from the clip before it is followed, as rt-track does and a stream has from the beat
before. The classical flows beside them see the same images as they come.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from specktrack.rt.config import MatchConfig, ModelConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.preprocess import preprocess
from specktrack.rt.still_picture import without_still_picture
from specktrack.rt.tracker import PointTracker
from specktrack.training.cases import Case
from specktrack.training.classical import CLASSICAL
from specktrack.training.point_tracker import PointTracker as Baseline
from specktrack.training.point_tracker import open_tracker, split_name

CLASSICAL_SIZE = (256, 256)
WARM_UP_FRAMES = 4
WARM_UP_POINTS = 8


@dataclass(frozen=True)
class Followed:
    """Where a tracker saw M points in T frames."""

    tracks: FloatArray  # (M, T, 2) clip pixels
    confidence: FloatArray | None  # (M, T); None: the tracker has none
    ms_per_frame: float  # mean over the frames of the clip, images resized and all


class Follower(Protocol):
    """A tracker by name; `close` frees what it holds."""

    def follow(self, case: Case, points: FloatArray) -> Followed:
        """Follow points (M, 2) of the query frame, in clip pixels, through all frames."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


class EngineFollower:
    """A network or block matching, in the tracker of the stream."""

    def __init__(self, engine: Engine, config: MatchConfig) -> None:
        self._engine, self._config = engine, config

    def follow(self, case: Case, points: FloatArray) -> Followed:
        """See Follower."""
        start_s = time.perf_counter()
        tracks, confidence = _through_stream(self._engine, case, points, self._config)
        return Followed(tracks, confidence, _ms_per_frame(case, start_s))

    def close(self) -> None:
        """See Follower."""
        self._engine.close()


class ClassicalFollower:
    """A tracker of classical.py."""

    def __init__(self, name: str) -> None:
        self._name = name

    def follow(self, case: Case, points: FloatArray) -> Followed:
        """See Follower."""
        start_s = time.perf_counter()
        tracks = _through_flow(self._name, case, points)
        return Followed(tracks, None, _ms_per_frame(case, start_s))

    def close(self) -> None:
        """Nothing to free."""


class BaselineFollower:
    """A tracker of point_tracker.py with the user's checkpoint."""

    def __init__(self, tracker: Baseline) -> None:
        self._tracker = tracker

    def follow(self, case: Case, points: FloatArray) -> Followed:
        """See Follower."""
        start_s = time.perf_counter()
        height, width = case.frames.shape[1:]
        inside = np.clip(points, 0, [width - 1, height - 1])  # a contour may begin beyond the picture
        queries = np.insert(inside, 0, case.query_frame, axis=1).astype(np.float32)
        found = self._tracker.track(case.frames, queries)
        confidence = found.confidence if self._tracker.gives_confidence else None
        return Followed(found.tracks, confidence, _ms_per_frame(case, start_s))

    def close(self) -> None:
        """Nothing to free."""


def open_follower(name: str, config: MatchConfig, threads: int = 0) -> Follower:
    """A tracker by name: one of CLASSICAL, `block`, a shipped network, a model file, or another tracker's NAME:WEIGHTS.

    Raises EngineError for an unknown name, InputError for a checkpoint that does not fit.
    """
    if name in CLASSICAL:
        return ClassicalFollower(name)
    if (baseline := split_name(name)) is not None:
        return BaselineFollower(open_tracker(*baseline))
    return EngineFollower(open_engine(ModelConfig(name=name, threads=threads)), config)


def warm_up(follower: Follower) -> None:
    """Compile and load everything on a few frames of noise, so that the first clip is not the slowest."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (WARM_UP_FRAMES, *CLASSICAL_SIZE), np.uint8)
    points = rng.uniform(64, 192, (WARM_UP_POINTS, 2)).astype(np.float32)
    truth = np.repeat(points[:, None], WARM_UP_FRAMES, 1)
    follower.follow(Case("noise", frames, truth, np.ones(truth.shape[:2], np.bool_), 0), points)


def track_case(engine: Engine, case: Case, config: MatchConfig) -> tuple[FloatArray, FloatArray]:
    """Tracks (N, T, 2) of the annotated points in clip pixels and confidence (N, T), by an engine."""
    return _through_stream(engine, case, case.query_points, config)


def track_classical(name: str, case: Case) -> FloatArray:
    """Tracks (N, T, 2) of the annotated points in clip pixels by one of the classical trackers."""
    return _through_flow(name, case, case.query_points)


def _orders(case: Case) -> list[list[int]]:
    """Frame numbers forward and backward, each beginning with the query frame."""
    last, query = len(case.frames) - 1, case.query_frame
    return [order for order in (list(range(query, last + 1)), list(range(query, -1, -1))) if len(order) > 1]


def _ms_per_frame(case: Case, start_s: float) -> float:
    return 1e3 * (time.perf_counter() - start_s) / sum(len(order) for order in _orders(case))


def _through_stream(
    engine: Engine, case: Case, points: FloatArray, config: MatchConfig
) -> tuple[FloatArray, FloatArray]:
    tracks = np.empty((len(points), len(case.frames), 2), np.float32)
    confidence = np.ones(tracks.shape[:2], np.float32)
    pairs = [preprocess(frame, engine.input_size) for frame in case.frames]
    images, scale = without_still_picture([image for image, _ in pairs], engine, config), pairs[0][1]
    for order in _orders(case):
        tracker = PointTracker(engine, config)
        for step, k in enumerate(order):
            image = images[k]
            tracker.look_ahead(image)
            features = engine.encode(image)
            if step == 0:
                tracker.start(features, scale.forward(points), image)
                tracks[:, k] = points
                continue
            tracker.update(features, image)
            tracks[:, k], confidence[:, k] = scale.back(tracker.steady), tracker.confidence
    return tracks, confidence


def _through_flow(name: str, case: Case, points: FloatArray) -> FloatArray:
    tracks = np.empty((len(points), len(case.frames), 2), np.float32)
    for order in _orders(case):
        pairs = [preprocess(case.frames[k], CLASSICAL_SIZE) for k in order]
        scale = pairs[0][1]
        found = CLASSICAL[name]([image for image, _ in pairs], scale.forward(points))
        tracks[:, order] = scale.back(found)
    return tracks
