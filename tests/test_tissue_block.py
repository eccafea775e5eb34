"""Plain tissue that deforms without folding."""

from dataclasses import replace

import pytest
import torch

from specktrack.training.anatomy import BLOOD
from specktrack.training.dice import Dice
from specktrack.training.placement import STILL
from specktrack.training.rhythm import Rhythm
from specktrack.training.tissue_block import STANDARD_WAVES, STEEPEST, TissueBlock, random_waves


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


def block() -> TissueBlock:
    return TissueBlock(Rhythm.regular(70.0, 4.0), whole=STILL)


def test_tissue_moves_by_millimetres_and_comes_back_at_every_beat() -> None:
    tissue = block()
    points = torch.rand(2000, 2) * 100.0
    moved = (tissue.position(points, 0.35) - points).norm(dim=1)
    assert 2.0 < float(moved.mean()) < 12.0
    assert tissue.position(points, tissue.rhythm.ed_s[2]) == pytest.approx(points, abs=1e-3)


def test_the_gradient_of_any_drawn_field_keeps_to_its_bound() -> None:
    for seed in range(30):
        waves = random_waves(Dice(torch.Generator().manual_seed(seed)), STEEPEST)
        assert 0.5 * STEEPEST < sum(wave.steepness for wave in waves) <= STEEPEST


def test_neighbours_never_meet() -> None:
    """A displacement steeper than the bound would bring some pair closer than this."""
    tissue = TissueBlock(Rhythm.regular(70.0, 4.0), random_waves(Dice(torch.Generator().manual_seed(5)), STEEPEST))
    points = torch.rand(3000, 2, dtype=torch.float64) * 100.0
    beside = points + 0.01 * torch.nn.functional.normalize(torch.randn(3000, 2, dtype=torch.float64))
    for time_s in (0.2, 0.35, 0.6):
        apart = (tissue.position(beside, time_s) - tissue.position(points, time_s)).norm(dim=1) / 0.01
        assert float(apart.min()) > 1.0 - STEEPEST
        assert float(apart.max()) < 1.0 + STEEPEST


def test_waves_that_could_fold_tissue_are_refused() -> None:
    steep = tuple(replace(wave, displacement=3 * wave.displacement) for wave in STANDARD_WAVES)
    with pytest.raises(ValueError, match="keeps tissue from folding"):
        TissueBlock(Rhythm.regular(70.0, 4.0), steep)


def test_tissue_returns_by_another_way() -> None:
    tissue = block()
    period = 60.0 / 70.0
    times = [k * period / 400 for k in range(400)]
    states = [tissue.state(t) for t in times]
    rising = min(range(150), key=lambda k: abs(states[k] - 0.5))
    falling = min(range(160, 400), key=lambda k: abs(states[k] - 0.5))
    points = torch.rand(500, 2) * 100.0
    apart = (tissue.position(points, times[rising]) - tissue.position(points, times[falling])).norm(dim=1)
    assert float(apart.mean()) > 0.1


def test_the_line_is_straight_and_vessels_are_not_tracked() -> None:
    tissue = block()
    line = tissue.contour(21)
    assert line.diff(n=2, dim=0) == pytest.approx(torch.zeros(19, 2), abs=1e-4)
    x, y, _ = tissue.vessels[0]
    vessel = torch.tensor([[x, y]])
    assert tissue.classify(vessel).item() == BLOOD
    assert not tissue.is_tracked_wall(vessel).item()
