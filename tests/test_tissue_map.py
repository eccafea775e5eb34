"""How strongly each place of a heart scatters."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from plain_tissue import PLAIN_LOOK, PlainTissue
from torch import Tensor

from specktrack.training.anatomy import BLOOD, PERICARDIUM, TISSUE, VALVE, WALL
from specktrack.training.subject import Subject
from specktrack.training.tissue_map import SCATTERING_DB, TissueLook, TissueMap

REGION = torch.tensor([[-60.0, 0.0], [60.0, 0.0], [-60.0, 120.0], [60.0, 120.0]])
BANDS = (BLOOD, TISSUE, WALL, PERICARDIUM, VALVE)  # of 24 mm each, from the top


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Layers(PlainTissue):
    """One class below the other; the wall has an inner and an outer border."""

    def classify(self, points: Tensor) -> Tensor:
        band = (points[:, 1] / 24.0).long().clamp(0, len(BANDS) - 1)
        return torch.tensor(BANDS)[band]

    def wall_coordinate(self, points: Tensor) -> Tensor:
        return points[:, 1] / 24.0 - BANDS.index(WALL)


def tissue_map(look: TissueLook = PLAIN_LOOK, subject: Subject | None = None, seed: int = 0) -> TissueMap:
    return TissueMap(subject or Layers(), look, REGION, torch.Generator().manual_seed(seed))


def places(low_mm: float, high_mm: float, count: int = 4000) -> Tensor:
    """Random places (count, 2) in a band of depth."""
    g = torch.Generator().manual_seed(9)
    return torch.rand(count, 2, generator=g) * torch.tensor([100.0, high_mm - low_mm]) + torch.tensor([-50.0, low_mm])


def band(kind: int, count: int = 4000) -> Tensor:
    """Places well inside one class."""
    first = 24.0 * BANDS.index(kind)
    return places(first + 3.0, first + 21.0, count)


def level(of: TissueMap, points: Tensor, turn: float = 0.0) -> Tensor:
    return of.level_db(points, torch.full((len(points),), turn))


def test_every_class_has_its_level() -> None:
    plain = tissue_map(replace(PLAIN_LOOK, blood_db=-33.0))
    for kind, expected in {**SCATTERING_DB, BLOOD: -33.0}.items():
        assert level(plain, band(kind)).numpy() == pytest.approx(expected, abs=1e-3)


def test_classes_are_read_back_as_the_subject_says() -> None:
    plain = tissue_map()
    for kind in BANDS:
        assert (plain.label_at(band(kind)) == kind).all()


def test_textures_have_the_asked_spread_and_are_patchier_around_the_heart() -> None:
    look = replace(PLAIN_LOOK, texture_db=4.0, surroundings_texture=2.0)
    spread = {
        kind: float(torch.stack([level(tissue_map(look, seed=s), band(kind)) for s in range(6)]).std())
        for kind in (WALL, TISSUE, BLOOD)
    }
    assert spread[WALL] == pytest.approx(4.0, rel=0.35)  # a field of octaves: about the asked variance
    assert spread[TISSUE] / spread[WALL] == pytest.approx(2.0, rel=0.35)
    assert spread[BLOOD] == pytest.approx(0.0, abs=1e-3)


def test_a_quarter_turn_brings_another_texture_and_a_half_turn_the_reverse() -> None:
    textured, wall = tissue_map(replace(PLAIN_LOOK, texture_db=4.0)), band(WALL)
    start, quarter, half = (level(textured, wall, turn) for turn in (0.0, math.pi / 2, math.pi))
    assert abs(float(torch.corrcoef(torch.stack((start, quarter)))[0, 1])) < 0.3
    assert torch.allclose(half, -start, atol=1e-4)


def test_both_borders_of_the_wall_are_brighter_than_its_middle() -> None:
    lined = tissue_map(replace(PLAIN_LOOK, lining_db=5.0))
    inner, middle, outer = (level(lined, places(48.0 + a, 48.0 + b)).mean() for a, b in ((1, 2), (11, 13), (22, 23)))
    assert float(middle) == pytest.approx(0.0, abs=0.05)
    assert 3.0 < float(inner) < 5.0
    assert 3.0 < float(outer) < 5.0
    assert level(lined, band(TISSUE)).numpy() == pytest.approx(SCATTERING_DB[TISSUE], abs=1e-3)


def test_patches_lie_around_the_heart_only() -> None:
    patchy = tissue_map(replace(PLAIN_LOOK, patches_db=6.0))
    assert float(level(patchy, band(TISSUE)).std()) > 2.0
    assert float(level(patchy, band(WALL)).std()) < 1e-3


def border_shift_mm(irregular_mm: float) -> float:
    """SD of the depth of the border between blood and tissue along the image."""
    look = replace(PLAIN_LOOK, irregular_mm=irregular_mm)
    depths = []
    for seed in range(4):
        ragged = tissue_map(look, seed=seed)
        for x in torch.linspace(-50, 50, 60).tolist():
            y = torch.linspace(15.0, 33.0, 181)
            label = ragged.label_at(torch.stack((torch.full_like(y, x), y), 1))
            depths.append(float(y[label == BLOOD].max()))
    return float(torch.tensor(depths).std())


def test_borders_are_as_irregular_as_asked() -> None:
    assert border_shift_mm(0.0) < 0.2
    assert border_shift_mm(1.0) == pytest.approx(1.0, rel=0.5)
    assert border_shift_mm(2.0) > 1.5 * border_shift_mm(1.0)


def test_noise_has_unit_variance_is_smooth_and_new_each_time() -> None:
    of = tissue_map()
    octaves = ((8.0, 1.0),)
    fields = [of.noise(places(0.0, 120.0), octaves) for _ in range(8)]
    assert float(torch.stack(fields).std()) == pytest.approx(0.85, abs=0.25)  # interpolated between its cells
    assert not torch.equal(fields[0], fields[1])
    line = torch.stack((torch.linspace(-50, 50, 1001), torch.full((1001,), 60.0)), 1)
    assert float(of.noise(line, octaves).diff().abs().max()) < 0.1  # in 0.1 mm


def test_the_same_seed_draws_the_same_map() -> None:
    look = TissueLook()
    first, second, other = (tissue_map(look, seed=seed) for seed in (1, 1, 2))
    at = places(0.0, 120.0)
    assert torch.equal(level(first, at), level(second, at))
    assert not torch.equal(level(first, at), level(other, at))
