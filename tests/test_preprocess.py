"""Source frames become engine images; points find their way."""

import cv2
import numpy as np
import pytest

from specktrack.rt.preprocess import preprocess, to_grey


@pytest.mark.parametrize("shape", [(768, 1024), (255, 301), (128, 96), (256, 256)])
def test_a_blob_lands_where_its_point_is_mapped(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    where = np.array([[shape[1] * 0.6, shape[0] * 0.4]], np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    blob = np.exp(-((x - where[0, 0]) ** 2 + (y - where[0, 1]) ** 2) / (2 * (0.05 * min(shape)) ** 2))
    image[:] = 255 * blob
    small, scale = preprocess(image, (256, 256))
    weight = small.astype(float)
    v, u = np.mgrid[:256, :256]
    centroid = (weight * u).sum() / weight.sum(), (weight * v).sum() / weight.sum()
    np.testing.assert_allclose(centroid, scale.forward(where)[0], atol=0.1)


def test_sixteen_bit_frames_keep_their_upper_byte() -> None:
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    np.testing.assert_array_equal(to_grey(deep), [[0, 0, 1, 255]])


def test_colour_becomes_luma() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(to_grey(red), cv2.cvtColor(red, cv2.COLOR_RGB2GRAY))
