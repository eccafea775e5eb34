"""The heart in short axis: a ring that contracts, thickens and turns."""

import math
from dataclasses import replace

import pytest
import torch

from specktrack.training.anatomy import BLOOD, WALL
from specktrack.training.heart_short_axis import ShortAxisHeart
from specktrack.training.placement import STILL, Placement
from specktrack.training.random_heart import contour_strain
from specktrack.training.rhythm import Rhythm


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


def ring(**motion: object) -> ShortAxisHeart:
    """An ordinary heart in short axis, its middle at the probe's origin, without global motion."""
    heart = ShortAxisHeart(Rhythm.regular(70.0, 4.0), whole=STILL, placement=Placement(apex_depth=0.0))
    return replace(heart, motion=replace(heart.motion, **motion))


def at_end_systole(heart: ShortAxisHeart, points: torch.Tensor) -> torch.Tensor:
    return heart.position(points, heart.rhythm.end_systole_s(0))


def test_the_contour_is_the_closed_ring_evenly_spaced() -> None:
    contour = ring().contour(49)
    steps = contour.diff(dim=0).norm(dim=1)
    assert contour[0] == pytest.approx(contour[-1], abs=1e-3)
    assert float(steps.max() / steps.min()) < 1.01
    assert ring().wall_coordinate(contour) == pytest.approx(torch.full((49,), 0.5), abs=0.01)


def test_the_ring_contracts_most_at_its_inner_border() -> None:
    inner, middle, outer = (100 * contour_strain(ring(), depth) for depth in (0.0, 0.5, 1.0))
    assert -38.0 < inner < -26.0
    assert -22.0 < middle < -16.0
    assert -14.0 < outer < -5.0


def test_the_wall_thickens_in_systole() -> None:
    heart = ring()
    inner, outer = (at_end_systole(heart, heart.contour(49, depth)).norm(dim=1) for depth in (0.0, 1.0))
    thickening = (outer - inner) / heart.shape.wall - 1.0
    assert float(thickening.min()) > 0.2
    assert float(thickening.max()) < 0.6


def test_the_wall_turns_by_the_twist_and_the_surroundings_hardly() -> None:
    heart = ring(twist_deg=12.0, right_inward=0.0)

    def turn_deg(radius: float) -> float:
        x, y = at_end_systole(heart, torch.tensor([[radius, 0.0]]))[0].tolist()
        return math.degrees(math.atan2(y, x))

    assert 9.0 < turn_deg(heart.shape.radius) <= 12.01
    assert turn_deg(90.0) < 0.5


def test_the_free_wall_of_the_right_ventricle_moves_towards_the_septum() -> None:
    heart = ring(twist_deg=0.0)
    free_wall = torch.tensor([[-(heart.shape.outer + heart.shape.right_width + 2.0), 0.0]])
    assert 4.0 < float(at_end_systole(heart, free_wall)[0, 0] - free_wall[0, 0]) < 9.0


def test_a_scarred_segment_contracts_less_than_the_opposite_one() -> None:
    heart = ring(shrink=(0.1, 0.5, 0.5, 0.5, 0.5, 0.5), twist_deg=0.0, right_inward=0.0)
    ends = torch.tensor([[23.0, 0.0], [-23.0, 0.0]])
    moved = (at_end_systole(heart, ends) - ends).norm(dim=1)
    assert float(moved[0]) < 0.5 * float(moved[1])


def test_papillary_muscles_lie_in_the_cavity_and_are_not_tracked() -> None:
    heart = ring()
    angle = math.radians(heart.shape.papillary_deg[1])
    muscle = (heart.shape.radius - 3.0) * torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert heart.classify(muscle).item() == WALL
    assert not heart.is_tracked_wall(muscle).item()
    assert heart.classify(torch.zeros(1, 2)).item() == BLOOD


def test_the_right_ventricle_is_a_crescent_of_blood_beside_the_septum() -> None:
    heart = ring()
    crescent = torch.tensor([[-(heart.shape.outer + 0.5 * heart.shape.right_width), 0.0]])
    assert heart.classify(crescent).item() == BLOOD
    assert heart.classify(-crescent).item() != BLOOD


def test_without_global_motion_end_diastole_is_placement_only() -> None:
    heart = replace(ring(), placement=Placement(60.0, 7.0, 25.0))
    points = torch.rand(300, 2) * 120.0 - 60.0
    assert heart.to_heart(heart.position(points, heart.rhythm.ed_s[1])) == pytest.approx(points, abs=1e-3)


def test_the_base_comes_down_through_the_plane() -> None:
    heart = ring(through_plane=6.0)
    shift = heart.elevation(heart.contour(49), heart.rhythm.end_systole_s(0))
    assert 4.0 < float(shift.min()) <= float(shift.max()) <= 6.0
