"""Examples and batches: right shape, right truth, the same for the same step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import centroid, moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.data import Batch, ClipPool, ExampleSettings, draw_batch, draw_example, prefetch

SETTINGS = ExampleSettings(size=64, n_points=6, recent_lags=(4, 1))
STILL = replace(SETTINGS, affine=None, appearance=False)


@pytest.fixture
def pool(tmp_path: Path) -> ClipPool:
    for seed in range(2):
        save_clip(tmp_path / f"dots-{seed}.npz", moving_dots(seed=seed))
    return ClipPool([tmp_path])


def same(first: Batch, second: Batch) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("frames", "points", "visible"))


@pytest.mark.parametrize("lags", [(), (1,), (4, 1), (5, 3, 1)])
def test_an_example_has_an_anchor_the_recent_frames_and_a_target(lags: tuple[int, ...]) -> None:
    settings = replace(SETTINGS, recent_lags=lags)
    for seed in range(20):
        frames, points, visible = draw_example(np.random.default_rng(seed), moving_dots(6), settings)
        assert frames.shape == (len(lags) + 2, 64, 64)
        assert points.shape == (len(lags) + 2, 6, 2)
        assert visible.shape == (len(lags) + 2, 6)


def test_a_clip_just_long_enough_gives_whole_examples() -> None:
    for seed in range(20):
        frames, _, _ = draw_example(np.random.default_rng(seed), moving_dots(5), SETTINGS)
        assert len(frames) == 4


def test_a_clip_shorter_than_an_example_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="dots-0: 4 frames, but recent_lags need 5"):
        draw_example(np.random.default_rng(0), moving_dots(4), SETTINGS)


def test_points_sit_on_their_dots_in_every_frame() -> None:
    clip = moving_dots(n_points=1)
    for seed in range(10):
        settings = replace(SETTINGS, appearance=False)
        frames, points, visible = draw_example(np.random.default_rng(seed), clip, settings)
        for frame, point, seen in zip(frames, points[:, 0], visible[:, 0], strict=True):
            if seen and (point > 12).all() and (point < 51).all():
                assert centroid(frame, point, 12) == pytest.approx(point, abs=0.3)


def test_time_runs_both_ways() -> None:
    clip = moving_dots(n_points=1)
    speed = clip.tracks[0, 1] - clip.tracks[0, 0]
    ahead = []
    for seed in range(40):
        _, points, _ = draw_example(np.random.default_rng(seed), clip, STILL)
        ahead.append(float((points[-1, 0] - points[-2, 0]) @ speed) > 0)
    assert 8 < sum(ahead) < 32


def test_without_augmentation_the_clip_is_only_fitted_into_the_crop() -> None:
    clip = moving_dots(height=96, width=96)
    settings = replace(STILL, size=96, n_points=5)
    frames, points, visible = draw_example(np.random.default_rng(3), clip, settings)
    assert any(np.array_equal(frames[0], frame) for frame in clip.frames)
    assert visible.all()
    distances = np.linalg.norm(points[0][:, None, None] - clip.tracks[None], axis=-1)
    assert distances.min((1, 2)).max() < 1e-3


def test_points_outside_the_crop_are_not_visible() -> None:
    hidden = 0
    for seed in range(40):
        _, points, visible = draw_example(np.random.default_rng(seed), moving_dots(n_points=20), SETTINGS)
        outside = ((points < 0) | (points > SETTINGS.size - 1)).any(-1)
        hidden += int(outside.sum())
        assert not visible[outside].any()
    assert hidden > 0


def test_points_without_a_position_stay_finite_and_invisible() -> None:
    clip = moving_dots()
    tracks, visible = clip.tracks.copy(), clip.visible.copy()
    tracks[:4, :, :] = np.nan
    visible[:4] = False
    for seed in range(20):
        _, points, seen = draw_example(
            np.random.default_rng(seed), replace(clip, tracks=tracks, visible=visible), SETTINGS
        )
        assert np.isfinite(points).all()
        assert not seen.all()


def test_a_clip_with_nothing_visible_still_gives_an_example() -> None:
    clip = moving_dots()
    blind = replace(clip, tracks=np.full_like(clip.tracks, np.nan), visible=np.zeros_like(clip.visible))
    _, points, visible = draw_example(np.random.default_rng(0), blind, SETTINGS)
    assert np.isfinite(points).all()
    assert not visible.any()


def test_seen_points_are_taken_before_unseen_ones() -> None:
    clip = moving_dots(n_points=12, height=96, width=96)
    visible = clip.visible.copy()
    visible[::2] = False
    _, _, seen = draw_example(
        np.random.default_rng(1), replace(clip, visible=visible), replace(STILL, size=96, n_points=6)
    )
    assert seen.all()


def test_the_same_seed_and_step_give_the_same_batch(pool: ClipPool) -> None:
    assert same(draw_batch(3, 17, pool, 2, SETTINGS), draw_batch(3, 17, pool, 2, SETTINGS))


def test_another_step_or_seed_gives_another_batch(pool: ClipPool) -> None:
    base = draw_batch(3, 17, pool, 2, SETTINGS)
    assert not same(base, draw_batch(3, 18, pool, 2, SETTINGS))
    assert not same(base, draw_batch(4, 17, pool, 2, SETTINGS))


def test_prefetched_batches_come_in_order_and_are_those_of_their_steps(pool: ClipPool) -> None:
    batches = list(prefetch(3, 5, 13, pool, 1, SETTINGS))
    assert len(batches) == 8
    for step, batch in zip(range(5, 13), batches, strict=True):
        assert same(batch, draw_batch(3, step, pool, 1, SETTINGS))


def test_prefetching_may_be_given_up_early(pool: ClipPool) -> None:
    batches = prefetch(3, 0, 1000, pool, 1, SETTINGS)
    next(batches)
    batches.close()  # type: ignore[attr-defined]


def test_a_damaged_clip_stops_the_batches_with_its_own_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no clip")
    with pytest.raises(InputError, match=r"broken\.npz"):
        next(prefetch(0, 0, 5, ClipPool([tmp_path]), 1, SETTINGS))


def test_a_clip_is_read_once(pool: ClipPool) -> None:
    first: TrainingClip = pool[0]
    assert pool[0] is first
    assert len(pool) == 2
