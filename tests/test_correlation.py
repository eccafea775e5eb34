"""The matching head: the fast kernel, its plain twin, the torch twin and the formula of the paper agree."""

import numpy as np
import pytest
import torch
from hand_made import random_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specktrack.rt.correlation import STRIDES, FeatureMaps, evidence, evidence_slow, sample_templates
from specktrack.rt.geometry import FloatArray, ImageScale
from specktrack.training import head

SIDE, GAMMA = 15, 15.0
NOWHERE = (np.nan, np.nan)


def as_tensors(maps: FeatureMaps) -> list[Tensor]:
    return [torch.from_numpy(m).permute(2, 0, 1)[None].double() for m in maps]


def two_templates(seed: int, points: FloatArray) -> FloatArray:
    """(2, N, C) of this picture and of one that looks different."""
    return np.stack([sample_templates(random_maps(seed + k), points) for k in range(2)])


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), x=st.floats(-8, 72), y=st.floats(-8, 72), gamma=st.sampled_from([15.0, 4.0, 7.5]))
def test_the_kernel_equals_its_plain_twin_also_beyond_the_border(seed: int, x: float, y: float, gamma: float) -> None:
    points = np.array([[x, y], NOWHERE, [30.0, 31.0]], np.float32)
    maps, templates = random_maps(seed), two_templates(seed, points)
    fast = evidence(maps, templates, points, SIDE, gamma)
    slow = evidence_slow(maps, templates, points, SIDE, gamma)
    np.testing.assert_allclose(fast, slow, atol=1e-3)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), x=st.floats(-8, 72), y=st.floats(-8, 72))
def test_the_kernel_equals_the_head_the_network_is_trained_with(seed: int, x: float, y: float) -> None:
    points = np.array([[x, y], [30.0, 31.0]], np.float32)
    maps, templates = random_maps(seed), two_templates(seed, points)
    where, image = torch.from_numpy(points)[None].double(), torch.zeros(1, dtype=torch.long)
    looks = [head.templates_at(as_tensors(random_maps(seed + k)), image, where) for k in range(2)]
    stacked = [torch.stack([look[s] for look in looks], 2) for s in range(len(STRIDES))]
    theirs = head.evidence(as_tensors(maps), image, stacked, where, SIDE)[0].transpose(0, 1)
    np.testing.assert_allclose(evidence(maps, templates, points, SIDE, GAMMA), theirs.numpy(), atol=2e-3)


def test_the_logarithmic_head_is_the_formula_of_the_paper() -> None:
    tensors = as_tensors(random_maps(3))
    where = torch.tensor([[[10.0, 20.5], [40.25, 33.0]]], dtype=torch.float64)
    templates = [t[0] for t in head.templates_at(tensors, torch.zeros(1, dtype=torch.long), where)]
    whole = [t[0] for t in tensors]
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    volume = head.full_log_volume(whole, templates)
    position, _ = head.soft_argmax(volume, torch.stack((columns, rows), -1).double())
    torch.testing.assert_close(position, head.literal_position(whole, templates), atol=1e-9, rtol=0)


def test_the_square_around_a_place_is_a_part_of_the_full_volume() -> None:
    tensors, image = as_tensors(random_maps(3)), torch.zeros(1, dtype=torch.long)
    where = torch.tensor([[[10.0, 20.0], [40.0, 33.0]]], dtype=torch.float64)
    templates = head.templates_at(tensors, image, where)
    full = head.full_log_volume([t[0] for t in tensors], [t[0] for t in templates])
    part = head.evidence(tensors, image, [t[:, :, None] for t in templates], where, SIDE)[0, :, 0]
    for n, (x, y) in enumerate(where[0].long().tolist()):
        torch.testing.assert_close(part[n], full[n, y - 7 : y + 8, x - 7 : x + 8], atol=1e-3, rtol=0)


def test_the_evidence_of_a_point_is_highest_where_it_was_seen() -> None:
    maps = random_maps(4)
    points = np.array([[24.5, 32.5], [40.5, 16.5]], np.float32)  # centres of cells of all three scales
    log_c = evidence(maps, sample_templates(maps, points)[None], points + 3.0, SIDE, GAMMA)[0]
    for volume in log_c:
        row, column = np.unravel_index(volume.argmax(), volume.shape)
        assert (column - SIDE // 2, row - SIDE // 2) == (-3, -3)
        assert volume.max() == pytest.approx(0.0, abs=1e-4)  # the cosine is 1 in every scale


def test_a_lost_point_has_no_evidence_and_changes_nobody_elses() -> None:
    maps = random_maps(5)
    points = np.array([NOWHERE, [30.0, 30.0]], np.float32)
    templates = sample_templates(maps, points)[None]
    log_c = evidence(maps, templates, points, SIDE, GAMMA)
    assert not templates[0, 0].any()
    assert not log_c[:, 0].any()
    np.testing.assert_array_equal(log_c[:, 1:], evidence(maps, templates[:, 1:], points[1:], SIDE, GAMMA))


@settings(max_examples=20)
@given(x=st.floats(-8, 72), y=st.floats(-8, 72))
def test_templates_have_unit_length_in_every_scale_and_are_those_of_the_training_head(x: float, y: float) -> None:
    maps, points = random_maps(6), np.array([[x, y]], np.float32)
    ours = sample_templates(maps, points)
    scales = np.split(ours[0], np.cumsum([m.shape[2] for m in maps])[:-1])
    assert [float(np.linalg.norm(part)) for part in scales] == pytest.approx([1.0] * 3, abs=1e-5)
    where = torch.from_numpy(points)[None].double()
    theirs = head.templates_at(as_tensors(maps), torch.zeros(1, dtype=torch.long), where)
    np.testing.assert_allclose(ours[0], torch.cat([t[0, 0] for t in theirs]).numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(65, 40), (64, 64), (101, 333)])
def test_points_survive_the_way_to_the_engine_and_back(size: tuple[int, int]) -> None:
    scale = ImageScale(size, (256, 256))
    points = np.random.default_rng(0).uniform(0, 39, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(scale.back(scale.forward(points)), points, atol=1e-3)
