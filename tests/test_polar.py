"""Directions of motion: where they point in the picture, and how one-sided they are."""

import math

import numpy as np
import pytest

from specktrack.training import polar


def test_up_in_the_picture_is_a_quarter_turn() -> None:
    vectors = np.array([[3.0, 0.0], [0.0, -3.0], [-3.0, 0.0], [0.0, 3.0]], np.float32)
    turns = polar.directions_of(vectors, 1.0) % (2 * math.pi)
    assert turns == pytest.approx([0.0, math.pi / 2, math.pi, 3 * math.pi / 2])


def test_a_wall_that_hardly_moves_has_no_direction() -> None:
    vectors = np.array([[0.5, 0.0], [0.0, 4.0]], np.float32)
    assert len(polar.directions_of(vectors, 1.0)) == 1


def test_sectors_add_up_and_the_first_is_centred_to_the_right() -> None:
    shares = polar.histogram(np.array([-0.05, 0.05, math.pi]))
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[polar.BINS // 2] == pytest.approx(1 / 3)


def test_a_heart_that_swings_along_one_line_prefers_it_fully() -> None:
    to_and_fro = np.array([0.7, 0.7 + math.pi] * 5)
    assert polar.preference(to_and_fro) == pytest.approx(1.0)


def test_an_even_spread_prefers_nothing() -> None:
    even = np.arange(polar.BINS) * 2 * math.pi / polar.BINS
    assert polar.preference(even) == pytest.approx(0.0, abs=1e-12)
    assert polar.peak_ratio(even) == pytest.approx(1.0)


def test_the_main_axis_is_the_line_of_most_motion_and_holds_its_share() -> None:
    vectors = np.array([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0]], np.float32)
    axis = polar.main_axis(vectors)
    assert abs(axis[1]) == pytest.approx(1.0)
    assert polar.share_along(vectors, axis) == pytest.approx(18 / 19)
    assert polar.share_along(np.array([[2.0, 2.0]], np.float32), axis) == pytest.approx(0.5)


def test_no_motion_at_all_is_no_preference() -> None:
    nothing = polar.directions_of(np.zeros((4, 2), np.float32), 1.0)
    assert math.isnan(polar.preference(nothing))
    assert polar.histogram(nothing).sum() == 0
