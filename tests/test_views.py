"""Ordinary and random subjects of every view keep the promises that the renderer and the truth rest on."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from specktrack.rt.errors import InputError
from specktrack.training.anatomy import BLOOD, VALVE, WALL
from specktrack.training.heart import Heart
from specktrack.training.heart_short_axis import ShortAxisHeart
from specktrack.training.placement import STILL, to_probe
from specktrack.training.random_heart import contour_strain
from specktrack.training.subject import Subject
from specktrack.training.tissue_block import TissueBlock
from specktrack.training.views import VIEWS, random_subject, standard_subject

SEEDS = range(24)
FRAME_S = 1 / 200


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def random_one(view: str, seed: int, duration_s: float = 3.0) -> Subject:
    return random_subject(view, torch.Generator().manual_seed(seed), duration_s)


def random_ones(view: str) -> Iterator[Subject]:
    return (random_one(view, seed) for seed in SEEDS)


def dense_grid(subject: Subject) -> torch.Tensor:
    """Points (N, 2), float64, over everything a sector can show; valve leaflets left out, which swing through blood."""
    x, y = torch.linspace(-95, 95, 64, dtype=torch.float64), torch.linspace(-75, 175, 84, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    return points[subject.classify(points) != VALVE]


def jacobian(subject: Subject, points: torch.Tensor, time_s: float) -> torch.Tensor:
    """Determinant (N,) of the map from end-diastole; at or below zero tissue folds."""
    points = points.clone().requires_grad_(True)
    where = subject.position(points, time_s)
    rows = [torch.autograd.grad(where[:, k].sum(), points, retain_graph=True)[0] for k in range(2)]
    return rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]


def tracked_points(subject: Subject) -> torch.Tensor:
    points = dense_grid(subject)
    return points[subject.is_tracked_wall(points)]


@pytest.mark.parametrize("view", VIEWS)
def test_random_subjects_never_fold_at_any_time(view: str) -> None:
    for seed, subject in zip(SEEDS, random_ones(view), strict=True):
        points = dense_grid(subject)
        start, end = subject.rhythm.ed_s[1:3]
        for share in (0.2, 0.35, 0.45, 0.55, 0.7):
            folded = jacobian(subject, points, start + share * (end - start)) <= 0.02
            assert not folded.any(), (seed, share)


@pytest.mark.parametrize("view", VIEWS)
def test_the_muscle_of_random_subjects_keeps_a_plausible_area(view: str) -> None:
    """Muscle shortens along and thickens across; what is left is motion through the plane."""
    for seed, subject in zip(SEEDS, random_ones(view), strict=True):
        share = jacobian(subject, tracked_points(subject), subject.rhythm.end_systole_s(1))
        assert float(share.min()) > 0.45, seed
        assert float(share.max()) < 2.2, seed
        assert 0.8 < float(share.median()) < 1.35, seed


@pytest.mark.parametrize("view", ["a4c", "a2c", "a3c", "rv", "psax"])
def test_strains_of_random_hearts_spread_over_the_clinical_range(view: str) -> None:
    strains = np.array([100 * contour_strain(subject) for subject in random_ones(view)])
    assert strains.min() > -32.0
    assert strains.max() < -2.0
    assert -21.0 < strains.mean() < -14.5
    assert 3.0 < strains.std() < 7.0


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("seed", range(5))
def test_motion_is_continuous_over_all_beats(view: str, seed: int) -> None:
    subject = random_one(view, seed)
    points = tracked_points(subject)
    where = torch.stack([subject.position(points, float(t)) for t in np.arange(0.0, 3.0, FRAME_S)])
    assert float(where.diff(dim=0).norm(dim=2).max()) < 350.0 * FRAME_S  # no wall moves at 35 cm/s
    for boundary in subject.rhythm.ed_s[1:-1]:
        before, after = (subject.position(points, boundary + shift) for shift in (-1e-5, 1e-5))
        assert float((after - before).norm(dim=1).max()) < 0.01


@pytest.mark.parametrize("view", VIEWS)
def test_ordinary_subjects_move_and_come_back(view: str) -> None:
    subject = standard_subject(view, 60.0, 9.0)
    points = tracked_points(subject)
    start, end_systole, later = (subject.position(points, t) for t in (0.0, subject.rhythm.end_systole_s(0), 4.0))
    assert float((end_systole - start).norm(dim=1).mean()) > 1.0
    assert float((later - start).norm(dim=1).max()) < 0.01  # one breath and four beats on


@pytest.mark.parametrize("view", VIEWS)
def test_one_seed_makes_one_subject(view: str) -> None:
    assert random_one(view, 7) == random_one(view, 7)
    assert random_one(view, 7) != random_one(view, 8)


@pytest.mark.parametrize("view", VIEWS)
def test_subjects_answer_in_the_shapes_the_renderer_expects(view: str) -> None:
    subject = random_one(view, 3)
    points = dense_grid(subject).float()
    n = len(points)
    assert subject.view == view
    assert subject.position(points, 0.4).shape == (n, 2)
    assert subject.elevation(points, 0.4).shape == (n,)
    assert subject.wall_coordinate(points).shape == (n,)
    assert subject.is_tracked_wall(points).dtype == torch.bool
    assert subject.classify(points).dtype == torch.int64
    assert subject.contour(33).shape == (33, 2)
    assert 80.0 < subject.depth_mm < 200.0


@pytest.mark.parametrize("view", VIEWS)
def test_a_subject_has_tissue_to_follow_and_blood(view: str) -> None:
    subject = standard_subject(view, 70.0, 2.0)
    label = subject.classify(dense_grid(subject))
    assert float((label == BLOOD).float().mean()) > 0.005
    assert float((label == WALL).float().mean()) > 0.03


@pytest.mark.parametrize("view", VIEWS)
def test_a_placed_point_is_found_back(view: str) -> None:
    subject = random_one(view, 2)
    assert isinstance(subject, Heart | ShortAxisHeart | TissueBlock)
    points = torch.rand(100, 2) * 100.0
    placed = to_probe(points, subject.placement, STILL, 0.0, 0.0)
    assert subject.to_heart(placed) == pytest.approx(points, abs=1e-3)


def test_the_population_has_scars_dyssynchrony_thick_walls_and_fibrillation() -> None:
    hearts = [random_one("a4c", seed) for seed in range(200)]
    assert all(isinstance(heart, Heart) for heart in hearts)
    apical = [heart for heart in hearts if isinstance(heart, Heart)]
    scarred = np.mean([max(map(max, heart.motion.post_systolic)) > 0 for heart in apical])
    late = np.mean([max(map(max, heart.motion.delay_s)) > 0.03 for heart in apical])
    thick = np.mean([max(heart.shape.walls) > 16.2 for heart in apical])
    fibrillating = np.mean([not heart.rhythm.has_kick for heart in apical])
    assert 0.15 < scarred < 0.35
    assert 0.05 < late < 0.17
    assert 0.02 < thick < 0.2
    assert 0.05 < fibrillating < 0.17


def test_random_short_axis_hearts_turn_either_way_within_the_clinical_range() -> None:
    hearts = [random_one("psax", seed) for seed in SEEDS]
    twists = [heart.motion.twist_deg for heart in hearts if isinstance(heart, ShortAxisHeart)]
    assert all(5.0 <= abs(twist) <= 15.0 for twist in twists)
    assert min(twists) < 0.0 < max(twists)


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="view plax: unknown; the phantom makes a4c, a2c"):
        standard_subject("plax", 70.0, 2.0)


@pytest.mark.bench
@pytest.mark.parametrize("view", VIEWS)
def test_a_hundred_thousand_points_move_in_a_fraction_of_a_frames_rendering(view: str) -> None:
    subject = random_one(view, 1)
    points = torch.rand(100_000, 2) * 120.0
    subject.position(points, 0.5)
    start = time.perf_counter()
    for _ in range(5):
        subject.position(points, 0.5)
    assert (time.perf_counter() - start) / 5 < 0.06
