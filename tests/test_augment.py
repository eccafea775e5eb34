"""Augmentation: frames and points go together; no direction of motion is favoured."""

import numpy as np
import pytest
from tiny_clips import centroid, dot_image

from specktrack.training.augment import AffineRanges, random_affine, random_appearance, warp_frames, warp_points

SIZE = 128
DOTS = np.array([[30.0, 40.0], [70.0, 45.0], [50.0, 75.0]], np.float32)


def matrix_of(seed: int, ranges: AffineRanges | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return random_affine(rng, (110, 100), SIZE, np.array([50.0, 55.0], np.float32), ranges or AffineRanges())


@pytest.mark.parametrize("seed", range(8))
def test_bright_dots_land_where_their_points_do(seed: int) -> None:
    matrix = matrix_of(seed, AffineRanges(zoom=(0.9, 1.3)))
    image = warp_frames(dot_image(DOTS, 110, 100)[None], matrix, SIZE)[0]
    for dot in warp_points(DOTS, matrix):
        if (dot > 14).all() and (dot < SIZE - 15).all():
            assert centroid(image, dot, 10) == pytest.approx(dot, abs=0.1)


def test_dots_keep_their_place_when_a_large_clip_shrinks() -> None:
    dots = np.array([[120.0, 130.0], [220.0, 260.0]], np.float32)
    matrix = np.array([[0.3, 0.0, 20.0], [0.0, 0.3, 15.0]])
    image = warp_frames(dot_image(dots, 400, 400, 5.0)[None], matrix, SIZE)[0]
    for dot in warp_points(dots, matrix):
        assert centroid(image, dot, 10) == pytest.approx(dot, abs=0.1)


def whole_centroid(image: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image.astype(np.float64)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


EXACT = {  # maps of pixels onto pixels: no interpolation between a blob and its image
    "as it is": [[1, 0, 0], [0, 1, 0]],
    "moved by whole pixels": [[1, 0, 7], [0, 1, -5]],
    "flipped": [[-1, 0, SIZE - 1], [0, 1, 0]],
    "quarter turn": [[0, -1, SIZE - 1], [1, 0, 0]],
    "quarter turn of the flipped": [[0, 1, 0], [1, 0, 0]],
    "sheared by whole pixels": [[1, 1, -60], [0, 1, 0]],
}


@pytest.mark.parametrize("matrix", EXACT.values(), ids=EXACT)
def test_frames_and_points_share_one_matrix_to_a_ten_thousandth_of_a_pixel(matrix: list[list[float]]) -> None:
    blob = dot_image(np.array([[63.3, 60.8]], np.float32), SIZE, SIZE, 6.0)
    image = warp_frames(blob[None], np.array(matrix, np.float64), SIZE)[0]
    expected = warp_points(whole_centroid(blob)[None], np.array(matrix, np.float64))[0]
    assert whole_centroid(image) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_a_blob_lands_on_its_point_within_the_grid_of_the_interpolation(seed: int) -> None:
    """OpenCV interpolates on a grid of 1/32 px: at most 1/64 px off, far less on average over a blob."""
    rng = np.random.default_rng(seed)
    point = rng.uniform(55, 65, (1, 2)).astype(np.float32)
    matrix = random_affine(rng, (120, 120), SIZE, point[0], AffineRanges(zoom=(0.9, 1.3), shift=0.1))
    image = warp_frames(dot_image(point, 120, 120, 6.0)[None], matrix, SIZE)[0]
    assert whole_centroid(image) == pytest.approx(warp_points(point, matrix)[0], abs=1 / 64)


def test_without_turn_shear_and_flip_a_map_only_zooms_and_moves() -> None:
    still = AffineRanges(rotation_deg=0.0, shear=0.0, flip=False)
    for seed in range(20):
        matrix = matrix_of(seed, still)
        assert matrix[0, 1] == matrix[1, 0] == 0
        assert (np.diag(matrix[:, :2]) > 0).all()


def test_points_obey_the_matrix() -> None:
    matrix = matrix_of(3)
    points = np.random.default_rng(0).uniform(0, 100, (4, 7, 2)).astype(np.float32)
    homogeneous = np.concatenate((points.astype(np.float64), np.ones((4, 7, 1))), -1)
    assert warp_points(points, matrix) == pytest.approx(homogeneous @ matrix.T, abs=1e-4)


def test_the_focus_lands_near_the_middle_of_the_crop() -> None:
    for seed in range(50):
        focus = warp_points(np.array([50.0, 55.0], np.float32), matrix_of(seed))
        assert np.abs(focus - (SIZE - 1) / 2).max() <= 0.25 * SIZE + 1e-3


def test_the_map_neither_collapses_nor_explodes() -> None:
    fit = SIZE / 110
    low, high = AffineRanges().zoom
    for seed in range(200):
        area = abs(np.linalg.det(matrix_of(seed)[:, :2]))
        assert 0.99 * (low * fit) ** 2 <= area <= 1.01 * (high * fit) ** 2


def direction_shares(ranges: AffineRanges, n_draws: int = 6000) -> np.ndarray:
    """Shares of 12 equal sectors of direction, of one upward step augmented and played both ways, as training does."""
    rng = np.random.default_rng(1)
    focus = np.array([50.0, 55.0], np.float32)
    angles = []
    for _ in range(n_draws):
        step = random_affine(rng, (110, 100), SIZE, focus, ranges)[:, :2] @ [0.0, -1.0]
        step = step if rng.random() < 0.5 else -step
        angles.append(np.arctan2(step[1], step[0]))
    return np.histogram(angles, 12, (-np.pi, np.pi))[0] / n_draws


def test_every_direction_of_motion_is_trained() -> None:
    """With the paper's 120 degrees one direction of the source is met at most about twice as often as another."""
    shares = direction_shares(AffineRanges())
    assert shares.min() > 0.6 / 12
    assert shares.max() < 1.7 / 12


def test_full_turns_make_all_directions_equally_likely() -> None:
    shares = direction_shares(AffineRanges(rotation_deg=180.0))
    assert np.abs(shares * 12 - 1).max() < 0.15  # 3.5 standard deviations of 6000 draws


def test_motion_on_average_cancels() -> None:
    rng = np.random.default_rng(2)
    focus = np.array([50.0, 55.0], np.float32)
    steps = np.array(
        [
            (1 if rng.random() < 0.5 else -1)
            * random_affine(rng, (110, 100), SIZE, focus, AffineRanges())[:, :2]
            @ [0, -1]
            for _ in range(4000)
        ]
    )
    assert np.abs(steps.mean(0)).max() < 0.06 * np.linalg.norm(steps, axis=1).mean()


def test_appearance_changes_pixels_but_not_their_place() -> None:
    frames = np.repeat(dot_image(DOTS, 110, 110)[None], 3, 0)
    changed = 0
    for seed in range(10):
        out = random_appearance(np.random.default_rng(seed), frames)
        assert out.shape == frames.shape
        assert out.dtype == np.uint8
        changed += not np.array_equal(out, frames)
        for dot in DOTS:
            bright = np.where(out[0] > 60, out[0], 0)
            if bright[int(dot[1]), int(dot[0])]:
                assert centroid(bright, dot, 6) == pytest.approx(dot, abs=1.5)
    assert changed >= 9


def test_appearance_leaves_the_black_surroundings_black() -> None:
    frames = np.repeat(dot_image(DOTS, 110, 110)[None], 2, 0)
    for seed in range(12):
        out = random_appearance(np.random.default_rng(seed), frames)
        assert out[:, 100:, :20].mean() < 3.0


def test_the_same_seed_augments_alike() -> None:
    frames = np.repeat(dot_image(DOTS, 110, 110)[None], 2, 0)
    first, second = (random_appearance(np.random.default_rng(5), frames) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(matrix_of(5), matrix_of(5))
