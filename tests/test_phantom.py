"""Synthetic echo clips: reproducible, and true to their own hearts."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from specktrack.training.phantom import (
    Phantom,
    PhantomClip,
    PhantomSpec,
    random_spec,
    simulate_clip,
    standard_spec,
    with_size,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clip() -> PhantomClip:
    return simulate_clip(standard_spec(rate_bpm=70, seed=4, size_px=256), n_frames=10, n_points=60)


def small(seed: int) -> PhantomClip:
    return simulate_clip(standard_spec(seed=seed, size_px=96), n_frames=3, n_points=8)


def clean(spec: PhantomSpec) -> PhantomSpec:
    """The same heart seen by a scanner without noise, haze or display memory."""
    return replace(spec, imaging=replace(spec.imaging, noise_db=-100.0, haze_db=-100.0, persistence=0.0))


def test_the_same_seed_gives_the_same_clip_bit_for_bit() -> None:
    first, second = small(1), small(1)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.tracks, second.tracks)


def test_another_seed_gives_another_clip() -> None:
    assert not np.array_equal(small(1).frames, small(2).frames)


def test_random_hearts_of_one_seed_are_equal_and_of_two_seeds_are_not() -> None:
    assert random_spec(7) == random_spec(7)
    assert random_spec(7) != random_spec(8)


def test_a_clip_has_the_layout_it_promises(clip: PhantomClip) -> None:
    assert clip.frames.shape == (10, 256, 256)
    assert clip.frames.dtype == np.uint8
    assert clip.tracks.shape == (60, 10, 2)
    assert clip.visible.shape == (60, 10)
    assert clip.contour.shape == (61, 10, 2)
    assert clip.time_s.shape == clip.state.shape == (10,)


def test_tracks_are_the_positions_of_the_heart_seen_by_the_scanner() -> None:
    spec = standard_spec(seed=3, size_px=96)
    clip = simulate_clip(spec, n_frames=4, n_points=12)
    points = Phantom(spec).material_points(12, n_frames=4)
    for k in range(4):
        truth = spec.imaging.to_pixels(spec.heart.position(points, k / spec.frame_rate_hz))
        assert np.abs(clip.tracks[:, k] - truth.numpy()).max() < 1e-3


def test_the_true_contour_is_the_contour_of_the_heart(clip: PhantomClip) -> None:
    spec = standard_spec(rate_bpm=70, seed=4, size_px=256)
    truth = spec.imaging.to_pixels(spec.heart.position(spec.heart.contour(61), 9 / spec.frame_rate_hz))
    assert np.abs(clip.contour[:, 9] - truth.numpy()).max() < 1e-3


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_visible_points_lie_in_the_sector_and_on_the_image(seed: int) -> None:
    spec = random_spec(seed, size_px=96)
    phantom = Phantom(spec)
    points = phantom.material_points(40, n_frames=30)
    clip = simulate_clip(spec, n_frames=6, n_points=40)
    seen = clip.tracks[clip.visible]
    assert len(points) == 40
    assert len(seen)
    assert (seen >= 0).all()
    assert (seen <= 95).all()
    assert spec.imaging.in_sector(spec.imaging.to_mm(torch.from_numpy(seen)), 0.0).all()


def test_most_query_points_lie_on_tissue_bright_enough_to_follow(clip: PhantomClip) -> None:
    x, y = clip.tracks[:, 0].round().astype(int).T
    smooth = cv2.GaussianBlur(clip.frames[0], (0, 0), 2.0)
    assert np.median(smooth[y, x]) > 60


def test_ordinary_flow_follows_the_truth_of_a_clean_clip() -> None:
    """Frames and tracks agree: dense inverse search, chained over a systole, stays near the truth."""
    clip = simulate_clip(clean(standard_spec(rate_bpm=70, seed=2, size_px=256)), n_frames=12, n_points=60)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    at = clip.tracks[:, 0].copy()
    for k in range(1, 12):
        field = flow.calc(clip.frames[k - 1], clip.frames[k], None)
        step = cv2.remap(field, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR)
        at = at + step.reshape(-1, 2)
    moved = np.linalg.norm(clip.tracks[:, -1] - clip.tracks[:, 0], axis=1)
    error = np.linalg.norm(clip.tracks[:, -1] - at, axis=1)
    assert np.median(moved) > 3.0
    assert np.median(error) < 1.5


def test_tissue_is_brighter_than_blood() -> None:
    spec = clean(standard_spec(seed=1, size_px=192))
    phantom = Phantom(spec)
    image = cv2.GaussianBlur(phantom.frame(0), (0, 0), 2.0)

    def mean_level(points: torch.Tensor) -> float:
        x, y = phantom.truth(points, 0).round().long().T.numpy()
        return float(image[y, x].mean())

    shape = spec.heart.shape
    cavity = torch.tensor([[x, 0.65 * shape.length] for x in (-8.0, -4.0, 0.0, 4.0, 8.0)])
    assert mean_level(spec.heart.contour(41)[5:-5]) > mean_level(cavity) + 30


def test_end_diastoles_lie_at_the_beats_of_the_rhythm() -> None:
    clip = simulate_clip(standard_spec(rate_bpm=120, size_px=64), n_frames=60, n_points=4)
    assert clip.ed_s == pytest.approx((0.0, 0.5, 1.0))
    assert clip.state[0] == pytest.approx(0.0, abs=1e-6)


def test_another_display_size_shows_the_same_heart() -> None:
    spec = standard_spec(size_px=64)
    bigger = with_size(spec, 128)
    assert bigger.heart == spec.heart
    assert bigger.imaging.size_px == 128


def test_frames_come_one_after_another_like_single_ones() -> None:
    spec = standard_spec(seed=9, size_px=64)
    stream = Phantom(spec).frames()
    single = Phantom(spec)
    for k in range(3):
        assert np.array_equal(next(stream), single.frame(k))
