"""From evidence to positions: neighbours are heard as far as they are near, peaks are found, closed places are not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specktrack.rt.geometry import FloatArray
from specktrack.rt.position import CHANCE, closeness, inside, pooled, share_near, soft_argmax
from specktrack.training import head

SIDE = 21
NOWHERE = (np.nan, np.nan)


def peak_at(x: float, y: float, sigma: float = 2.0) -> FloatArray:
    """Evidence (S, S) of a Gaussian peak at (x, y) from the middle."""
    steps = np.arange(SIDE) - SIDE // 2
    return (-0.5 * ((steps[None] - x) ** 2 + (steps[:, None] - y) ** 2) / sigma**2).astype(np.float32)


def all_open(n: int = 1) -> np.ndarray:
    return np.ones((n, SIDE, SIDE), bool)


def width_of(log_weight: FloatArray) -> FloatArray:
    """Spread (N,) under hardly any prior."""
    return soft_argmax(log_weight, 100.0, all_open(len(log_weight))).spread_px


def test_evidence_of_neighbours_who_agree_is_sharper_than_ones_own() -> None:
    points = np.array([[100, 100], [103, 100], [100, 103]], np.float32)
    own = np.stack([peak_at(2, -1)] * 3)
    together = pooled(own[None], closeness(points, 10.0))[0]
    assert (width_of(together) < 0.85 * width_of(own)).all()
    np.testing.assert_allclose(soft_argmax(together, 100.0, all_open(3)).px, [[2, -1]] * 3, atol=0.05)


@pytest.mark.parametrize("n", [1, 4, 9])
def test_n_points_in_one_place_count_as_the_square_root_of_n(n: int) -> None:
    own = np.stack([peak_at(1, 1)] * n)[None]
    together = pooled(own, closeness(np.full((n, 2), 50.0, np.float32), 10.0))
    np.testing.assert_allclose(together, np.sqrt(n) * own, rtol=1e-5)


def test_a_neighbours_evidence_is_read_around_where_the_neighbour_is_expected() -> None:
    """Both are off by the same: two pixels from their own expected places, wherever these are."""
    points = np.array([[100, 100], [108, 100]], np.float32)
    together = pooled(np.stack([peak_at(2, 0)] * 2)[None], closeness(points, 10.0))[0]
    np.testing.assert_allclose(soft_argmax(together, 100.0, all_open(2)).px, [[2, 0]] * 2, atol=0.05)


@pytest.mark.parametrize("other", [(240.0, 240.0), NOWHERE])
def test_a_distant_or_lost_neighbour_is_not_heard(other: tuple[float, float]) -> None:
    evidence = np.stack([peak_at(1, 0), peak_at(-6, 3)])[None]
    near = closeness(np.array([[50, 50], other], np.float32), 10.0)
    np.testing.assert_allclose(pooled(evidence, near)[:, 0], evidence[:, 0], rtol=1e-5)


def test_a_point_alone_has_the_evidence_that_is_its_own() -> None:
    evidence = np.random.default_rng(0).normal(size=(3, 1, SIDE, SIDE)).astype(np.float32)
    near = closeness(np.array([[80, 90]], np.float32), 10.0)
    np.testing.assert_allclose(pooled(evidence, near), evidence, rtol=1e-6)


def test_an_unsure_point_follows_its_sure_neighbours() -> None:
    points = np.array([[100, 100], [104, 100], [96, 100]], np.float32)
    evidence = np.stack([peak_at(6, 0, sigma=8.0), peak_at(1, 0, sigma=1.0), peak_at(1, 0, sigma=1.0)])
    found = soft_argmax(pooled(evidence[None], closeness(points, 10.0))[0], 100.0, all_open(3)).px
    assert found[0, 0] == pytest.approx(1.0, abs=0.1)


@given(seed=st.integers(0, 1000), reach=st.floats(1, 40))
def test_closeness_is_mutual_whole_to_oneself_and_falls_with_distance(seed: int, reach: float) -> None:
    points = np.random.default_rng(seed).uniform(0, 256, (8, 2)).astype(np.float32)
    near = closeness(points, reach)
    np.testing.assert_array_equal(near, near.T)
    np.testing.assert_array_equal(near.diagonal(), 1.0)
    distance = np.hypot(*(points[0] - points).T)
    assert (np.diff(near[0, np.argsort(distance)]) <= 0).all()


@given(x=st.floats(-4, 4), y=st.floats(-4, 4))
def test_the_soft_argmax_finds_a_planted_peak(x: float, y: float) -> None:
    found = soft_argmax(peak_at(x, y, sigma=1.5)[None], 100.0, all_open())
    np.testing.assert_allclose(found.px, [[x, y]], atol=0.02)
    assert found.spread_px[0] == pytest.approx(1.5, abs=0.02)


@given(prior=st.floats(0.5, 3.0))
def test_a_prior_holds_the_point_the_more_the_narrower_it_is(prior: float) -> None:
    """A peak and a prior of one width meet half way: Gaussians multiply."""
    share = prior**2 / (prior**2 + 1.5**2)
    found = soft_argmax(peak_at(4, -2, sigma=1.5)[None], np.array([prior], np.float32), all_open())
    np.testing.assert_allclose(found.px, [[4 * share, -2 * share]], atol=0.05)
    assert found.spread_px[0] == pytest.approx(1.5 * np.sqrt(share), abs=0.05)


def test_a_closed_place_is_never_the_answer() -> None:
    is_open = all_open()
    is_open[..., SIDE // 2 + 1 :] = False  # everything right of the middle
    found = soft_argmax(peak_at(5, 0)[None], 100.0, is_open).px
    assert found[0, 0] <= 0.0


def test_a_square_without_an_open_place_answers_its_middle() -> None:
    found = soft_argmax(peak_at(5, 3)[None], 2.0, ~all_open())
    assert found.px.tolist() == [[0.0, 0.0]]
    assert found.spread_px.tolist() == [0.0]


def test_only_places_on_the_image_are_open() -> None:
    is_open = inside(np.array([[2, 100], [255, 90], NOWHERE], np.float32), SIDE, (120, 256))
    assert is_open[0].sum(-1).tolist() == [SIDE - 8] * SIDE  # columns -8 .. -1 are outside; rows 90 .. 110 are not
    assert is_open[1].any(0).tolist() == [True] * 11 + [False] * 10
    assert not is_open[2].any()


def test_the_best_open_place_is_found_however_much_better_a_closed_one_is() -> None:
    is_open = all_open()
    is_open[0, 3, 4] = False
    evidence = 20 * peak_at(2, -3, sigma=1.0)[None]
    evidence[0, 3, 4] = 500.0
    np.testing.assert_allclose(soft_argmax(evidence, 100.0, is_open).px, [[2, -3]], atol=0.05)
    assert share_near(evidence, np.array([[2, -3]], np.float32), is_open)[0] == pytest.approx(1.0, abs=1e-3)


@given(seed=st.integers(0, 1000), scale=st.floats(0, 50), x=st.floats(-5, 70), y=st.floats(-5, 70))
def test_the_training_head_reads_the_same_positions(seed: int, scale: float, x: float, y: float) -> None:
    log_c = np.random.default_rng(seed).normal(0, scale, (1, SIDE, SIDE)).astype(np.float32)
    centre = np.array([[x, y]], np.float32)
    ours = soft_argmax(log_c, 2.0, inside(centre, SIDE, (64, 64))).px
    where = torch.from_numpy(centre)[None]
    cells = head.positions_around(where, SIDE)
    weight = torch.from_numpy(log_c)[None] + head.log_prior(cells, where, torch.full((1, 1), 2.0))
    theirs, _ = head.soft_argmax(weight.masked_fill(~head.inside(cells, 64, 64), -1e4), cells)
    np.testing.assert_allclose(ours, theirs[0].numpy() - centre, atol=2e-3)


@given(seed=st.integers(0, 1000), scale=st.floats(0, 30), x=st.floats(-10, 10), y=st.floats(-10, 10))
def test_the_share_of_evidence_near_a_place_is_a_share(seed: int, scale: float, x: float, y: float) -> None:
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0, scale, (1, SIDE, SIDE)).astype(np.float32)
    share = share_near(evidence, np.array([[x, y]], np.float32), rng.random((1, SIDE, SIDE)) < 0.7)
    assert 0.0 <= float(share[0]) <= 1.0 + 1e-6


def test_a_sharp_peak_lies_near_its_own_answer_and_far_from_another() -> None:
    evidence = np.stack([peak_at(3, 1, sigma=1.0)] * 2)
    share = share_near(evidence, np.array([[3, 1], [-6, -6]], np.float32), all_open(2))
    assert share.tolist() == pytest.approx([1.0, 0.0], abs=1e-2)


def test_evidence_that_says_nothing_gives_the_share_of_the_area() -> None:
    share = share_near(np.zeros((1, SIDE, SIDE), np.float32), np.zeros((1, 2), np.float32), all_open())
    assert share[0] == pytest.approx(CHANCE, abs=0.02)
    assert share[0] <= CHANCE, "confidence of engines that begin there would not be nothing"


def test_a_lost_point_has_no_share() -> None:
    share = share_near(np.zeros((1, SIDE, SIDE), np.float32), np.array([NOWHERE], np.float32), all_open())
    assert share.tolist() == [0.0]
