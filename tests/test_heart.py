"""The kinematic heart: its beat, its wall, its shortening."""

import itertools

import numpy as np
import pytest
import torch

from specktrack.training.heart import (
    ATRIAL_KICK_S,
    ISOVOLUMIC_RELAXATION_S,
    Heart,
    HeartMotion,
    Rhythm,
    contraction,
    diastasis_window,
    systole_s,
)
from specktrack.training.phantom import random_spec

RATES_BPM = (45, 60, 75, 90, 110, 130, 150)
EARLY_SHARE = 0.68


def course(rate_bpm: float, n_samples: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Times and states of contraction over one beat."""
    period = 60.0 / rate_bpm
    times = np.linspace(0.0, period, n_samples)
    return times, np.array([contraction(float(t), period, EARLY_SHARE) for t in times])


def standard_heart(rate_bpm: float = 70.0, motion: HeartMotion | None = None) -> Heart:
    return Heart(Rhythm.regular(rate_bpm, 5.0), motion=motion or HeartMotion())


def end_systole_s(heart: Heart) -> float:
    _, start, period = heart.rhythm.beat_at(0.0)
    return start + systole_s(period)


def wall_grid(heart: Heart) -> torch.Tensor:
    """Material points through the whole depth of the left-ventricular wall, float64."""
    rings = [heart.contour(61, depth) for depth in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    return torch.cat(rings).double()


def smallest_jacobian(heart: Heart, time_s: float) -> float:
    """Smallest determinant of the map from end-diastole over the wall; at or below zero the wall folds."""
    points = wall_grid(heart).requires_grad_(True)
    where = heart.position(points, time_s)
    rows = [torch.autograd.grad(where[:, k].sum(), points, retain_graph=True)[0] for k in range(2)]
    return float((rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]).min())


def longitudinal_strain_percent(heart: Heart, depth: float) -> float:
    contour = heart.contour(201, depth)
    lengths = [float(heart.position(contour, t).diff(dim=0).norm(dim=1).sum()) for t in (0.0, end_systole_s(heart))]
    return 100.0 * (lengths[1] / lengths[0] - 1.0)


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
def test_a_beat_starts_and_ends_relaxed_and_is_fully_contracted_at_end_systole(rate_bpm: float) -> None:
    period = 60.0 / rate_bpm
    assert contraction(0.0, period, EARLY_SHARE) == pytest.approx(0.0, abs=1e-9)
    assert contraction(systole_s(period), period, EARLY_SHARE) == pytest.approx(1.0, abs=1e-9)
    assert contraction(period, period, EARLY_SHARE) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
def test_the_state_never_jumps_nor_leaves_zero_to_one(rate_bpm: float) -> None:
    times, state = course(rate_bpm)
    assert state.min() >= -1e-9
    assert state.max() <= 1 + 1e-9
    assert np.abs(np.diff(state)).max() / (times[1] - times[0]) < 15.0  # per second; a jump would be thousands


@pytest.mark.parametrize("rate_bpm", RATES_BPM)
def test_nothing_jumps_over_the_boundary_of_a_beat(rate_bpm: float) -> None:
    heart = standard_heart(rate_bpm, HeartMotion(side_delay_s=0.1))
    boundary = heart.rhythm.ed_s[2]
    points = wall_grid(heart)
    before, after = (heart.position(points, boundary + shift) for shift in (-1e-5, 1e-5))
    assert float((after - before).norm(dim=1).max()) < 0.01


def test_beats_of_varying_length_join_without_a_jump() -> None:
    rhythm = Rhythm.varying(70.0, 6.0, 0.05, torch.Generator().manual_seed(3))
    heart = Heart(rhythm)
    for boundary in rhythm.ed_s[1:-1]:
        assert abs(heart.state(boundary + 1e-6) - heart.state(boundary - 1e-6)) < 1e-3


def test_varying_beats_cover_the_asked_duration_and_differ_in_length() -> None:
    times = Rhythm.varying(70.0, 6.0, 0.05, torch.Generator().manual_seed(3)).ed_s
    lengths = [b - a for a, b in itertools.pairwise(times)]
    assert times[-1] >= 6.0
    assert 0.02 < np.std(lengths) / np.mean(lengths) < 0.1


def test_at_60_beats_per_minute_the_heart_rests_in_diastasis() -> None:
    times, state = course(60.0)
    start, end = diastasis_window(1.0)
    resting = (times > start) & (times < end)
    assert end - start > 0.25
    assert np.abs(np.diff(state[resting])).max() / (times[1] - times[0]) < 0.15  # systole moves at about 5 per second


def test_at_110_beats_per_minute_there_is_no_diastasis() -> None:
    period = 60.0 / 110.0
    start, end = diastasis_window(period)
    assert end <= start
    times, state = course(110.0)
    relaxing = (times > systole_s(period) + ISOVOLUMIC_RELAXATION_S + 0.03) & (times < period - 0.03)
    assert np.abs(np.diff(state[relaxing])).min() / (times[1] - times[0]) > 0.15


@pytest.mark.parametrize(("rate_bpm", "systole_ms"), [(50, 391.0), (60, 369.0), (70, 347.0), (100, 281.0)])
def test_systole_follows_the_electromechanical_time_of_the_heart_rate(rate_bpm: float, systole_ms: float) -> None:
    """QS2 541 - 2.2 HR ms, less 40 ms from Q to R."""
    assert 1000 * systole_s(60.0 / rate_bpm) == pytest.approx(systole_ms, abs=0.5)
    times, state = course(rate_bpm)
    assert 1000 * times[np.argmax(state > 1 - 1e-6)] == pytest.approx(systole_ms, abs=2)


def test_diastasis_ends_when_the_atrial_kick_begins() -> None:
    period = 1.0
    _, end = diastasis_window(period)
    assert end == pytest.approx(period - ATRIAL_KICK_S)


def test_a_delayed_lateral_wall_lags_behind_the_septum() -> None:
    heart = standard_heart(motion=HeartMotion(side_delay_s=0.08))
    assert heart.state(0.3, 0.08) == pytest.approx(heart.state(0.22))


@pytest.mark.parametrize("rate_bpm", [50, 70, 100])
def test_the_wall_of_the_standard_heart_never_folds(rate_bpm: float) -> None:
    heart = standard_heart(rate_bpm)
    assert min(smallest_jacobian(heart, t) for t in np.linspace(0, 60 / rate_bpm, 12)) > 0.4


def test_the_wall_of_random_hearts_never_folds_even_beside_a_scar() -> None:
    seeds = [*range(0, 60), 35]  # 35: a vigorous heart with a narrow, deep scar
    for seed in seeds:
        heart = random_spec(seed).heart
        start, period = heart.rhythm.beat_at(1.0)[1:]
        for time_s in (start + 0.5 * systole_s(period), start + systole_s(period), start + 1.3 * systole_s(period)):
            assert smallest_jacobian(heart, time_s) > 0.05, seed


def test_close_material_points_stay_close() -> None:
    heart = standard_heart()
    points = wall_grid(heart)
    beside = points + torch.tensor([1e-3, 1e-3], dtype=torch.float64)
    distance = (heart.position(beside, 0.3) - heart.position(points, 0.3)).norm(dim=1)
    assert float(distance.max()) < 4e-3


def test_the_annulus_moves_by_its_excursion_and_the_apex_stays() -> None:
    motion = HeartMotion(side_difference=0.0, swing_deg=0.0, breathing=0.0, probe_drift=0.0)
    heart = standard_heart(motion=motion)
    length = heart.shape.length
    points = torch.tensor([[-heart.shape.radius, length], [heart.shape.radius, length], [0.0, 0.0]])
    moved = heart.position(points, end_systole_s(heart)) - heart.position(points, 0.0)
    assert moved[:2, 1] == pytest.approx(torch.full((2,), -motion.annular_excursion), abs=0.5)
    assert float(moved[2].norm()) < 0.5


def test_the_wall_moves_inwards_in_systole() -> None:
    motion = HeartMotion(swing_deg=0.0, breathing=0.0, probe_drift=0.0)
    heart = standard_heart(motion=motion)
    lateral = torch.tensor([[heart.shape.radius, 0.6 * heart.shape.length]])
    assert float(heart.position(lateral, end_systole_s(heart))[0, 0]) < float(heart.position(lateral, 0.0)[0, 0]) - 1.0


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_the_contour_of_the_standard_heart_shortens_believably(depth: float) -> None:
    assert -25.0 < longitudinal_strain_percent(standard_heart(), depth) < -10.0


def test_shortening_is_strongest_at_the_endocardium() -> None:
    heart = standard_heart()
    inner, middle, outer = (longitudinal_strain_percent(heart, depth) for depth in (0.0, 0.5, 1.0))
    assert inner < middle < outer


def test_a_scar_shortens_less() -> None:
    scarred = standard_heart(motion=HeartMotion(scar=(0.9, 60.0, 25.0)))
    assert longitudinal_strain_percent(scarred, 0.5) > longitudinal_strain_percent(standard_heart(), 0.5) + 1.0


def test_the_contour_runs_from_the_septal_base_over_the_apex_to_the_lateral_base() -> None:
    contour = standard_heart().contour(61)
    assert contour[0, 0] < 0 < contour[-1, 0]
    assert int(contour[:, 1].argmin()) == 30
