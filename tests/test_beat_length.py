"""The length of a beat, found in the frames alone."""

import numpy as np
import pytest
from tiny_beats import PERIOD, RATE_HZ, beating_sheet

from specktrack.training.beat_length import beat_length, likeness_by_lag


@pytest.mark.parametrize("seed", range(3))
def test_a_beating_sheet_comes_back_after_its_period(seed: int) -> None:
    frames = beating_sheet(seed=seed, n_frames=30).frames
    assert beat_length(frames, RATE_HZ) == PERIOD


def test_frame_noise_does_not_hide_the_beat() -> None:
    frames = beating_sheet(n_frames=30).frames.astype(np.float64)
    noisy = frames + np.random.default_rng(0).normal(0, 25, frames.shape)
    assert beat_length(np.clip(noisy, 0, 255).astype(np.uint8), RATE_HZ) == PERIOD


def test_less_than_one_beat_has_no_length() -> None:
    assert beat_length(beating_sheet(n_frames=PERIOD - 1).frames, RATE_HZ) is None


def test_noise_has_no_beat() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64)).astype(np.uint8)
    assert beat_length(noise, RATE_HZ) is None


def test_a_still_picture_has_no_beat() -> None:
    assert beat_length(np.repeat(beating_sheet(n_frames=1).frames, 40, 0), RATE_HZ) is None


def test_a_frame_is_like_itself() -> None:
    assert likeness_by_lag(beating_sheet().frames)[0] == pytest.approx(1.0)
