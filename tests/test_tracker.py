"""Following points: neighbours share corrections, answers are zeroed, the past is forgotten when it must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import grid, shifted, speckle

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.manifest import find_model
from specktrack.rt.motion import PointFlow
from specktrack.rt.tracker import PointTracker, closeness, shared


@given(dx=st.floats(-5, 5), dy=st.floats(-5, 5), seed=st.integers(0, 100))
def test_a_correction_all_neighbours_agree_on_is_kept(dx: float, dy: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 256, (12, 2)).astype(np.float32)
    same = np.tile(np.array([[dx, dy]], np.float32), (12, 1))
    sigma = rng.uniform(0.2, 4.0, 12).astype(np.float32)
    np.testing.assert_allclose(shared(same, sigma, closeness(points, 10.0)), same, atol=1e-4)


def test_an_unsure_point_follows_its_sure_neighbours() -> None:
    points = np.array([[100, 100], [104, 100], [96, 100]], np.float32)
    correction = np.array([[6, 0], [1, 0], [1, 0]], np.float32)
    sigma = np.array([5.0, 0.5, 0.5], np.float32)
    assert shared(correction, sigma, closeness(points, 10.0))[0, 0] == pytest.approx(1.0, abs=0.1)


def test_a_distant_point_is_asked_nothing() -> None:
    points = np.array([[50, 50], [200, 200]], np.float32)
    correction = np.array([[2, 0], [-3, 1]], np.float32)
    np.testing.assert_allclose(shared(correction, np.ones(2, np.float32), closeness(points, 10.0)), correction)


def test_a_lost_point_tells_its_neighbours_nothing_and_stays_lost() -> None:
    points = np.array([[100, 100], [102, 100]], np.float32)
    correction = np.array([[np.nan, np.nan], [1, 2]], np.float32)
    sigma = np.array([np.nan, 1.0], np.float32)
    result = shared(correction, sigma, closeness(points, 10.0))
    assert np.isnan(result[0]).all()
    np.testing.assert_allclose(result[1], [1, 2], atol=1e-6)


def test_a_thousand_still_frames_move_nothing() -> None:
    engine = OrtEngine(find_model("specknet-s"), threads=1)
    tracker, image = PointTracker(engine, MatchConfig()), shifted(speckle(), 0, 0)
    features = engine.encode(image)
    tracker.start(features, grid(), image)
    for _ in range(1000):
        tracker.update(features, image)
    assert np.hypot(*(tracker.points - grid()).T).max() < 0.05


def test_following_before_any_point_is_set_is_a_mistake() -> None:
    engine = OrtEngine(find_model("specknet-s"), threads=1)
    image = shifted(speckle(), 0, 0)
    with pytest.raises(RuntimeError, match="no points were set"):
        PointTracker(engine, MatchConfig()).update(engine.encode(image), image)


def test_optical_flow_reads_the_displacement_of_a_shifted_picture() -> None:
    flow, picture = PointFlow(), speckle()
    points = np.concatenate((grid(), [[np.nan, np.nan]])).astype(np.float32)
    assert flow.update(shifted(picture, 0, 0), points) is None
    step = flow.update(shifted(picture, 2.5, -1.5), points)
    assert step is not None
    np.testing.assert_allclose(np.median(step.displacement[:-1], axis=0), [2.5, -1.5], atol=0.2)
    assert np.isnan(step.displacement[-1]).all()
    assert (step.disagreement[:-1] >= 0).all()
