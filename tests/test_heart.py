"""The kinematic heart in the apical views: its walls, their shortening, the ventricle beside them, its valves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from specktrack.training.anatomy import APICAL_VIEWS, BLOOD, TISSUE, VALVE, WALL, HeartShape, leaflets
from specktrack.training.heart import NONE, Heart, HeartMotion
from specktrack.training.placement import STILL, GlobalMotion, Placement, to_heart, to_probe
from specktrack.training.random_heart import contour_strain
from specktrack.training.rhythm import Rhythm
from specktrack.training.views import standard_subject


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def still_heart(view: str = "a4c", rate_bpm: float = 70.0) -> Heart:
    """An ordinary heart without breathing, swing and wandering."""
    heart = standard_subject(view, rate_bpm, 5.0)
    assert isinstance(heart, Heart)
    return replace(heart, whole=STILL)


def at_end_systole(heart: Heart, points: torch.Tensor) -> torch.Tensor:
    """Displacement from end-diastole, mm."""
    return heart.position(points, heart.rhythm.end_systole_s(0)) - heart.position(points, 0.0)


def wall_speeds_cm_s(heart: Heart, index: int) -> tuple[float, float, float]:
    """Largest speed towards the apex in systole, away from it in early filling, and in the atrial kick."""
    period, step = 60.0 / 70.0, 0.002
    times = np.arange(0.0, period, step)
    contour = heart.contour(61)[index : index + 1]
    depth = np.array([float(heart.position(contour, t)[0, 1]) for t in times])
    speed = -np.diff(depth) / step / 10.0
    systole, kick = int(heart.rhythm.end_systole_s(0) / step), int((period - 0.115) / step)
    return float(speed[:systole].max()), float(-speed[systole:kick].min()), float(-speed[kick:].min())


@pytest.mark.parametrize("view", APICAL_VIEWS)
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_the_contour_runs_evenly_from_base_over_apex_to_base_at_its_depth(view: str, depth: float) -> None:
    heart = still_heart(view)
    contour = heart.contour(61, depth)
    steps = contour.diff(dim=0).norm(dim=1)
    assert contour[0, 0] < 0 < contour[-1, 0]
    assert contour[[0, -1], 1] == pytest.approx(torch.full((2,), heart.shape.length), abs=1e-3)
    assert float(contour[:, 1].min()) == pytest.approx((1 - depth) * heart.shape.apex_wall, abs=0.2)
    assert float(steps.max() / steps.min()) < 1.02
    assert heart.wall_coordinate(contour) == pytest.approx(torch.full((61,), depth), abs=0.06)


def test_the_ordinary_four_chamber_heart_shortens_by_about_fifteen_percent() -> None:
    heart = still_heart()
    inner, middle, outer = (100 * contour_strain(heart, depth) for depth in (0.0, 0.5, 1.0))
    assert -16.5 < middle < -13.5
    assert inner < middle < outer


@pytest.mark.parametrize("view", ["a4c", "a2c", "a3c"])
def test_the_wall_thickens_when_it_shortens_as_muscle_that_keeps_its_volume(view: str) -> None:
    heart = still_heart(view)
    y = 0.6 * heart.shape.length
    for side, wall in zip((-1.0, 1.0), heart.shape.walls, strict=True):
        ends = torch.tensor([[side * heart.shape.radius, y], [side * (heart.shape.radius + wall), y]])
        moved = heart.position(ends, heart.rhythm.end_systole_s(0))
        thickening = float((moved[1] - moved[0]).norm()) / wall - 1.0
        assert 0.2 < thickening < 0.6
        assert side * float(moved[0, 0]) < heart.shape.radius - 3.0


@pytest.mark.parametrize("view", APICAL_VIEWS)
def test_the_apex_moves_least(view: str) -> None:
    heart = still_heart(view)
    contour = heart.contour(61)
    moved = at_end_systole(heart, contour).norm(dim=1)
    apex = int(contour[:, 1].argmin())
    assert moved[apex] < 0.5
    assert moved[apex] == pytest.approx(float(moved.min()), abs=0.05)
    assert float(moved[[0, -1]].min()) > 8.0


@pytest.mark.parametrize("index", [0, 60])
def test_the_base_of_an_ordinary_heart_moves_at_clinical_speeds(index: int) -> None:
    systolic, early, atrial = wall_speeds_cm_s(still_heart(), index)
    assert 5.0 < systolic < 12.0
    assert 4.0 < early < 20.0
    assert 4.0 < atrial < 12.0


def test_the_right_ventricles_free_wall_moves_and_shortens_more_than_its_septum() -> None:
    heart = still_heart("rv")
    contour = heart.contour(61)
    moved = at_end_systole(heart, contour)
    assert -27.0 < float(moved[0, 1]) < -17.0  # TAPSE
    assert float(moved[0, 1]) < 1.4 * float(moved[-1, 1])
    after = contour + moved
    shortening = [float(after[s].diff(dim=0).norm(dim=1).sum() / contour[s].diff(dim=0).norm(dim=1).sum()) - 1.0
                  for s in (slice(0, 31), slice(30, 61))]  # fmt: skip
    assert shortening[0] < -0.2
    assert shortening[0] < shortening[1] - 0.05
    assert 9.0 < wall_speeds_cm_s(heart, 0)[0] < 14.0


def test_the_right_ventricles_free_wall_is_thin() -> None:
    heart = still_heart("rv")
    y = torch.full((200,), 0.6 * heart.shape.length)
    across = torch.stack((torch.linspace(-40.0, 40.0, 200), y), 1)
    inside = heart.is_tracked_wall(across)
    step = 80.0 / 199
    assert 3.0 <= float(inside[:100].sum()) * step <= 5.0
    assert float(inside[100:].sum()) * step > 8.0


@pytest.mark.parametrize("view", APICAL_VIEWS)
def test_without_global_motion_end_diastole_is_placement_only(view: str) -> None:
    heart = replace(still_heart(view), placement=Placement(20.0, 5.0, 12.0))
    points = torch.rand(500, 2) * 150.0 - 60.0
    assert heart.to_heart(heart.position(points, heart.rhythm.ed_s[2])) == pytest.approx(points, abs=1e-3)


def test_far_from_the_heart_nothing_moves() -> None:
    heart = still_heart()
    far = torch.tensor([[95.0, 50.0], [-95.0, 50.0], [0.0, -12.0], [0.0, 160.0]])
    assert float(at_end_systole(heart, far).norm(dim=1).max()) < 0.1


def test_at_60_beats_per_minute_diastasis_is_the_quietest_phase() -> None:
    heart = still_heart(rate_bpm=60.0)
    contour = heart.contour(61)
    times = np.arange(0.0, 1.0, 0.01)
    where = torch.stack([heart.position(contour, t) for t in times])
    speed = where.diff(dim=0).norm(dim=2).mean(1).numpy()
    calm = speed[(times[:-1] > 0.62) & (times[:-1] < 0.87)].max()
    assert calm < 0.1 * speed.max()
    assert calm < 0.25 * speed[:30].mean()


def test_a_scar_shortens_less_at_end_systole_and_goes_on_after_it() -> None:
    lane = (0.17, 0.04, 0.17)
    motion = replace(HeartMotion(), strain=(lane, HeartMotion().strain[1], HeartMotion().strain[2]),
                     post_systolic=((0.0, 0.04, 0.0), *NONE[1:]))  # fmt: skip
    scarred = replace(still_heart(), motion=motion)
    left = slice(10, 20)  # mid septum
    lengths = [
        float(scarred.position(scarred.contour(61)[left], t).diff(dim=0).norm(dim=1).sum())
        for t in (0.0, scarred.rhythm.end_systole_s(0), scarred.rhythm.end_systole_s(0) + 0.07)
    ]
    assert contour_strain(scarred) > contour_strain(still_heart()) + 0.01
    assert -0.12 < lengths[1] / lengths[0] - 1.0 < 0.0
    assert lengths[2] < lengths[1]


def test_a_delayed_wall_lags_behind_the_other() -> None:
    late = ((0.0,) * 3, (0.1,) * 3, (0.0,) * 3)
    heart = still_heart()
    delayed = replace(heart, motion=replace(heart.motion, delay_s=late))
    base = heart.contour(61)[60:]
    assert delayed.position(base, 0.3) == pytest.approx(heart.position(base, 0.2), abs=0.2)
    assert float((delayed.position(base, 0.3) - heart.position(base, 0.3)).norm()) > 1.0


def test_leaflets_open_into_the_ventricle_while_it_fills_and_lie_across_the_valve_in_systole() -> None:
    heart = still_heart()
    leaflet = leaflets(heart.shape)[0]
    tip = torch.tensor([leaflet.tip]) - 0.5 * torch.tensor([leaflet.direction])
    shut = at_end_systole(heart, tip)
    early = heart.rhythm.end_systole_s(0) + 0.075 + 0.07
    opened = heart.position(tip, early) - heart.position(tip, 0.0)
    assert heart.classify(tip).item() == VALVE
    assert float(shut[0, 1]) > -20.0
    assert float(opened[0, 1]) < float(shut[0, 1]) - 6.0


def test_aortic_cusps_open_in_systole_into_the_aorta() -> None:
    heart = still_heart("a3c")
    cusp = next(leaf for leaf in leaflets(heart.shape) if leaf.is_outflow)
    tip = torch.tensor([cusp.tip])
    still = replace(heart, motion=replace(heart.motion, strain=NONE))
    assert float((still.position(tip, 0.2) - still.position(tip, 0.0)).norm()) > 4.0
    assert float((still.position(tip, 0.6) - still.position(tip, 0.0)).norm()) < 1e-3


@pytest.mark.parametrize("view", APICAL_VIEWS)
def test_leaflets_are_never_in_the_tracked_wall_nor_move_it(view: str) -> None:
    heart = still_heart(view)
    points = torch.rand(60_000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([160.0, 150.0])
    points = points - torch.tensor([80.0, 5.0])
    wall = points[heart.is_tracked_wall(points)]
    assert not (heart.classify(wall) == VALVE).any()
    frozen = replace(heart, motion=replace(heart.motion, strain=NONE))
    assert float((frozen.position(wall, 0.5) - frozen.position(wall, 0.0)).norm(dim=1).max()) < 1e-3


def test_the_three_chamber_view_has_an_outflow_tract_filled_with_blood() -> None:
    shape = HeartShape("a3c")
    heart = replace(still_heart("a3c"), shape=shape)
    aorta = torch.tensor([[0.6 * shape.radius + 6.0, shape.length + 22.0]])
    wall = torch.tensor([[0.6 * shape.radius + 6.0 + 10.8, shape.length + 18.0]])
    assert heart.classify(aorta).item() == BLOOD
    assert heart.classify(wall).item() == WALL


@pytest.mark.parametrize("view", APICAL_VIEWS)
def test_cavity_wall_and_surroundings_are_what_they_should_be(view: str) -> None:
    heart = still_heart(view)
    inside = torch.tensor([[0.0, 0.5 * heart.shape.length]])
    assert heart.classify(inside).item() == BLOOD
    assert (heart.classify(heart.contour(61)[1:-1]) == WALL).all()
    assert heart.classify(torch.tensor([[0.0, -15.0]])).item() == TISSUE


def test_twist_carries_the_two_walls_out_of_the_plane_in_opposite_directions() -> None:
    heart = still_heart()
    shift = heart.elevation(heart.contour(61), heart.rhythm.end_systole_s(0))
    assert float(shift[0] * shift[-1]) < 0.0
    assert float(shift[0].abs()) > 0.5
    assert float(heart.elevation(heart.contour(61), 0.0).abs().max()) < 1e-6


def test_global_motion_is_rigid_and_stays_in_its_range() -> None:
    whole = GlobalMotion(swing_deg=5.0, breathing=10.0, probe_shift=8.0, probe_turn_deg=6.0)
    points = torch.rand(50, 2, dtype=torch.float64) * 80.0
    place = Placement()
    shape = torch.cdist(points, points)
    starts = []
    for time_s in np.arange(0.0, 20.0, 0.5):
        moved = to_probe(points, place, whole, 0.7, float(time_s))
        assert torch.allclose(torch.cdist(moved, moved), shape, atol=1e-4)
        starts.append(to_probe(torch.zeros(1, 2), place, replace(whole, probe_turn_deg=0.0), 0.0, float(time_s))[0])
    across, deep = torch.stack(starts).T
    assert float(across.max() - across.min()) == pytest.approx(8.0, abs=0.1)
    assert float(deep.max() - deep.min()) == pytest.approx(10.0, abs=0.1)
    assert to_heart(to_probe(points, place, STILL, 1.0, 3.0), place) == pytest.approx(points, abs=1e-3)


def test_all_frames_are_on_the_device_and_in_the_precision_of_the_points() -> None:
    heart = Heart(Rhythm.regular(70.0, 2.0))
    points = torch.rand(10, 2, dtype=torch.float64) * 50
    assert heart.position(points, 0.5).dtype == torch.float64
    assert heart.position(points.float(), 0.5) == pytest.approx(heart.position(points, 0.5).float(), abs=1e-4)
