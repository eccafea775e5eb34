"""The network: maps of three scales, unit features, and the same features wherever the same tissue lies."""

import pytest
import torch

from specktrack.rt.errors import InputError
from specktrack.training.specknet import SIZES, STRIDES, SpeckNet, build, unit


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(name: str, seed: int = 0) -> SpeckNet:
    """Random weights and running statistics that are not trivial."""
    torch.manual_seed(seed)
    net = build(name).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
@torch.no_grad()
def test_maps_have_the_strides_and_channels_of_the_configuration(name: str, height: int, width: int) -> None:
    maps = network(name)(torch.rand(2, 1, height, width))
    for features, stride, channels in zip(maps, STRIDES, SIZES[name].features, strict=True):
        assert features.shape == (2, channels, height // stride, width // stride)


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_features_have_unit_length(name: str) -> None:
    for features in network(name)(torch.rand(1, 1, 64, 64)):
        assert float((features.norm(dim=1) - 1).abs().max()) < 1e-3


@torch.no_grad()
def test_an_empty_image_gives_finite_features() -> None:
    for features in network("specknet-s")(torch.zeros(1, 1, 64, 64)):
        assert features.isfinite().all()


def test_no_features_at_all_stay_finite() -> None:
    assert float(unit(torch.zeros(1, 4, 2, 2), 1).abs().max()) == 0.0


def test_large_half_precision_features_do_not_overflow() -> None:
    features = unit(torch.full((1, 16, 2, 2), 6e4, dtype=torch.float16), 1)
    assert features.dtype == torch.float32
    assert float((features.norm(dim=1) - 1).abs().max()) < 1e-5


@torch.no_grad()
def test_raw_maps_are_the_maps_before_normalisation() -> None:
    net = network("specknet-s")
    image = torch.rand(1, 1, 64, 64)
    for raw, features in zip(net.raw_maps(image), net(image), strict=True):
        assert torch.equal(unit(raw, 1), features)


@pytest.mark.parametrize("axis", [2, 3])
@torch.no_grad()
def test_tissue_that_moves_eight_pixels_moves_its_features_by_four_two_and_one_cells(axis: int) -> None:
    net = network("specknet-s")
    scene = torch.rand(1, 1, 264, 264)
    first, second = scene.narrow(axis, 8, 256), scene.narrow(axis, 0, 256)  # second shows everything 8 px further on
    for a, b, stride, border in zip(net(first), net(second), STRIDES, (12, 10, 8), strict=True):
        cells, n = 8 // stride, 256 // stride
        length = n - 2 * border
        for dim in (2, 3):
            a = a.narrow(dim, border, length)
            b = b.narrow(dim, border + (cells if dim == axis else 0), length)
        assert float((a - b).abs().max()) < 1e-4


def n_parameters(name: str) -> int:
    return sum(parameter.numel() for parameter in build(name).parameters())


def test_the_small_network_has_less_than_half_a_million_parameters() -> None:
    assert n_parameters("specknet-s") < 500_000


def test_the_large_network_is_the_larger_one() -> None:
    assert n_parameters("specknet-b") > 4 * n_parameters("specknet-s")


def test_an_unknown_network_is_refused_with_the_names_known() -> None:
    with pytest.raises(InputError, match="specknet-x: unknown network; known are specknet-s, specknet-b"):
        build("specknet-x")
