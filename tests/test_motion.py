"""Optical flow: from the frame before for every point, and from further back around where a point is expected."""

import numpy as np
import pytest
from streams import grid, shifted, speckle

from specktrack.rt.motion import UNALIGNED, Patches, PointFlow, align

NOWHERE = np.array([[np.nan, np.nan]], np.float32)
PICTURE = speckle()
STILL = shifted(PICTURE, 0, 0)


def test_optical_flow_reads_the_displacement_of_a_shifted_picture() -> None:
    flow = PointFlow()
    points = np.concatenate((grid(), NOWHERE))
    assert flow.update(STILL, points) is None
    step = flow.update(shifted(PICTURE, 2.5, -1.5), points)
    assert step is not None
    np.testing.assert_allclose(np.median(step.displacement[:-1], axis=0), [2.5, -1.5], atol=0.2)
    assert np.hypot(*step.half_difference[:-1].T).max() < 0.5
    assert np.isnan(step.displacement[-1]).all()
    assert np.isnan(step.half_difference[-1]).all()


def test_flow_begun_beside_the_encoder_is_the_flow_that_is_found() -> None:
    alone, beside = PointFlow(), PointFlow()
    for k in range(3):
        image = shifted(PICTURE, 1.5 * k, -k)
        earlier = (Patches(STILL, grid()),)
        beside.begin(image, grid(), earlier)
        found, expected = beside.update(image, grid(), earlier), alone.update(image, grid(), earlier)
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.displacement, expected.displacement)
    np.testing.assert_array_equal(found.aligned[0].offset, expected.aligned[0].offset)


def test_patches_are_aligned_around_where_the_flow_expects_the_points() -> None:
    flow, image = PointFlow(), shifted(PICTURE, 2.0, -1.0)
    flow.update(STILL, grid())
    step = flow.update(image, grid(), (Patches(STILL, grid()),))
    assert step is not None
    here = align(STILL, image, grid(), grid() + step.displacement)
    np.testing.assert_array_equal(step.aligned[0].offset, here.offset)


def test_after_a_reset_the_next_frame_is_the_first() -> None:
    flow = PointFlow()
    flow.update(STILL, grid())
    flow.begin(STILL, grid())
    flow.reset()
    assert flow.update(STILL, grid()) is None


@pytest.mark.parametrize("off", [(0.0, 0.0), (1.5, -1.0), (-2.0, 2.0)])
def test_a_patch_of_an_earlier_frame_is_found_however_the_expectation_is_off(off: tuple[float, float]) -> None:
    expected = grid() + np.array([7 + off[0], -4 + off[1]], np.float32)
    found = align(STILL, shifted(PICTURE, 7, -4), grid(), expected)
    np.testing.assert_allclose(found.offset, np.broadcast_to(-np.array(off), found.offset.shape), atol=0.1)
    assert found.residual.max() < UNALIGNED / 4


def test_a_patch_that_is_not_there_differs_from_the_picture() -> None:
    here = align(STILL, STILL, grid(), grid())
    elsewhere = align(STILL, shifted(speckle(seed=1), 0, 0), grid(), grid())
    assert not here.offset.any()
    assert np.median(elsewhere.residual) > 10 * np.median(here.residual) + 5


@pytest.mark.parametrize("which", ["where it was", "where it is expected"])
def test_a_lost_point_has_no_patch(which: str) -> None:
    lost, known = np.concatenate((grid(), NOWHERE)), np.concatenate((grid(), grid()[:1]))
    points, expected = (lost, known) if which == "where it was" else (known, lost)
    found = align(STILL, shifted(PICTURE, 1, 1), points, expected)
    assert found.offset[-1].tolist() == [0.0, 0.0]
    assert found.residual[-1] == UNALIGNED
    alone = align(STILL, shifted(PICTURE, 1, 1), grid(), grid())
    np.testing.assert_array_equal(found.offset[:-1], alone.offset)
