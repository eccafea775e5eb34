"""Following points from frame to frame: still hearts stand, moving ones are followed, what was lost is found again."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from random_fusion import random_weights
from streams import arch, grid, shifted, speckle

from specktrack.rt.config import MatchConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.engine import Engine
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.fusion import FusionNet, steady_weights
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import find_model
from specktrack.rt.tracker import PointTracker

PICTURE = speckle()
STILL = shifted(PICTURE, 0, 0)


def specknet(weights: dict[str, FloatArray] | None = None) -> Engine:
    """The shipped network with fusion weights of our own, so that no training decides a test."""
    engine = OrtEngine(find_model("specknet-s"), threads=1)
    engine.fusion = FusionNet(weights or steady_weights())
    return engine


ENGINES = pytest.mark.parametrize("make_engine", [BlockEngine, specknet], ids=["block", "specknet-s"])


def moved(points: FloatArray, dx: float, dy: float) -> FloatArray:
    return points + np.array([dx, dy], np.float32)


def started(engine: Engine, points: FloatArray, image: NDArray[np.uint8] = STILL) -> PointTracker:
    tracker = PointTracker(engine, MatchConfig())
    tracker.start(engine.encode(image), points, image)
    return tracker


def distance(tracker: PointTracker, truth: FloatArray) -> FloatArray:
    return np.asarray(np.hypot(*(tracker.points - truth).T))


@pytest.mark.parametrize("weights", [steady_weights(), random_weights(0)], ids=["fixed gains", "any weights"])
def test_a_thousand_still_frames_move_nothing(weights: dict[str, FloatArray]) -> None:
    engine = specknet(weights)
    tracker, features = started(engine, grid()), engine.encode(STILL)
    for _ in range(1000):
        tracker.update(features, STILL)
    assert distance(tracker, grid()).max() < 0.05


@ENGINES
def test_points_follow_a_picture_that_goes_and_comes_back(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    tracker = started(engine, grid())
    for k in range(1, 17):
        way = 6 * np.sin(2 * np.pi * k / 16)
        image = shifted(PICTURE, way, -way / 2)
        tracker.update(engine.encode(image), image)
        assert distance(tracker, moved(grid(), way, -way / 2)).max() < 0.8, f"frame {k}"
    assert not tracker.is_lost.any()


@ENGINES
def test_after_missing_frames_points_are_led_back_to_where_they_are(make_engine: Callable[[], Engine]) -> None:
    engine, contour = make_engine(), resample_contour(arch(), 61)
    image = shifted(PICTURE, 8, -6)
    tracker, features = started(engine, contour), engine.encode(image)
    tracker.relocalise()
    tracker.update(features, image)
    assert tracker.step is None, "flow over a gap means nothing"
    assert np.median(distance(tracker, moved(contour, 8, -6))) < 8.0
    for _ in range(40):
        tracker.update(features, image)
    assert np.median(distance(tracker, moved(contour, 8, -6))) < 1.0


@ENGINES
def test_the_search_after_missing_frames_is_as_wide_as_the_settings_say(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    image = shifted(PICTURE, 8, -6)
    missed = []
    for sigma_px in (1.0, 8.0):
        tracker = PointTracker(engine, MatchConfig(lost_sigma_px=sigma_px))
        tracker.start(engine.encode(STILL), grid(), STILL)
        tracker.relocalise()
        tracker.update(engine.encode(image), image)
        missed.append(np.median(distance(tracker, moved(grid(), 8, -6))))
    assert missed[1] < 0.8 * missed[0]


@ENGINES
def test_a_lost_point_stays_lost_and_changes_nothing_for_the_others(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    alone = started(engine, grid())
    beside = started(engine, np.concatenate((grid(), [[np.nan, np.nan]])).astype(np.float32))
    for k in range(1, 6):
        image = shifted(PICTURE, k, -k / 2)
        features = engine.encode(image)
        for tracker in (alone, beside):
            tracker.update(features, image)
    assert np.isnan(beside.points[-1]).all()
    assert beside.confidence[-1] == 0.0
    assert beside.is_lost.tolist() == [*alone.is_lost.tolist(), True]
    np.testing.assert_allclose(beside.points[:-1], alone.points, atol=1e-3)


def test_drift_found_when_the_loop_is_closed_is_taken_out_without_a_jump() -> None:
    engine = specknet()
    tracker, features = started(engine, grid()), engine.encode(STILL)
    tracker.points = moved(grid(), 2.0, -1.5)
    before = np.median(distance(tracker, grid()))
    tracker.close_loop(features, tracker.points, STILL)
    steps = []
    for _ in range(12):
        last = tracker.points
        tracker.update(features, STILL)
        steps.append(np.median(np.hypot(*(tracker.points - last).T)))
    assert np.median(distance(tracker, grid())) < 0.2 * before
    assert max(steps) < 0.6 * before


def test_a_loop_closed_without_drift_moves_nothing() -> None:
    engine = specknet()
    tracker, features = started(engine, grid()), engine.encode(STILL)
    tracker.close_loop(features, tracker.points, STILL)
    for _ in range(12):
        tracker.update(features, STILL)
    assert distance(tracker, grid()).max() < 0.3


def test_re_anchored_points_are_held_by_the_newer_look() -> None:
    """The picture changes altogether; after re-anchoring on the new one, anchors see the points in it again."""
    engine = specknet()
    other = shifted(speckle(seed=5), 0, 0)
    features = engine.encode(other)
    shares = []
    for is_re_anchored in (False, True):
        tracker = started(engine, grid())
        tracker.update(features, other)
        if is_re_anchored:
            tracker.re_anchor(features, tracker.points, other)
        tracker.update(features, other)
        assert tracker.measured is not None
        shares.append(float(np.median(tracker.measured.share_near)))
    assert shares[1] > 1.2 * shares[0]


def test_looking_ahead_changes_no_position() -> None:
    engine = specknet()
    ahead, plain = started(engine, grid()), started(engine, grid())
    for k in range(1, 5):
        image = shifted(PICTURE, 2 * k, k)
        ahead.look_ahead(image)
        features = engine.encode(image)
        ahead.update(features, image)
        plain.update(features, image)
    np.testing.assert_array_equal(ahead.points, plain.points)


def test_confidence_is_read_from_the_curve_of_the_model() -> None:
    engine = specknet()  # fixed gains say 0.5 of every point
    engine.confidence_curve = ((0.0, 0.0), (0.4, 0.1), (0.6, 0.3))
    tracker = started(engine, grid())
    tracker.update(engine.encode(STILL), STILL)
    assert tracker.confidence.tolist() == pytest.approx([0.2] * len(grid()))


def test_points_set_anew_forget_all_that_was_before() -> None:
    engine = specknet(random_weights(1, size=0.3))
    used, fresh = started(engine, grid()), PointTracker(engine, MatchConfig())
    for k in range(1, 4):
        image = shifted(PICTURE, 3 * k, 0)
        used.update(engine.encode(image), image)
    for tracker in (used, fresh):
        tracker.start(engine.encode(STILL), grid() + 3, STILL)
        for k in range(1, 4):
            image = shifted(PICTURE, 0, k)
            tracker.update(engine.encode(image), image)
    np.testing.assert_allclose(used.points, fresh.points, atol=1e-3)


def test_following_before_any_point_is_set_is_a_mistake() -> None:
    engine = BlockEngine()
    with pytest.raises(RuntimeError, match="no points were set"):
        PointTracker(engine, MatchConfig()).update(engine.encode(STILL), STILL)


def test_a_point_that_has_strayed_far_goes_back_to_where_its_neighbours_have_it() -> None:
    contour = resample_contour(arch(), 61)
    tracker, features = started(specknet(), contour), specknet().encode(STILL)
    off = np.zeros_like(contour)
    off[30] = 24.0, 18.0
    tracker.points = tracker.points + off
    tracker.close_loop(features, tracker.points.copy(), STILL)
    for _ in range(30):
        tracker.update(features, STILL)
    error = distance(tracker, contour)
    assert error[30] < 2.0
    assert np.delete(error, 30).max() < 0.5


def test_closing_the_loop_moves_no_point_that_is_where_it_was() -> None:
    contour = resample_contour(arch(), 61)
    tracker, features = started(specknet(), contour), specknet().encode(STILL)
    tracker.close_loop(features, tracker.points.copy(), STILL)
    assert np.hypot(*tracker.pending.T).max() < 0.05


def test_published_points_go_by_their_neighbours_unless_the_settings_say_no_and_are_never_followed_on_from() -> None:
    engine, images = specknet(), [shifted(PICTURE, 0.7 * k, 0.0) for k in range(6)]
    published, followed = [], []
    for config in (MatchConfig(), MatchConfig(steady=False)):
        tracker = PointTracker(engine, config)
        tracker.start(engine.encode(STILL), grid(), STILL)
        for image in images:
            tracker.update(engine.encode(image), image)
        published.append(tracker.steady)
        followed.append(tracker.points)
    np.testing.assert_array_equal(followed[0], followed[1])
    np.testing.assert_array_equal(published[1], followed[1])
    assert 0.0 < np.abs(published[0] - followed[0]).max() < 1.0
