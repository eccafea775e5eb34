"""The compiled reading of evidence says what its plain twins say, and what the whole image would have said."""

import numpy as np
import pytest
from hand_made import random_maps
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt.correlation import evidence, evidence_slow, sample_templates
from specktrack.rt.fast_math import exp_of_negative, log_of_product
from specktrack.rt.geometry import FloatArray
from specktrack.rt.halves import LEAST_POINTS
from specktrack.rt.measure import FAR_UNITS, NEAR_UNITS, REACH_UNITS, READINGS, SIGMA_UNITS
from specktrack.rt.position import closeness, inside, pooled, share_near, soft_argmax
from specktrack.rt.readout import Reader, Reading, Rows
from specktrack.rt.wall_shape import local_fit, local_fit_numpy

SIZE, SIDE, SIGMA, GAMMA = (256, 256), 21, 3.0, 15.0
NOWHERE = (np.nan, np.nan)


def volumes_of(seed: int, n_points: int, side: int = SIDE) -> FloatArray:
    """Evidence of three templates, as rough as the head's: from none to the certainty of the wrong place."""
    return (-20.0 * np.random.default_rng(seed).random((3, n_points, side, side)) ** 2).astype(np.float32)


def plainly(volumes: FloatArray, near: FloatArray, far: FloatArray, centre: FloatArray) -> Reading:
    """By the twins of position.py, step by step."""
    is_open = inside(centre, volumes.shape[-1], SIZE)
    whose = (volumes, pooled(volumes, near), pooled(volumes, far))
    read = soft_argmax(np.stack([whose[kind][k] for k, kind in READINGS]), SIGMA, is_open)
    shares = [share_near(whose[kind][k], read.px[m], is_open) for m, (k, kind) in enumerate(READINGS[:2])]
    return Reading(read, np.stack(shares))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n_points=st.integers(1, 9), side=st.sampled_from([21, 15]))
