"""A wide network begins where a narrow one ended."""

import pytest
import torch

from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import find_checkpoint, load_checkpoint
from specktrack.training.specknet import build
from specktrack.training.widen import widened


@pytest.fixture(scope="module")
def narrow() -> dict[str, torch.Tensor]:
    return load_checkpoint(find_checkpoint("specknet-s")).state["network"]


def similarities(model: str, weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Cosines between all cells of each scale."""
    network = build(model).eval()
    network.load_state_dict(weights)
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flat = [features.flatten(2)[0] for features in network(image)]
    return [features.T @ features for features in flat]


def test_the_wide_network_finds_the_same_similarities(narrow: dict[str, torch.Tensor]) -> None:
    expected = similarities("specknet-s", narrow)
    found = similarities("specknet-b", widened(narrow, "specknet-b"))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


def test_copies_of_a_channel_do_not_learn_the_same(narrow: dict[str, torch.Tensor]) -> None:
    network = build("specknet-b").eval()
    network.load_state_dict(widened(narrow, "specknet-b"))
    sum(features.square().sum() for features in network.raw_maps(torch.rand(1, 1, 32, 32))).backward()
    first = network.stem[0].weight.grad
    assert (first[:16] - first[16:32]).abs().max() > 0.01 * first.abs().max()


def test_widths_that_do_not_divide_are_refused(narrow: dict[str, torch.Tensor]) -> None:
    odd = dict(narrow, **{"stem.1.weight": torch.ones(15)})
    with pytest.raises(InputError, match="no whole multiple"):
        widened(odd, "specknet-b")
