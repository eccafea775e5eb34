"""What training minimises: small when right, lowest at the truth, always with usable gradients."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from specktrack.rt import position
from specktrack.rt.measure import NEAR_UNITS
from specktrack.rt.position import closeness
from specktrack.training.head import positions_around
from specktrack.training.losses import Losses, StreamNoise, cross_entropy, pooled, stream_error, stream_losses
from specktrack.training.specknet import STRIDES, build

SIZE, SIDE = 64, 21
QUIET = StreamNoise(shift=(0.0, 0.0), own=(0.1, 0.5))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def random_maps(n_images: int, n_channels: int = 48, seed: int = 0) -> list[Tensor]:
    """One random direction a cell, the same in all images: features that name their place."""
    g = torch.Generator().manual_seed(seed)
    maps = [torch.randn(1, n_channels, SIZE // s, SIZE // s, generator=g) for s in STRIDES]
    return [torch.nn.functional.normalize(m, dim=1).expand(n_images, -1, -1, -1).contiguous() for m in maps]


def points_of(batch: int, n_frames: int, n_points: int = 10) -> Tensor:
    """The same points in every frame, away from the border."""
    g = torch.Generator().manual_seed(1)
    return (14 + 36 * torch.rand(batch, 1, n_points, 2, generator=g)).expand(-1, n_frames, -1, -1).contiguous()


def losses_of(
    maps: Sequence[Tensor], points: Tensor, visible: Tensor | None = None, noise: StreamNoise = QUIET, seed: int = 2
) -> Losses:
    shown = torch.ones(points.shape[:3], dtype=torch.bool) if visible is None else visible
    return stream_losses(maps, points, shown, noise, SIDE, torch.Generator().manual_seed(seed))


def test_perfect_features_give_a_small_error() -> None:
    losses = losses_of(random_maps(4), points_of(1, 4))
    assert losses.fused_px < 1.0
    assert losses.single_px < 1.5


def test_features_that_say_nothing_give_a_large_error() -> None:
    flat = [torch.full((4, 16, SIZE // s, SIZE // s), 0.25) for s in STRIDES]
    noise = StreamNoise(shift=(3.0, 3.0), bend=0.0)
    lost = losses_of(flat, points_of(1, 4), noise=noise)
    found = losses_of(random_maps(4), points_of(1, 4), noise=noise)
    assert lost.fused_px > 2 * found.fused_px
    assert float(lost.total) > float(found.total)


def test_features_of_the_wrong_place_cost_more_than_those_of_the_right_one() -> None:
    points = points_of(1, 4)
    maps = random_maps(4)
    elsewhere = points.clone()
    elsewhere[:, -1] += 6.0
    assert float(losses_of(maps, elsewhere).total) > float(losses_of(maps, points).total) + 1.0


def test_every_batch_item_is_sought_in_its_own_frames() -> None:
    """Two items with different features: each alone and both together agree on what is a good match."""
    first, second = random_maps(3, seed=0), random_maps(3, seed=9)
    both = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    assert losses_of(both, points_of(2, 3)).fused_px < 1.0


def test_gradients_are_finite_and_reach_every_scale_of_the_network() -> None:
    torch.manual_seed(0)
    network = build("specknet-s").train()
    maps = network.raw_maps(torch.rand(8, 1, SIZE, SIZE))
    losses_of(maps, points_of(2, 4), noise=StreamNoise()).total.backward()  # type: ignore[no-untyped-call]
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert float(weight.grad.abs().sum()) > 0, name


def test_a_batch_without_a_visible_point_costs_nothing_and_stays_finite() -> None:
    maps = [m.requires_grad_(True) for m in random_maps(4)]
    points = points_of(1, 4)
    losses = losses_of(maps, points, torch.zeros(points.shape[:3], dtype=torch.bool))
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert float(losses.total.detach()) == 0.0
    assert all(m.grad is not None and m.grad.isfinite().all() for m in maps)


def test_points_hidden_in_the_target_do_not_count() -> None:
    points = points_of(1, 4)
    shown = torch.ones(points.shape[:3], dtype=torch.bool)
    shown[:, -1, :5] = False
    away = points.clone()
    away[:, -1, :5] = 500.0  # hidden, far outside
    kept = losses_of(random_maps(4), points, shown)
    assert float(losses_of(random_maps(4), away, shown).total) == pytest.approx(float(kept.total), rel=1e-5)


def test_the_same_generator_gives_the_same_losses() -> None:
    first, second = (losses_of(random_maps(4), points_of(1, 4), noise=StreamNoise(), seed=5) for _ in range(2))
    assert torch.equal(first.total, second.total)


@pytest.mark.parametrize("truth_xy", [(30.0, 28.0), (33.4, 27.3), (26.1, 35.9)])
def test_cross_entropy_is_lowest_at_the_truth(truth_xy: tuple[float, float]) -> None:
    centre, truth = torch.tensor([30.3, 30.6]), torch.tensor(truth_xy)
    cells = positions_around(centre[None, None], SIDE)[0, 0]
    log_weight = -0.5 * (cells - truth).square().sum(-1) / 1.5**2
    best = float(cross_entropy(log_weight, centre, truth))
    for shift in ((2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0), (1.5, 1.5)):
        assert float(cross_entropy(log_weight, centre, truth + torch.tensor(shift))) > best + 0.3


def test_cross_entropy_reads_a_certain_answer_as_almost_free() -> None:
    log_weight = torch.full((SIDE, SIDE), -50.0)
    log_weight[12, 9] = 0.0  # row 12, column 9 of the square
    centre = torch.tensor([40.0, 40.0])
    truth = centre + torch.tensor([9.0, 12.0]) - SIDE // 2
    assert float(cross_entropy(log_weight, centre, truth)) == pytest.approx(0.0, abs=1e-3)


def test_cross_entropy_of_a_flat_answer_is_the_log_of_the_number_of_cells() -> None:
    value = cross_entropy(torch.zeros(SIDE, SIDE), torch.tensor([40.0, 40.0]), torch.tensor([41.3, 38.2]))
    assert float(value) == pytest.approx(float(torch.tensor(SIDE**2).log()), abs=1e-4)


def test_a_truth_outside_the_square_costs_a_bounded_amount() -> None:
    log_weight = torch.full((SIDE, SIDE), -500.0)
    log_weight[10, 10] = 0.0
    value = cross_entropy(log_weight, torch.tensor([40.0, 40.0]), torch.tensor([400.0, 40.0]))
    assert float(value) <= 30.0


def test_neighbours_together_see_an_error_they_share_and_not_one_that_each_has_alone() -> None:
    crowd = 32 + 0.2 * (points_of(1, 4) - 32)  # within a few pixels
    shared = StreamNoise(shift=(6.0, 6.0), bend=0.0, own=(0.0, 0.0))
    alone = StreamNoise(shift=(0.0, 0.0), own=(6.0, 6.0))
    together, apart = (losses_of(random_maps(4), crowd, noise=noise) for noise in (shared, alone))
    assert together.likelihood < 0.6 * apart.likelihood
    assert float(together.total) < float(apart.total)


def test_training_pools_evidence_as_the_stream_does() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 60, (7, 2)).astype(np.float32)
    log_c = rng.normal(0, 3, (3, 7, 5, 5)).astype(np.float32)  # (K, N, S, S)
    valid = torch.ones(1, 7, 3, dtype=torch.bool)
    evidence = torch.from_numpy(log_c).transpose(0, 1)[None]
    theirs = pooled(evidence, torch.from_numpy(points)[None], valid, NEAR_UNITS)[0].transpose(0, 1)
    np.testing.assert_allclose(theirs.numpy(), position.pooled(log_c, closeness(points, NEAR_UNITS)), atol=1e-4)


def test_a_hidden_neighbour_is_heard_as_little_as_a_lost_one() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 30, (7, 2)).astype(np.float32)
    log_c = rng.normal(0, 3, (1, 7, 5, 5)).astype(np.float32)
    valid = torch.ones(1, 7, 1, dtype=torch.bool)
    valid[0, 2] = False
    evidence = torch.from_numpy(log_c).transpose(0, 1)[None]
    theirs = pooled(evidence, torch.from_numpy(points)[None], valid, NEAR_UNITS)[0].transpose(0, 1)
    points[2] = np.nan
    near = closeness(points, NEAR_UNITS)
    others = np.arange(7) != 2
    np.testing.assert_allclose(theirs.numpy()[:, others], position.pooled(log_c, near)[:, others], atol=1e-4)


def error_of(noise: StreamNoise, points: Tensor, seed: int = 0) -> Tensor:
    return stream_error(points, noise, torch.Generator().manual_seed(seed))


def test_errors_of_the_stream_are_alike_for_neighbours_and_differ_across_the_heart() -> None:
    near, far = torch.tensor([100.0, 100.0]), torch.tensor([220.0, 60.0])
    points = torch.stack((near, near + 2, far)).expand(200, -1, -1)
    error = error_of(StreamNoise(shift=(1.0, 1.0)), points)
    to_neighbour, to_far = ((error[:, 0] - error[:, k]).norm(dim=-1).mean() for k in (1, 2))
    assert float(to_neighbour) < 0.1 * float(to_far)
    assert float(error[:, :2].std()) == pytest.approx(1.2, abs=0.4)


def test_without_bend_all_points_err_alike_and_without_shift_not_at_all() -> None:
    points = points_of(5, 1)[:, 0]
    error = error_of(StreamNoise(bend=0.0), points)
    torch.testing.assert_close(error, error[:, :1].expand_as(error))
    assert float(error.abs().max()) > 0.1
    assert not error_of(StreamNoise(shift=(0.0, 0.0)), points).any()