def test_one_pass_says_what_the_plain_twins_say(seed: int, n_points: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(60, 120, (n_points, 2)).astype(np.float32)
    centre = rng.uniform(-15, 271, (n_points, 2)).astype(np.float32)
    centre[rng.random(n_points) < 0.2] = NOWHERE
    volumes = volumes_of(seed, n_points, side)
    volumes[:, ~np.isfinite(centre).all(1)] = 0.0  # the head has no evidence around a lost point
    near, far = closeness(points, NEAR_UNITS), closeness(points, FAR_UNITS)
    fast = Reader(side, SIGMA, SIZE).read(volumes, READINGS, 2, Rows.of(near, far), centre)
    slow = plainly(volumes, near, far, centre)
    np.testing.assert_allclose(fast.offsets.px, slow.offsets.px, atol=1e-3)
    np.testing.assert_allclose(fast.offsets.spread_px, slow.offsets.spread_px, atol=2e-3)
    np.testing.assert_allclose(fast.share, slow.share, atol=1e-4)


@pytest.mark.parametrize("n_points", [LEAST_POINTS, LEAST_POINTS + 3, 151])
def test_many_points_are_read_on_two_cores_and_each_answers_as_it_would_alone(n_points: int) -> None:
    rng = np.random.default_rng(n_points)
    points = rng.uniform(40, 200, (n_points, 2)).astype(np.float32)
    maps = random_maps(1, 256)
    templates = sample_templates(maps, points)[None]
    whole = evidence(maps, templates, points + 1.0, SIDE, GAMMA)
    for n in (0, n_points // 2 - 1, n_points // 2, n_points - 1):
        alone = evidence(maps, templates[:, n : n + 1], points[n : n + 1] + 1.0, SIDE, GAMMA)
        np.testing.assert_array_equal(whole[:, n], alone[:, 0])
    near, far = closeness(points, NEAR_UNITS), closeness(points, FAR_UNITS)
    volumes = volumes_of(3, n_points)
    fast = Reader(SIDE, SIGMA, SIZE).read(volumes, READINGS, 2, Rows.of(near, far), points)
    slow = plainly(volumes, near, far, points)
    np.testing.assert_allclose(fast.offsets.px, slow.offsets.px, atol=1e-3)
    np.testing.assert_allclose(fast.share, slow.share, atol=1e-4)


def test_a_lost_point_and_one_far_outside_answer_nothing_with_no_share() -> None:
    centre = np.array([NOWHERE, (-90.0, 40.0), (100.0, 100.0)], np.float32)
    near = closeness(np.array([NOWHERE, (60, 60), (70, 60)], np.float32), NEAR_UNITS)
    volumes = volumes_of(1, 3)
    volumes[:, 0] = 0.0
    reading = Reader(SIDE, SIGMA, SIZE).read(volumes, READINGS, 2, Rows.of(near, near), centre)
    assert not reading.offsets.px[:, :2].any()
    assert not reading.share[:, :2].any()
    assert reading.offsets.px[:, 2].any()


def test_a_group_without_points_has_no_answers() -> None:
    none = np.zeros((0, 0), np.float32)
    reading = Reader(SIDE, SIGMA, SIZE).read(volumes_of(0, 0), READINGS, 2, Rows.of(none, none), none.reshape(0, 2))
    assert reading.offsets.px.shape == (len(READINGS), 0, 2)


@pytest.mark.parametrize("off", [(0.0, 0.0), (1.5, -1.0), (-2.5, 2.0)])
def test_the_square_that_is_searched_answers_as_the_full_head_does(off: tuple[float, float]) -> None:
    """Full head: volumes of the whole picture, in double precision, multiplied, pooled, under the same prior."""
    rng = np.random.default_rng(3)
    points = (110 + 40 * rng.random((12, 2))).astype(np.float32)
    maps = random_maps(5, 256)
    templates = sample_templates(maps, points)[None]
    centre = points + np.array(off, np.float32)
    near, far = closeness(points, NEAR_UNITS), closeness(points, FAR_UNITS)
    side, wide = 2 * round(REACH_UNITS) + 1, 61
    rows = Rows.of(near, far)
    square = evidence(maps, templates, centre, side, GAMMA)
    fast = Reader(side, SIGMA_UNITS, SIZE).read(square, READINGS[:3], 0, rows, centre).offsets.px
    whole = evidence_slow(maps, templates, centre, wide, GAMMA)
    is_open = inside(centre, wide, SIZE)
    slow = [
        soft_argmax(volume.astype(np.float32), SIGMA_UNITS, is_open).px
        for volume in (whole[0], pooled(whole, near)[0], pooled(whole, far)[0])
    ]
    np.testing.assert_allclose(fast, slow, atol=0.01)


@settings(max_examples=200)
@given(x=st.floats(-86, 0, width=32))
def test_the_exponential_is_numpys(x: float) -> None:
    assert exp_of_negative(np.float32(x)) == pytest.approx(np.exp(x), rel=1e-6)


@settings(max_examples=200)
@given(logs=st.tuples(*[st.floats(-69, 0)] * 3))
def test_the_logarithm_of_a_product_that_no_float_could_hold_is_the_sum_of_logarithms(
    logs: tuple[float, float, float],
) -> None:
    x, y, z = (np.float32(np.exp(log)) for log in logs)
    expected = sum(np.log(float(v)) for v in (x, y, z))
    assert log_of_product(x, y, z) == pytest.approx(expected, abs=2e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n_points=st.integers(1, 20))
def test_the_shape_of_the_wall_is_fitted_as_its_plain_twin_fits_it(seed: int, n_points: int) -> None:
    rng = np.random.default_rng(seed)
    points, values = rng.uniform(0, 256, (n_points, 2)), rng.normal(size=(n_points, 2))
    weight = closeness(points.astype(np.float32), FAR_UNITS) * rng.uniform(0, 10, n_points)[None]
    arrays = [a.astype(np.float32) for a in (points, values, weight)]
    np.testing.assert_allclose(local_fit(*arrays), local_fit_numpy(*arrays), atol=1e-3)
