"""Fine-tuning without tracks: the way back is honest, and a network that gives up looking is stopped."""

import numpy as np
import pytest
import torch
from tiny_beats import PERIOD, beating_sheet

from specktrack.training.selfsup import (
    Unlabelled,
    bright_points,
    closure_loss,
    cycle_loss,
    draw_beat,
    draw_path,
    feature_spread,
    fine_tune,
)
from specktrack.training.specknet import SpeckNet
from specktrack.training.study_config import SelfSupervision, StudyConfig
from specktrack.training.study_loop import PairMatcher, matcher_from

SIZE = 64
SETTINGS = SelfSupervision(size=SIZE, search_px=21, steps=3, n_points=6, check_every=1)
CONFIG = StudyConfig(batch=2, seeds=(1,))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shipped() -> PairMatcher:
    return matcher_from("specknet-s")


@pytest.fixture
def sheet() -> Unlabelled:
    return Unlabelled("sheet", beating_sheet(size=SIZE).frames, PERIOD)


def blind() -> PairMatcher:
    """A network whose features are the same everywhere."""
    matcher = matcher_from("specknet-s")
    with torch.no_grad():
        for end in matcher.network.ends:
            end.weight.zero_()
    return matcher


def test_a_network_that_sees_comes_back_nearer_than_one_that_does_not(shipped: PairMatcher, sheet: Unlabelled) -> None:
    ways = []
    for matcher in (shipped, blind()):
        rng = np.random.default_rng(0)
        losses = [cycle_loss(matcher, *draw_path(rng, sheet, SETTINGS), SETTINGS, rng) for _ in range(6)]
        ways.append(torch.stack(losses).mean().item())
    assert ways[0] < 0.85 * ways[1]  # how much nearer depends on the shipped weights


def test_a_network_that_does_not_look_is_far_off_one_beat_later(shipped: PairMatcher, sheet: Unlabelled) -> None:
    ways = []
    for matcher in (shipped, blind()):
        rng = np.random.default_rng(0)
        frames, points = draw_beat(rng, sheet, PERIOD, SETTINGS)
        ways.append(closure_loss(matcher, frames, points, SETTINGS, rng).item())
    assert ways[0] < 0.7 * ways[1]


def test_a_shift_of_the_whole_picture_is_no_drift(shipped: PairMatcher) -> None:
    frame = beating_sheet(n_frames=1).frames[0]
    moved = np.stack((frame[2:66, 2:66], frame[5:69, 2:66]))
    points = np.array([[24, 30], [32, 32], [40, 30], [30, 40], [36, 24]], np.float32)
    still = closure_loss(shipped, moved[[0, 0]], points, SETTINGS, np.random.default_rng(0)).item()
    shifted = closure_loss(shipped, moved, points, SETTINGS, np.random.default_rng(0)).item()
    assert shifted < still + 1.0


def test_the_way_back_teaches_the_network(shipped: PairMatcher, sheet: Unlabelled) -> None:
    rng = np.random.default_rng(1)
    loss = cycle_loss(shipped, *draw_path(rng, sheet, SETTINGS), SETTINGS, rng)
    gradients = torch.autograd.grad(loss, list(shipped.network.ends.parameters()))
    assert any(g.abs().sum() > 0 for g in gradients)


def test_frames_one_beat_apart_show_the_same_moment(sheet: Unlabelled) -> None:
    frames, _ = draw_beat(np.random.default_rng(0), sheet, PERIOD, SETTINGS)
    assert np.abs(frames[0].astype(int) - frames[1]).mean() < 1.0


def test_points_lie_where_there_is_tissue() -> None:
    frame = np.zeros((SIZE, SIZE), np.uint8)
    frame[20:44, 20:30] = 200
    points = bright_points(np.random.default_rng(0), frame, 50)
    assert ((points > [17, 17]) & (points < [33, 47])).all()


def test_a_black_frame_still_gives_points() -> None:
    points = bright_points(np.random.default_rng(0), np.zeros((SIZE, SIZE), np.uint8), 5)
    assert points.shape == (5, 2)


def test_features_that_are_all_alike_have_no_spread(sheet: Unlabelled, shipped: PairMatcher) -> None:
    frames = torch.from_numpy(sheet.frames[:2, None]).float() / 255
    assert feature_spread(blind().network, frames) == pytest.approx([0, 0, 0], abs=1e-4)
    assert (feature_spread(shipped.network, frames) > 0.1).all()


def test_fine_tuning_changes_the_weights_and_tells_how_far_it_is(sheet: Unlabelled, shipped: PairMatcher) -> None:
    told: list[float] = []
    tuned = fine_tune(CONFIG, SETTINGS, 1, [beating_sheet()], [sheet], told.append)
    assert tuned.stopped == ""
    assert told == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert not torch.equal(weights_of(tuned.matcher.network), weights_of(shipped.network))


def test_normalisation_statistics_stay_those_of_the_checkpoint(sheet: Unlabelled, shipped: PairMatcher) -> None:
    tuned = fine_tune(CONFIG, SETTINGS, 1, [beating_sheet()], [sheet], lambda _: None)
    for name, value in shipped.network.named_buffers():
        assert torch.equal(value, tuned.matcher.network.get_buffer(name)), name


def test_a_network_that_loses_its_features_is_stopped_and_its_last_sound_weights_kept(
    sheet: Unlabelled, shipped: PairMatcher
) -> None:
    reckless = SETTINGS.model_copy(update={"learning_rate": 3.0})
    tuned = fine_tune(CONFIG, reckless, 1, [beating_sheet()], [sheet], lambda _: None)
    assert "collapsed at step 1: features keep" in tuned.stopped
    assert torch.equal(weights_of(tuned.matcher.network), weights_of(shipped.network))


def test_a_clip_without_a_beat_teaches_by_its_way_back_alone() -> None:
    short = Unlabelled("short", beating_sheet(size=SIZE, n_frames=4).frames, None)
    assert fine_tune(CONFIG, SETTINGS, 1, [beating_sheet()], [short], lambda _: None).stopped == ""


def weights_of(network: SpeckNet) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])
