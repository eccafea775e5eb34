"""What one frame says about the points: nothing where nothing moved, the way back to where they were set otherwise."""

import numpy as np
import pytest
from hand_made import hand_made_engine, random_maps
from streams import shifted, speckle

from specktrack.rt.correlation import FeatureMaps
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FOLLOWS_POINT, MEASUREMENTS, Measured, Measurer, Neighbourhood, Sighting

NOWHERE = (np.nan, np.nan)
NONE = np.zeros(2, np.float32)
OFF = np.array([1.5, -1.0], np.float32)  # how far the expectation is from the truth
IMAGE = shifted(speckle(), 0, 0)


@pytest.fixture(scope="module")
def maps() -> FeatureMaps:
    return random_maps(0, 256)


def wall(n: int = 9) -> FloatArray:
    """Points close enough to hear each other, between the cells."""
    return (110 + 30 * np.random.default_rng(1).random((n, 2))).astype(np.float32)


def around_of(points: FloatArray) -> tuple[Measurer, Neighbourhood]:
    return Measurer(hand_made_engine()), Neighbourhood.of(points, 1.0)


def measure(maps: FeatureMaps, points: FloatArray, off: FloatArray, recent_off: FloatArray) -> Measured:
    """Anchors set at points; recent sightings taken recent_off from them; points expected off from them."""
    measurer, around = around_of(points)
    anchor = measurer.sighting(maps, IMAGE, points, around)
    recent = measurer.sighting(maps, IMAGE, points + recent_off, around)
    return measurer.measure(maps, IMAGE, [(anchor, 1.0)], [recent, recent], points + off, around)


def of(measured: FloatArray, name: str) -> FloatArray:
    """One of the measurements by its name."""
    return np.asarray(measured[MEASUREMENTS.index(name)])


def test_in_a_still_picture_every_measurement_is_exactly_nothing(maps: FeatureMaps) -> None:
    measured = measure(maps, wall(), NONE, NONE)
    assert measured.offset.shape == (len(MEASUREMENTS), len(wall()), 2)
    assert not measured.offset.any()
    assert (measured.share_near > 0.9).all()


def test_all_evidence_leads_back_to_where_the_points_were_set(maps: FeatureMaps) -> None:
    measured = measure(maps, wall(), OFF, NONE)
    np.testing.assert_allclose(measured.offset, np.broadcast_to(-OFF, measured.offset.shape), atol=0.5)


def test_neighbours_make_the_measurement_better_and_surer(maps: FeatureMaps) -> None:
    measured = measure(maps, wall(), OFF, NONE)
    own, near = (np.hypot(*(of(measured.offset, name) + OFF).T).mean() for name in ("own", "near"))
    assert near < own
    assert of(measured.spread, "far").mean() < of(measured.spread, "near").mean() < of(measured.spread, "own").mean()


def test_recent_sightings_lead_back_to_their_own_places_and_anchors_to_the_truth(maps: FeatureMaps) -> None:
    """A point that has drifted was last seen where it had drifted to: recent sightings cannot tell."""
    measured = measure(maps, wall(), OFF, OFF)
    assert not measured.offset[FOLLOWS_POINT].any()
    anchors = measured.offset[~FOLLOWS_POINT]
    np.testing.assert_allclose(anchors, np.broadcast_to(-OFF, anchors.shape), atol=0.5)


def test_every_measurement_is_that_of_the_sighting_it_is_named_after(maps: FeatureMaps) -> None:
    points = wall()
    measurer, around = around_of(points)
    seen = [measurer.sighting(maps, IMAGE, points + k * OFF, around) for k in range(3)]
    offset = measurer.measure(maps, IMAGE, [(seen[0], 1.0)], seen[1:], points, around).offset
    for name, found in zip(MEASUREMENTS, offset, strict=True):
        k = 1 if "back1" in name else 2 if "back4" in name else 0
        np.testing.assert_allclose(found, [k * OFF] * len(points), atol=0.6, err_msg=name)


def test_two_anchors_are_asked_by_their_weights(maps: FeatureMaps) -> None:
    points = wall()
    measurer, around = around_of(points)
    here, there = (measurer.sighting(maps, IMAGE, points + off, around) for off in (NONE, 4 * OFF))

    def far(weight: float) -> FloatArray:
        anchors: list[tuple[Sighting, float]] = [(here, weight), (there, 1.0 - weight)]
        return of(measurer.measure(maps, IMAGE, anchors, [here, here], points + 2 * OFF, around).offset, "far")

    np.testing.assert_array_equal(far(1.0), of(measure(maps, points, 2 * OFF, NONE).offset, "far"))
    np.testing.assert_allclose(far(0.9), [-2 * OFF] * len(points), atol=1.0)
    np.testing.assert_allclose(far(0.1), [2 * OFF] * len(points), atol=1.0)


def test_a_lost_point_says_nothing_and_changes_no_other_measurement(maps: FeatureMaps) -> None:
    alone = measure(maps, wall(), OFF, NONE)
    beside = measure(maps, np.concatenate((wall(), [NOWHERE])).astype(np.float32), OFF, NONE)
    np.testing.assert_allclose(beside.offset[:, :-1], alone.offset, atol=1e-5)
    np.testing.assert_allclose(beside.share_near[:-1], alone.share_near, atol=1e-5)
    assert beside.share_own[-1] == beside.share_near[-1] == 0.0


def test_a_wide_search_finds_points_far_off_and_knows_when_it_does_not(maps: FeatureMaps) -> None:
    points, off = wall(), np.array([9.0, -8.0], np.float32)
    measurer, around = around_of(points)
    anchor = measurer.sighting(maps, IMAGE, points, around)
    drift, share = measurer.search(maps, anchor, points + off, 12.0, around)
    np.testing.assert_allclose(drift, [-off] * len(points), atol=0.6)
    strange, doubt = measurer.search(random_maps(9, 256), anchor, points + off, 12.0, around)
    assert np.hypot(*(strange + off).T).mean() > 3.0
    assert share.mean() > 1.5 * doubt.mean()


def test_reaches_grow_with_the_picture() -> None:
    small, large = Neighbourhood.of(wall(), 1.0), Neighbourhood.of(2 * wall(), 2.0)
    np.testing.assert_allclose(small.near, large.near, atol=1e-5)
    np.testing.assert_allclose(small.far, large.far, atol=1e-5)
    assert (small.far >= small.near).all()
