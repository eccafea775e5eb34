"""Combining scales: the product is the paper's, the sum keeps what the product drops."""

import pytest
import torch
from torch import Tensor

from specktrack.training.combination import Combination, plant_false_peak
from specktrack.training.head import evidence, positions_around, scale_logs, soft_argmax, templates_at
from specktrack.training.specknet import STRIDES

SIDE, GAMMA = 21, 15.0


def maps_of(size: int = 64, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [
        torch.nn.functional.normalize(torch.randn(1, 32, size // s, size // s, generator=g), dim=1) for s in STRIDES
    ]


def logs_at(point: Tensor, gamma: float = GAMMA) -> Tensor:
    maps, image = maps_of(), torch.zeros(1, dtype=torch.long)
    templates = [t[:, :, None] for t in templates_at(maps, image, point)]
    return torch.stack([log[:, :, 0] for log in scale_logs(maps, image, templates, point, SIDE, gamma)], 2)


POINT = torch.tensor([[[31.0, 29.0]]])


def test_the_product_of_scales_is_what_the_stream_reads() -> None:
    maps, image = maps_of(), torch.zeros(1, dtype=torch.long)
    templates = [t[:, :, None] for t in templates_at(maps, image, POINT)]
    expected = evidence(maps, image, templates, POINT, SIDE)[:, :, 0]
    torch.testing.assert_close(Combination("product", (0, 1, 2))(logs_at(POINT)), expected)


def test_the_sum_is_the_logarithm_of_added_volumes() -> None:
    logs = logs_at(POINT)
    torch.testing.assert_close(Combination("sum", (0, 1, 2))(logs), logs.exp().sum(2).log())


def test_a_single_scale_is_left_as_it_is() -> None:
    logs = logs_at(POINT)
    torch.testing.assert_close(Combination("product", (1,))(logs), logs[:, :, 1])


def test_the_learned_combination_reaches_its_weights_with_gradients() -> None:
    learned = Combination("learned", (0, 1, 2))
    out = learned(logs_at(POINT))
    assert out.shape == (1, 1, SIDE, SIDE)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned.parameters())


def found_with_false_peak(kind: str) -> Tensor:
    """Where the point is seen when the fine map has a false peak 7 px beside it."""
    logs = logs_at(POINT)
    beside = torch.full((1, 1, 2), SIDE // 2 + 7.0)
    planted = plant_false_peak(logs, 0, beside, GAMMA, 2.0, 1.0)
    weight = Combination(kind, (0, 1, 2))(planted)  # type: ignore[arg-type]
    return soft_argmax(weight, positions_around(POINT, SIDE))[0]


def test_a_false_peak_in_one_scale_misleads_the_sum_but_not_the_product() -> None:
    assert (found_with_false_peak("product") - POINT).abs().max() < 0.5
    assert (found_with_false_peak("sum") - POINT).abs().max() > 1.5


def test_a_planted_peak_changes_one_scale_only_and_never_lowers_it() -> None:
    logs = logs_at(POINT)
    planted = plant_false_peak(logs, 2, torch.full((1, 1, 2), 3.0), GAMMA, 8.0, 0.98)
    torch.testing.assert_close(planted[:, :, :2], logs[:, :, :2])
    assert (planted[:, :, 2] >= logs[:, :, 2]).all()
    assert planted[0, 0, 2, 3, 3] == pytest.approx(GAMMA * torch.log(torch.tensor(0.98)).item(), rel=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 30.0, 60.0])
def test_no_exponent_underflows(gamma: float) -> None:
    assert torch.isfinite(logs_at(POINT, gamma)).all()
