"""Examples: right shape, right truth, points set where the policy says."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_clips import centroid, moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import TrainingClip
from specktrack.training.data import ExampleSettings, QueryShares, diastasis_frames, draw_example, stack

SETTINGS = ExampleSettings(size=64, n_points=6, recent_lags=(4, 1))
STILL = replace(SETTINGS, affine=None, appearance=False)


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
    with pytest.raises(InputError, match="dots-0: 4 frames, but training needs 5"):
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


def numbered_frames(n_frames: int) -> TrainingClip:
    """Frame k is grey k + 1 everywhere."""
    clip = moving_dots(n_frames, height=64, width=64)
    frames = np.repeat(np.arange(1, n_frames + 1, dtype=np.uint8), 64 * 64).reshape(n_frames, 64, 64)
    return replace(clip, frames=frames)


def frame_numbers(clip: TrainingClip, shares: QueryShares, n_draws: int = 400) -> np.ndarray:
    """(n_draws, F) frames of the clip in every example."""
    settings = replace(STILL, query=shares)
    rng = np.random.default_rng(0)
    return np.array([draw_example(rng, clip, settings).frames[:, 32, 32].astype(int) - 1 for _ in range(n_draws)])


CALM = QueryShares(diastasis=1, first=0, random=0)


def test_points_are_set_in_diastasis_where_the_phase_is_known() -> None:
    phase = (np.arange(20) / 10 % 1 + 0.001).astype(np.float32)
    phase[17] = np.nan
    clip = replace(numbered_frames(20), phase=phase)
    assert set(frame_numbers(clip, CALM)[:, 0]) == {7, 8, 18}


def test_points_are_set_in_the_query_frame_where_the_clip_names_one() -> None:
    assert set(frame_numbers(replace(numbered_frames(20), query_frame=13), CALM)[:, 0]) == {13}


def test_a_clip_that_says_neither_phase_nor_query_frame_is_asked_anywhere() -> None:
    clip = numbered_frames(12)
    assert not len(diastasis_frames(clip))
    assert set(frame_numbers(clip, CALM)[:, 0]) == set(range(12))


def test_points_are_set_in_the_first_frame_when_told_so() -> None:
    assert set(frame_numbers(numbered_frames(12), QueryShares(diastasis=0, first=1, random=0))[:, 0]) == {0}


def test_query_shares_are_shares_of_their_sum() -> None:
    clip = replace(numbered_frames(20), query_frame=13)
    anchors = frame_numbers(clip, QueryShares(diastasis=2, first=1, random=1), 2000)[:, 0]
    assert np.mean(anchors == 13) == pytest.approx(0.5 + 0.25 / 20, abs=0.04)
    assert np.mean(anchors == 0) == pytest.approx(0.25 + 0.25 / 20, abs=0.04)


def test_targets_lie_before_and_after_the_query_and_recent_frames_on_either_side() -> None:
    chosen = frame_numbers(replace(numbered_frames(21), query_frame=10), CALM)
    anchor, old, last, target = chosen.T
    assert 0.35 < np.mean(target > anchor) < 0.6
    assert 0.4 < np.mean(target > last) < 0.6
    assert (np.abs(target - old) == 4).all()
    assert (np.abs(target - last) == 1).all()
    assert set(target) == set(range(21))


def test_shares_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them a share"):
        QueryShares(diastasis=0, first=0, random=0)


def test_examples_are_stacked_in_order() -> None:
    examples = [draw_example(np.random.default_rng(k), moving_dots(), SETTINGS) for k in range(3)]
    batch = stack(examples)
    assert batch.frames.shape == (3, 4, 64, 64)
    assert np.array_equal(batch.points[1], examples[1].points)
    assert np.array_equal(batch.visible[2], examples[2].visible)
