"""The averaged weights: near the last ones early, steady later, the same after a resume."""

import torch
from torch import nn

from specktrack.training.average import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def shake(module: nn.Module, seed: int) -> None:
    """Other weights, and batch statistics of other images."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        module(torch.randn(2, 1, 8, 8, generator=generator))


def test_the_mean_is_the_recursive_one_of_weights_and_batch_statistics() -> None:
    module = network()
    average = WeightAverage({"network": module}, 0.5)
    expected = {key: value.clone() for key, value in module.state_dict().items()}
    for step in range(20, 26):  # late: the decay is as set
        shake(module, step)
        average.update(step)
        for key, value in module.state_dict().items():
            expected[key] = 0.5 * expected[key] + 0.5 * value if value.is_floating_point() else value.clone()
    found = average.state_dict()["network"]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.allclose(found[key], value, atol=1e-6), key


def test_the_first_weights_are_soon_forgotten() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = WeightAverage({"network": module}, 0.999)
    nn.init.constant_(module.weight, 0.0)
    average.restart()
    nn.init.constant_(module.weight, 1.0)
    for step in range(1, 101):
        average.update(step)
    assert float(average.state_dict()["network"]["weight"]) > 0.99


def test_without_decay_the_mean_is_the_last_weights() -> None:
    module = network()
    average = WeightAverage({"network": module}, 0.0)
    shake(module, 1)
    average.update(5)
    for key, value in module.state_dict().items():
        assert torch.equal(average.state_dict()["network"][key], value), key


def test_a_restored_mean_goes_on_bit_for_bit() -> None:
    module = network()
    average = WeightAverage({"network": module}, 0.9)
    shake(module, 1)
    average.update(1)
    saved = {name: {k: v.clone() for k, v in state.items()} for name, state in average.state_dict().items()}
    other = WeightAverage({"network": module}, 0.9)
    other.load_state_dict(saved)
    shake(module, 2)
    for mean in (average, other):
        mean.update(2)
    for key, value in average.state_dict()["network"].items():
        assert torch.equal(value, other.state_dict()["network"][key]), key


def test_the_mean_does_not_move_with_the_weights() -> None:
    module = network()
    average = WeightAverage({"network": module}, 0.9)
    before = average.state_dict()["network"]["0.weight"].clone()
    shake(module, 3)
    assert torch.equal(average.state_dict()["network"]["0.weight"], before)
    assert not torch.equal(module.state_dict()["0.weight"], before)
