"""Block matching: the correlation is read where it is asked for, between pixels, at borders and beyond its reach."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import grid, shifted, speckle

from specktrack.rt.engine_block import REACH_PX, SHARPNESS, BlockEngine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.position import inside, soft_argmax

SIDE = 21
ENGINE, PICTURE = BlockEngine(), speckle()
STILL = ENGINE.encode(shifted(PICTURE, 0, 0))


def answers(features: FloatArray, blocks: FloatArray, centre: FloatArray) -> FloatArray:
    evidence = ENGINE.evidence(features, [blocks], centre, SIDE)[0]
    return soft_argmax(evidence, 50.0, inside(centre, SIDE, ENGINE.input_size)).px


@settings(max_examples=20)
@given(dx=st.floats(-3, 3), dy=st.floats(-3, 3), off_x=st.floats(-2, 2), off_y=st.floats(-2, 2))
def test_a_shifted_picture_is_found_from_any_place_between_pixels(
    dx: float, dy: float, off_x: float, off_y: float
) -> None:
    blocks = ENGINE.templates(STILL, grid())
    centre = grid() + np.array([off_x, off_y], np.float32)
    found = answers(ENGINE.encode(shifted(PICTURE, dx, dy)), blocks, centre)
    np.testing.assert_allclose(np.median(found, 0), [dx - off_x, dy - off_y], atol=0.25)


@settings(max_examples=20)
@given(x=st.floats(-0.5, 0.5), y=st.floats(-0.5, 0.5))
def test_evidence_moves_with_the_place_it_is_read_around(x: float, y: float) -> None:
    """Asked one whole pixel further right and down, the square holds the same values one further left and up."""
    blocks = ENGINE.templates(STILL, grid())
    here = grid() + np.array([x, y], np.float32)
    evidence = ENGINE.evidence(STILL, [blocks], here, 11)
    further = ENGINE.evidence(STILL, [blocks], here + 1, 11)
    np.testing.assert_allclose(further[..., :-1, :-1], evidence[..., 1:, 1:], atol=0.02 * SHARPNESS)


def test_a_block_matches_itself_perfectly_and_nothing_else_as_well() -> None:
    points = np.rint(grid())
    evidence = ENGINE.evidence(STILL, [ENGINE.templates(STILL, points)], points, SIDE)[0]
    np.testing.assert_allclose(evidence[:, SIDE // 2, SIDE // 2], SHARPNESS, rtol=1e-4)
    assert (evidence.max((1, 2)) == evidence[:, SIDE // 2, SIDE // 2]).all()


@pytest.mark.parametrize("corner", [(1.0, 2.0), (254.5, 3.0), (2.0, 253.0), (254.0, 254.0)])
def test_a_point_at_the_border_is_found(corner: tuple[float, float]) -> None:
    point = np.array([corner], np.float32)
    assert np.abs(answers(STILL, ENGINE.templates(STILL, point), point)).max() < 1.5


def test_beyond_its_reach_it_says_nothing() -> None:
    points = np.rint(grid())
    side = 2 * (REACH_PX + 5) + 1
    evidence = ENGINE.evidence(STILL, [ENGINE.templates(STILL, points)], points, side)[0]
    assert not evidence[:, :4].any()
    assert not evidence[:, :, -4:].any()
    assert np.abs(evidence[:, 5:-5, 5:-5]).min(0).max() > 0


@pytest.mark.parametrize("point", [(np.nan, np.nan), (400.0, -90.0)])
def test_lost_points_and_points_far_outside_give_numbers(point: tuple[float, float]) -> None:
    points = np.concatenate((grid(), [point])).astype(np.float32)
    blocks = ENGINE.templates(STILL, points)
    evidence = ENGINE.evidence(STILL, [blocks], points, SIDE)
    assert np.isfinite(evidence).all()
    alone = ENGINE.evidence(STILL, [blocks[:-1]], grid(), SIDE)
    np.testing.assert_array_equal(evidence[:, :-1], alone)
    if np.isnan(point[0]):
        assert not blocks[-1].any()
        assert not evidence[:, -1].any()


def test_a_black_picture_says_nothing() -> None:
    black = ENGINE.encode(np.zeros(ENGINE.input_size, np.uint8))
    evidence = ENGINE.evidence(black, [ENGINE.templates(black, grid())], grid(), SIDE)
    assert np.isfinite(evidence).all()
    assert np.ptp(evidence) == 0.0
