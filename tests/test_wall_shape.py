"""Published points: each drawn to where its surer neighbours have the wall."""

import numpy as np
import pytest

from specktrack.rt.position import closeness
from specktrack.rt.wall_shape import FAR_WALL, NEAR_WALL, Wall, local_fit, local_fit_numpy, steady


def ventricle() -> np.ndarray:
    """Points (61, 2) of a wall, base over apex to base, units."""
    angle = np.linspace(0.0, np.pi, 61)
    return np.stack([128 + 50 * np.cos(angle), 200 - 130 * np.sin(angle)], axis=1).astype(np.float32)


def length(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line.astype(np.float64), axis=0).T).sum())


def published(start: np.ndarray, found: np.ndarray, sure: np.ndarray) -> np.ndarray:
    return steady(start, found.astype(np.float32), sure.astype(np.float32), closeness(start, NEAR_WALL.reach))


@pytest.mark.parametrize("factor", [0.75, 0.9, 1.1])
def test_a_wall_that_contracts_as_one_is_published_as_it_was_followed(factor: float) -> None:
    start = ventricle()
    middle = np.array([128.0, 100.0])
    told = published(start, middle + factor * (start - middle), np.ones(61))
    assert length(told) / length(start) == pytest.approx(factor, abs=0.0015)  # 0.15 strain points


def test_a_point_that_strays_unsurely_is_published_where_its_sure_neighbours_have_the_wall() -> None:
    start = ventricle()
    found, sure = start + np.array([0.0, -6.0]), np.ones(61)
    found[20] += 8.0
    for confidence, least, most in ((0.3, 0.0, 1.0), (1.0, 3.0, 5.0)):  # the surest points go half by their neighbours
        sure[20] = confidence
        off = np.hypot(*(published(start, found, sure)[20] - start[20] - [0.0, -6.0]))
        assert least * np.sqrt(2.0) <= off <= most * np.sqrt(2.0)


def test_a_point_alone_or_lost_is_published_as_it_is() -> None:
    start = np.array([[50.0, 50.0], [200.0, 200.0]], np.float32)
    found = np.array([[53.0, 51.0], [np.nan, np.nan]], np.float32)
    told = published(start, found, np.array([0.7, 0.0]))
    np.testing.assert_allclose(told[0], found[0], atol=1e-4)
    assert np.isnan(told[1]).all()
    assert published(start[:0], found[:0], np.zeros(0)).shape == (0, 2)


@pytest.mark.parametrize("wall", [FAR_WALL, NEAR_WALL])
def test_the_kernel_of_the_local_fit_and_its_twin_agree(wall: Wall) -> None:
    rng = np.random.default_rng(0)
    points, values = ventricle(), rng.normal(size=(61, 2)).astype(np.float32)
    weight = closeness(points, wall.reach) * rng.uniform(0.0, 1.0, 61).astype(np.float32)
    fitted = local_fit(points, values, weight, wall)
    np.testing.assert_allclose(fitted, local_fit_numpy(points, values, weight, wall), atol=2e-4)
