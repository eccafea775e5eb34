"""The frame that looks like the first one is noticed once a beat, and drift is taken out there."""

import numpy as np
from streams import frame, grid, shifted, speckle

from specktrack.rt.config import SessionConfig
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.fusion import FusionNet, steady_weights
from specktrack.rt.manifest import find_model
from specktrack.rt.same_phase import SamePhase
from specktrack.rt.session import Session

PERIOD = 40


def beating(k: int) -> np.ndarray:
    """A picture that swings out by twelve pixels and back, smoothly, every forty frames."""
    return shifted(speckle(), 0, 6 * (1 - np.cos(2 * np.pi * k / PERIOD)))


def test_each_return_to_the_first_picture_is_noticed_once() -> None:
    watch, found = SamePhase(), []
    watch.start(beating(0))
    for k in range(1, 4 * PERIOD):
        back = watch.update(beating(k))
        if back is not None:
            found.append(k - back)
    assert len(found) == 3
    assert all(abs(k - PERIOD * round(k / PERIOD)) <= 1 for k in found)


def test_a_still_picture_never_returns() -> None:
    watch, image = SamePhase(), beating(0)
    watch.start(image)
    noise = np.random.default_rng(0)
    for _ in range(200):
        shaky = np.clip(image + noise.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        assert watch.update(shaky) is None


def test_without_a_reference_nothing_is_noticed() -> None:
    assert SamePhase().update(beating(0)) is None


def test_a_point_that_has_slipped_is_back_after_a_beat() -> None:
    engine = OrtEngine(find_model("specknet-s"), threads=1)
    engine.fusion = FusionNet(steady_weights())  # learned gains bring the points back before a beat is over
    stream = Session("test", SessionConfig(), engine)
    stream.update(frame(beating(0), 0))
    stream.set_points(grid(), "points")
    for k in range(1, PERIOD - 5):
        stream.update(frame(beating(k), k))
    stream._tracker.points = stream._tracker.points + np.array([3.5, 0], np.float32)  # what bad luck could do
    for k in range(PERIOD - 5, PERIOD + 2):
        slipped = stream.update(frame(beating(k), k))
    for k in range(PERIOD + 2, 2 * PERIOD + 1):
        update = stream.update(frame(beating(k), k))
    error = np.hypot(*(update.points[:, :2] - grid()).T)
    assert np.median(np.hypot(*(slipped.points[:, :2] - grid()).T)) > 1.0
    assert np.median(error) < 0.5
