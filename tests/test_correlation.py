"""The matching head: the fast kernel, its plain twin, the torch twin and the formula of the paper agree."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt.correlation import FeatureMaps, match_points, match_slow, sample_templates
from specktrack.rt.geometry import FloatArray
from specktrack.training import head

SIDE = 15


def random_maps(seed: int, size: int = 64) -> FeatureMaps:
    rng = np.random.default_rng(seed)
    maps = []
    for stride, channels in ((2, 16), (4, 32), (8, 64)):
        values = rng.normal(size=(size // stride, size // stride, channels))
        maps.append((values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32))
    return maps[0], maps[1], maps[2]


def match(maps: FeatureMaps, templates: FloatArray, centre: FloatArray, sigma: float = 2.0) -> FloatArray:
    out = np.empty((len(centre), 4), np.float32)
    weights = np.full(templates.shape[:2], 0.7, np.float32)
    spread = np.full(len(centre), sigma, np.float32)
    match_points(*maps, templates, weights, 1, centre, spread, SIDE, 15.0, out)
    return out


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), x=st.floats(-8, 72), y=st.floats(-8, 72))
def test_the_kernel_equals_its_plain_twin_also_beyond_the_border(seed: int, x: float, y: float) -> None:
    maps = random_maps(seed)
    points = np.array([[x, y], [30.0, 31.0]], np.float32)
    templates = np.stack([sample_templates(maps, points), sample_templates(random_maps(seed + 1), points)])
    weights = np.array([[0.7, 0.2], [0.3, 0.0]], np.float32)
    sigma = np.array([1.5, 6.0], np.float32)
    fast = np.empty((2, 4), np.float32)
    match_points(*maps, templates, weights, 1, points, sigma, SIDE, 15.0, fast)
    slow = match_slow(maps, templates, weights, 1, points, sigma, SIDE, 15.0)
    np.testing.assert_allclose(fast[:, :3], slow[:, :3], atol=1e-4)
    np.testing.assert_allclose(fast[:, 3], slow[:, 3], atol=0.05)  # a cell on the rim may fall on either side


def test_the_kernel_equals_the_head_the_network_is_trained_with() -> None:
    maps = random_maps(1)
    points = np.random.default_rng(2).uniform(0, 63, (20, 2)).astype(np.float32)
    ours = match(maps, sample_templates(maps, points)[None], points)
    tensors = [torch.from_numpy(m).permute(2, 0, 1)[None].double() for m in maps]
    image = torch.zeros(1, dtype=torch.long)
    where = torch.from_numpy(points)[None].double()
    templates = [t[:, :, None] for t in head.templates_at(tensors, image, where)]
    positions = head.positions_around(where, SIDE)
    log_c = 0.7 * head.evidence(tensors, image, templates, where, SIDE)[:, :, 0]
    log_c = log_c + head.log_prior(positions, where, torch.full((1, 20), 2.0))
    log_c = log_c.masked_fill(~head.inside(positions, 64, 64), -1e4)
    theirs, _ = head.soft_argmax(log_c, positions)
    np.testing.assert_allclose(ours[:, :2], theirs[0].numpy(), atol=1e-3)


def test_the_logarithmic_head_is_the_formula_of_the_paper() -> None:
    tensors = [torch.from_numpy(m).permute(2, 0, 1).double() for m in random_maps(3)]
    where = torch.tensor([[[10.0, 20.5], [40.25, 33.0]]], dtype=torch.float64)
    templates = [t[0] for t in head.templates_at([t[None] for t in tensors], torch.zeros(1, dtype=torch.long), where)]
    literal = head.literal_position(tensors, templates)
    volume = head.full_log_volume(tensors, templates)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    position, _ = head.soft_argmax(volume, torch.stack((columns, rows), -1).double())
    torch.testing.assert_close(position, literal, atol=1e-9, rtol=0)


def test_the_square_around_the_prior_is_a_part_of_the_full_volume() -> None:
    tensors = [torch.from_numpy(m).permute(2, 0, 1).double() for m in random_maps(3)]
    batched, image = [t[None] for t in tensors], torch.zeros(1, dtype=torch.long)
    where = torch.tensor([[[10.0, 20.0], [40.0, 33.0]]], dtype=torch.float64)
    templates = head.templates_at(batched, image, where)
    full = head.full_log_volume(tensors, [t[0] for t in templates])
    part = head.evidence(batched, image, [t[:, :, None] for t in templates], where, SIDE)[0, :, 0]
    for n, (x, y) in enumerate(where[0].long().tolist()):
        inside = full[n, y - 7 : y + 8, x - 7 : x + 8]
        torch.testing.assert_close(part[n], inside, atol=1e-3, rtol=0)


def test_a_point_is_found_where_its_own_features_are() -> None:
    maps = random_maps(4)
    points = np.array([[20.5, 30.5], [40.5, 12.5]], np.float32)  # centres of fine cells
    found = match(maps, sample_templates(maps, points)[None], points + 3.0, sigma=8.0)
    np.testing.assert_allclose(found[:, :2], points, atol=0.5)
    assert (found[:, 3] > 0.8).all()


def test_a_lost_point_stays_lost_and_disturbs_no_other() -> None:
    maps = random_maps(5)
    points = np.array([[np.nan, np.nan], [30.0, 30.0]], np.float32)
    found = match(maps, sample_templates(maps, points)[None], points)
    alone = match(maps, sample_templates(maps, points[1:])[None], points[1:])
    assert np.isnan(found[0, :2]).all()
    assert found[0, 3] == 0.0
    np.testing.assert_array_equal(found[1], alone[0])


def test_a_narrow_prior_holds_the_point_and_a_wide_one_lets_the_match_decide() -> None:
    maps = random_maps(6)
    point = np.array([[30.5, 30.5]], np.float32)
    template = sample_templates(maps, point)[None]
    held = match(maps, template, point + 4.0, sigma=0.5)
    free = match(maps, template, point + 4.0, sigma=10.0)
    assert np.hypot(*(held[0, :2] - point[0] - 4.0)) < 1.0
    assert np.hypot(*(free[0, :2] - point[0])) < 0.7


@pytest.mark.parametrize("size", [(65, 40), (64, 64), (101, 333)])
def test_points_survive_the_way_to_the_engine_and_back(size: tuple[int, int]) -> None:
    from specktrack.rt.geometry import ImageScale

    scale = ImageScale(size, (256, 256))
    points = np.random.default_rng(0).uniform(0, 39, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(scale.back(scale.forward(points)), points, atol=1e-3)
