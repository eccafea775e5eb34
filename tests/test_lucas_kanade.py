"""Lucas-Kanade: the best fit of a patch, wherever the search begins and however bright the picture is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from streams import SIDE, grid, shifted, speckle

from specktrack.rt.lucas_kanade import KEPT_IMAGES, LARGE, SMALL, PaddedImages, fit, opencv_step, padded
from specktrack.rt.lucas_kanade_kernel import MARGIN, Padded

PICTURE = speckle()
STILL, MOVED = shifted(PICTURE, 0, 0), shifted(PICTURE, 3.3, -2.1)
FROM, TO = padded(STILL), padded(MOVED)
NEARLY = grid() + np.array([3, -2], np.float32)


@pytest.mark.parametrize("weights", [SMALL, LARGE], ids=["small", "large"])
def test_patches_are_found_where_opencv_finds_them(weights: Padded) -> None:
    found = fit(FROM, TO, grid(), NEARLY, weights)
    assert found.is_found.all()
    assert np.hypot(*(found.points - grid() - opencv_step(STILL, MOVED, grid())).T).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.sampled_from([SMALL, LARGE]))
def test_a_shift_of_the_picture_is_read_to_a_tenth_of_a_pixel(x: float, y: float, weights: Padded) -> None:
    found = fit(FROM, padded(shifted(PICTURE, x, y)), grid(), grid(), weights)
    assert np.hypot(*(found.points - grid() - (x, y)).T).max() < 0.1


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.sampled_from([SMALL, LARGE]))
def test_where_a_search_begins_does_not_tell_where_it_ends(x: float, y: float, weights: Padded) -> None:
    once = fit(FROM, TO, grid(), NEARLY, weights)
    again = fit(FROM, TO, grid(), NEARLY + np.array([x, y], np.float32), weights)
    assert np.hypot(*(once.points - again.points).T).max() < 1e-3


def test_along_an_edge_there_is_little_to_see_and_still_all_searches_end_in_one_place() -> None:
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    edge = (128 + 100 * np.tanh((x + 0.3 * y - 128) / 4) + 8 * np.sin(y / 7) * np.sin(x / 5)).astype(np.uint8)
    before, after = padded(edge), padded(np.roll(edge, 2, 0))
    on_it = np.array([[128 - 0.3 * k, k] for k in range(60, 190, 10)], np.float32)
    once, again = (fit(before, after, on_it, on_it + np.float32(off), SMALL) for off in (0.0, 1e-4))
    assert once.is_found.all()
    assert np.hypot(*(again.points - once.points).T).max() < 2e-3


@pytest.mark.parametrize("brighter", [-30, 30])
def test_haze_that_comes_over_a_patch_is_no_motion(brighter: int) -> None:
    dim = np.clip(STILL, 40, 200)
    hazy = padded((np.clip(MOVED, 40, 200).astype(np.int16) + brighter).astype(np.uint8))
    clear = fit(padded(dim), padded(np.clip(MOVED, 40, 200)), grid(), NEARLY, LARGE)
    found = fit(padded(dim), hazy, grid(), NEARLY, LARGE)
    assert np.hypot(*(found.points - clear.points).T).max() < 0.01
    np.testing.assert_allclose(found.residual, abs(brighter), atol=5)


def test_where_there_is_no_texture_nothing_is_found() -> None:
    flat = padded(np.full((SIDE, SIDE), 90, np.uint8))
    assert not fit(flat, flat, grid(), grid(), LARGE).is_found.any()


def test_points_at_the_border_and_far_outside_do_no_harm() -> None:
    corners = np.array([[0, 0], [SIDE - 1, 0], [0, SIDE - 1], [SIDE - 1, SIDE - 1]], np.float32)
    outside = np.array([[-5000, 10], [10, 5000], [SIDE + 2 * MARGIN, 10]], np.float32)
    points = np.concatenate((corners, outside))
    for expected in (points, points[::-1]):
        found = fit(FROM, TO, points, expected, LARGE)
        assert np.isfinite(found.points).all()
        assert not found.is_found[len(corners) :].any()
    assert len(fit(FROM, TO, grid()[:0], grid()[:0], SMALL).points) == 0


def test_the_weights_of_a_patch_are_a_hill_around_its_middle() -> None:
    for weights in (SMALL, LARGE):
        side = len(weights)
        assert weights.sum() == pytest.approx(1.0)
        assert np.unravel_index(weights.argmax(), weights.shape) == (side // 2, side // 2)
        assert not weights[:, side:].any()


def test_an_image_is_padded_once_as_long_as_it_is_asked_for() -> None:
    images, first = PaddedImages(), images_of_a_stream(1)[0]
    kept = images.of(first)
    np.testing.assert_array_equal(kept, padded(first))
    for later in images_of_a_stream(3 * KEPT_IMAGES):
        images.of(later)
        assert images.of(first) is kept, "the anchor's"
    for later in images_of_a_stream(KEPT_IMAGES):
        images.of(later)
    assert images.of(first) is not kept, "nothing is kept for ever"


def images_of_a_stream(n: int) -> list[NDArray[np.uint8]]:
    return [shifted(PICTURE, k, 0) for k in range(n)]
