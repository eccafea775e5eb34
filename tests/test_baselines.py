"""Other trackers, rebuilt: what must hold whatever their weights. Parity with the official ones: test_goldens.py."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from baseline_clips import colour_video, drifting_speckle

from specktrack.rt.config import MatchConfig
from specktrack.rt.errors import InputError
from specktrack.training.cases import Case
from specktrack.training.cotracker import ONLINE_WINDOW, CoTracker, state_at_queries, track_offline
from specktrack.training.cotracker_stream import CoTrackerStream, slide
from specktrack.training.echotracker import EchoTracker
from specktrack.training.follow import open_follower
from specktrack.training.official_checkpoint import load_official
from specktrack.training.pips import Pips, chain, windows_of
from specktrack.training.point_tracker import (
    TRACKERS,
    CoTrackerTracker,
    EchoTrackerTracker,
    PipsTracker,
    PointTracker,
    PtechoTracker,
    open_tracker,
)
from specktrack.training.score import score_clip
from specktrack.training.window_correlation import build_pyramid, correlate

POINTS = torch.tensor([[40.0, 50.0], [80.0, 70.0], [60.0, 90.0]])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def calm(network: Any) -> Any:
    """Untrained, but with small steps: where a step leads decides what is seen next, and large ones make chaos."""
    with torch.no_grad():
        for key, value in network.named_parameters():
            if "dense" in key or "flow_head" in key or "vis_conf_head" in key:
                value.mul_(0.02)
    return network


@pytest.fixture(scope="module")
def trackers() -> dict[str, PointTracker]:
    """All of them, small and untrained."""
    torch.manual_seed(0)
    size = (128, 128)
    return {
        "echotracker-ptecho": PtechoTracker(calm(EchoTracker("ptecho")), size),
        "echotracker": EchoTrackerTracker(calm(EchoTracker()), size),
        "pips": PipsTracker(calm(Pips()), iterations=2, window=6, size=size),
        "cotracker3": CoTrackerTracker(calm(CoTracker(ONLINE_WINDOW)), iterations=2, size=size),
    }


@pytest.mark.parametrize("name", TRACKERS)
def test_points_of_any_frame_are_followed_both_ways(name: str, trackers: dict[str, PointTracker]) -> None:
    frames = drifting_speckle(9, 96)
    queries = np.array([[0, 30, 40], [4, 50, 60], [8, 60, 20]], np.float32)
    found = trackers[name].track(frames, queries)
    assert found.tracks.shape == (3, 9, 2)
    assert found.confidence.shape == (3, 9)
    assert np.isfinite(found.tracks).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("name", ["echotracker", "echotracker-ptecho", "pips"])
def test_points_do_not_depend_on_their_company(name: str, trackers: dict[str, PointTracker]) -> None:
    frames = drifting_speckle(8, 96)
    queries = np.array([[2, 30, 40], [5, 50, 60], [2, 70, 20]], np.float32)
    together = trackers[name].track(frames, queries).tracks
    alone = np.concatenate([trackers[name].track(frames, queries[k : k + 1]).tracks for k in (2, 0, 1)])
    np.testing.assert_allclose(alone[[1, 2, 0]], together, atol=1e-3)


def test_the_order_of_points_is_all_the_same_to_cotracker(trackers: dict[str, PointTracker]) -> None:
    frames = drifting_speckle(8, 96)
    queries = np.array([[2, 30, 40], [5, 50, 60], [2, 70, 20]], np.float32)
    order = [2, 0, 1]
    together, turned = (
        trackers["cotracker3"].track(frames, queries),
        trackers["cotracker3"].track(frames, queries[order]),
    )
    np.testing.assert_allclose(turned.tracks, together.tracks[order], atol=1e-3)
    np.testing.assert_allclose(turned.confidence, together.confidence[order], atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (np.array([[0.0, 200.0, 5.0]]), "outside"),
        (np.array([[9.0, 5.0, 5.0]]), "outside"),
        (np.array([[0.0, np.nan, 5.0]]), "outside"),
        (np.array([[1.0, 5.0]]), "expected"),
    ],
)
@pytest.mark.parametrize("name", TRACKERS)
def test_a_point_that_is_not_in_the_clip_is_refused(
    name: str, queries: Any, says: str, trackers: dict[str, PointTracker]
) -> None:
    with pytest.raises(InputError, match=says):
        trackers[name].track(drifting_speckle(8, 96), np.float32(queries))


def test_correlation_is_the_dot_product_with_what_lies_there() -> None:
    features = torch.randn(2, 8, 20, 24)
    pyramid = build_pyramid(features)
    templates = torch.randn(1, 2, 1, 8)
    found = correlate(pyramid, torch.tensor([[[10.0, 9.0], [2.0, 3.0]]]), templates)
    first_level = found[0, :, :49].reshape(2, 7, 7) * 8**0.5
    for t, (x, y) in enumerate([(10, 9), (2, 3)]):
        for i, j in ((0, 0), (3, 3), (6, 2)):
            column, row = x + i - 3, y + j - 3
            expected = features[t, :, row, column] @ templates[0, t, 0] if min(column, row) >= 0 else torch.tensor(0.0)
            assert first_level[t, i, j] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(("n_frames", "window"), [(20, 8), (8, 8), (5, 8), (15, 8), (16, 8), (100, 48)])
def test_windows_share_a_frame_and_cover_the_clip(n_frames: int, window: int) -> None:
    windows = list(windows_of(n_frames, window))
    assert windows[0][0] == 0
    assert windows[-1][1] == n_frames
    assert all(end - begin == min(window, n_frames) for begin, end in windows)
    for (_, end), (begin, _) in pairwise(windows):
        assert begin < end


def test_a_chain_of_one_window_is_that_window() -> None:
    network = Pips().eval()
    with torch.no_grad():
        pyramid = network.encode(colour_video(8, 128))
        whole = network(pyramid, POINTS[:, None].repeat(1, 8, 1), 2).before_lock[-1]
        assert torch.equal(chain(network, pyramid, POINTS, 8, 2), whole)


def test_the_later_variant_of_echotracker_holds_points_where_they_were_set() -> None:
    network = EchoTracker("ptecho").eval()
    with torch.no_grad():
        features = network.encode(colour_video(8, 128)[:, :1])
        found = network(features, POINTS, query=3)
    assert torch.equal(found[0, :, 3], POINTS)
    assert not torch.equal(found[0, :, 2], POINTS)


def test_a_stream_says_what_the_whole_clip_says() -> None:
    network = CoTracker(ONLINE_WINDOW).eval()
    video = colour_video(24, 64)
    queries = torch.tensor([[0.0, 20.0, 30.0], [3.0, 40.0, 20.0], [18.0, 30.0, 30.0]])
    whole = slide(network, video, queries, 2)
    stream = CoTrackerStream(network, queries, 2)
    stream.update(video[:16])
    last = stream.update(video[16:24])
    torch.testing.assert_close(4 * last.state[..., :2], whole.positions_px[:, 8:], atol=1e-4, rtol=0)


def test_a_stream_refuses_more_frames_than_its_window_takes() -> None:
    stream = CoTrackerStream(CoTracker(ONLINE_WINDOW).eval(), torch.tensor([[0.0, 20.0, 30.0]]), 1)
    with pytest.raises(InputError, match="1 to 16"):
        stream.update(colour_video(17, 64))


def _echotracker_error(network: EchoTracker, video: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (network(network.encode(video[:, :1]), truth[:, 0], 1) - truth).abs().mean()


def _pips_error(network: Pips, video: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    still = truth[:, :1].repeat(1, len(video), 1)
    return (network(network.encode(video), still, 1).before_lock - truth).abs().mean()


def _cotracker_error(network: CoTracker, video: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    queries = torch.cat((torch.zeros(len(truth), 1), truth[:, 0]), 1)
    pyramid = network.encode(video)
    state = state_at_queries(queries, len(video))
    return (4 * network(pyramid, network.read_support(pyramid, queries), state)[..., :2] - truth).abs().mean()


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (EchoTracker, _echotracker_error),
        (Pips, _pips_error),
        (lambda: CoTracker(ONLINE_WINDOW), _cotracker_error),
    ],
)
def test_a_few_steps_of_fine_tuning_bring_the_tracks_nearer(build: Any, error: Any) -> None:
    network = calm(build())
    video = colour_video(6, 128)
    truth = POINTS[:, None] + torch.arange(6.0)[None, :, None] * torch.tensor([1.0, 0.0])
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-5)
    errors = []
    for _ in range(6):
        loss = error(network, video, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.9 * errors[0]
    gradients = {
        key for key, value in network.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0
    }
    assert any(key.startswith("fnet.conv1") for key in gradients)


@pytest.mark.parametrize("wrapped", ["plain", "model_state_dict", "model", "module."])
def test_public_checkpoints_load_however_they_are_wrapped(wrapped: str, tmp_path: Path) -> None:
    source, target = EchoTracker(), EchoTracker()
    state: Any = source.state_dict()
    if wrapped.endswith("."):
        state = {wrapped + key: value for key, value in state.items()}
    elif wrapped != "plain":
        state = {wrapped: state, "optimizer_state_dict": {}}
    torch.save(state, tmp_path / "weights.pth")
    load_official(target, tmp_path / "weights.pth")
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_the_first_wrong_key_is_named(tmp_path: Path) -> None:
    path, good = tmp_path / "weights.pth", EchoTracker().state_dict()
    spoiled = {
        "linear.weight is missing": {key: value for key, value in good.items() if key != "linear.weight"},
        "visibility.bias is unknown": good | {"visibility.bias": torch.zeros(1)},
        "linear.bias has shape": good | {"linear.bias": torch.zeros(3)},
    }
    for says, state in spoiled.items():
        torch.save(state, path)
        with pytest.raises(InputError, match=says):
            load_official(EchoTracker(), path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(InputError, match="no such file"):
        open_tracker("pips", path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a readable"):
        open_tracker("pips", path)
    torch.save({"step": 3}, path)
    with pytest.raises(InputError, match="holds no parameters"):
        open_tracker("pips", path)
    with pytest.raises(InputError, match="choose echotracker, echotracker-ptecho, pips, cotracker3"):
        open_tracker("raft", path)


def test_cotracker_goes_on_from_the_end_backwards() -> None:
    """Offline, one run answers for the frames before a query as well as for those after."""
    network = CoTracker(ONLINE_WINDOW).eval()
    found = track_offline(network, colour_video(8, 64), torch.tensor([[7.0, 30.0, 30.0]]), 1)
    assert found.positions_px.shape == (1, 8, 2)
    assert torch.isfinite(found.positions_px).all()


def test_a_checkpoint_stands_in_the_tables_beside_the_others(tmp_path: Path) -> None:
    weights = tmp_path / "echo.pth"
    torch.save({"model_state_dict": calm(EchoTracker()).state_dict()}, weights)
    frames = drifting_speckle(8, 96)
    truth = np.array([[[50.0 + t, 40.0] for t in range(8)]], np.float32)
    case = Case("drift", frames, truth, np.ones((1, 8), bool), 3)
    found = score_clip(open_follower(f"echotracker:{weights}", MatchConfig()), case)
    assert found.n_points == 1
    assert found.reliability is None
    assert np.isfinite(found.overall.median_trajectory_error_px)


def test_weights_that_forbid_commercial_use_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = tmp_path / "echo.pth"
    torch.save(EchoTracker().state_dict(), weights)
    open_tracker("echotracker", weights)
    assert not caplog.records
    assert open_tracker("echotracker-ptecho", weights).name == "echotracker-ptecho"
    assert "no commercial use" in caplog.text


def test_a_checkpoint_that_is_missing_is_named_before_anything_is_tracked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_follower(f"pips:{tmp_path / 'pips.pth'}", MatchConfig())
