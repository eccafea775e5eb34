"""Lucas-Kanade: the same answer as OpenCV's, but that it is the best fit wherever the search began."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import SIDE, grid, shifted, speckle

from specktrack.rt.lucas_kanade import MARGIN, align, flow, opencv_step, pyramid

PICTURE = speckle()
STILL, MOVED = shifted(PICTURE, 0, 0), shifted(PICTURE, 3.3, -2.1)
FULL, LATER = pyramid(STILL, 4), pyramid(MOVED, 4)


def test_patches_are_found_where_opencv_finds_them() -> None:
    found = flow(FULL, LATER, grid())
    np.testing.assert_allclose(found.points - grid(), opencv_step(STILL, MOVED, grid()), atol=0.01)
    assert found.is_found.all()


def test_large_patches_are_found_where_opencv_finds_them_and_differ_as_much() -> None:
    expected = grid() + np.array([3, -2], np.float32)
    found = align(FULL[0], LATER[0], grid(), expected)
    theirs, _, error = cv2.calcOpticalFlowPyrLK(
        *(STILL, MOVED, grid()[:, None], expected[:, None].copy()),
        **{"winSize": (31, 31), "maxLevel": 0, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW},
    )
    np.testing.assert_allclose(found.points, theirs[:, 0], atol=0.01)
    np.testing.assert_allclose(found.residual, error[:, 0], atol=0.1)


@settings(max_examples=40, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4))
def test_a_shift_of_the_picture_is_read_to_a_tenth_of_a_pixel(x: float, y: float) -> None:
    found = flow(FULL, pyramid(shifted(PICTURE, x, y), 4), grid())
    assert np.hypot(*(found.points - grid() - (x, y)).T).max() < 0.1


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7))
def test_where_a_search_begins_does_not_tell_where_it_ends(x: float, y: float) -> None:
    near = grid() + np.array([3, -2], np.float32)
    once = align(FULL[0], LATER[0], grid(), near)
    again = align(FULL[0], LATER[0], grid(), near + np.array([x, y], np.float32))
    assert np.hypot(*(once.points - again.points).T).max() < 1e-3


def test_an_edge_says_nothing_along_itself_and_still_all_searches_end_in_one_place() -> None:
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    edge = (128 + 100 * np.tanh((x + 0.3 * y - 128) / 4) + 8 * np.sin(y / 7) * np.sin(x / 5)).astype(np.uint8)
    before, after = pyramid(edge, 4), pyramid(np.roll(edge, 2, 0), 4)
    on_it = np.array([[128 - 0.3 * k, k] for k in range(60, 190, 10)], np.float32)
    once, again = flow(before, after, on_it), flow(before, after, on_it + np.float32(1e-4))
    assert once.is_found.all()
    assert np.hypot(*(again.points - once.points - 1e-4).T).max() < 2e-3


def test_where_there_is_no_texture_nothing_is_found() -> None:
    flat = pyramid(np.full((SIDE, SIDE), 90, np.uint8), 4)
    assert not flow(flat, flat, grid()).is_found.any()


def test_points_at_the_border_and_far_outside_do_no_harm() -> None:
    corners = np.array([[0, 0], [SIDE - 1, 0], [0, SIDE - 1], [SIDE - 1, SIDE - 1]], np.float32)
    outside = np.array([[-5000, 10], [10, 5000], [SIDE + 2 * MARGIN, 10]], np.float32)
    found = flow(FULL, LATER, np.concatenate((corners, outside)))
    assert np.isfinite(found.points).all()
    assert not found.is_found[len(corners) :].any()
    assert len(flow(FULL, LATER, grid()[:0]).points) == 0
