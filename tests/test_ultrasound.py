"""The simulated scanner: where echoes fall, how wide they are, and how noisy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_tissue import BARE
from tiny_clips import centroid
from torch import Tensor

from specktrack.training.filters import blurred, gaussian
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging
from specktrack.training.ultrasound import Scanner


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def scanner(imaging: Imaging = BARE, seed: int = 0) -> Scanner:
    return Scanner(imaging, torch.Generator().manual_seed(seed))


def at(radius_mm: float, angle_deg: float = 0.0) -> Tensor:
    """One scatterer (1, 2) in the probe frame."""
    angle = math.radians(angle_deg)
    return torch.tensor([[radius_mm * math.sin(angle), radius_mm * math.cos(angle)]])


def echo(view: Scanner, place: Tensor) -> Tensor:
    """Magnitude (n_range, n_angle) of a lone scatterer."""
    iq = view.iq(place, torch.ones(len(place)))
    return torch.hypot(iq[0], iq[1])


def width(profile: Tensor) -> float:
    """Full width at half maximum of a bell, by its second moment, in cells."""
    x = torch.arange(len(profile), dtype=torch.float32)
    weight = profile / profile.sum()
    mean = float((weight * x).sum())
    return 2.3548 * math.sqrt(float((weight * (x - mean) ** 2).sum()))


def test_a_lone_scatterer_appears_where_its_pixel_says() -> None:
    g = torch.Generator().manual_seed(2)
    for _ in range(6):
        radius, angle = (float(v) for v in torch.rand(2, generator=g))
        point = at(30 + 100 * radius, 60 * (angle - 0.5))
        view = scanner()
        envelope = echo(view, point)
        image = view.display(envelope / envelope.max()).numpy()
        truth = BARE.to_pixels(point)[0].numpy()
        assert centroid(image, truth, 14) == pytest.approx(truth, abs=0.3)


def test_a_scatterer_outside_the_sector_leaves_no_echo() -> None:
    for place in (at(200.0), at(120.0, 60.0)):
        assert float(echo(scanner(), place).max()) == 0.0


def test_the_pulse_and_the_beam_are_as_wide_as_asked() -> None:
    imaging = replace(BARE, axial_fwhm_mm=0.8, lateral_fwhm_deg=2.0)
    spot = echo(scanner(imaging), at(120.0))
    assert width(spot.sum(1)) * PolarGrid.RANGE_STEP_MM == pytest.approx(0.8, rel=0.1)
    assert width(spot.sum(0)) * PolarGrid.ANGLE_STEP_DEG == pytest.approx(2.0, rel=0.1)


def test_the_beam_is_wider_near_the_probe() -> None:
    view = scanner(replace(BARE, near_widening=1.8))
    near, far = (width(echo(view, at(radius)).sum(0)) for radius in (12.0, 120.0))
    assert near / far == pytest.approx(1.8, rel=0.1)


def test_half_a_wavelength_of_depth_turns_the_phase_once() -> None:
    """The echo travels there and back."""
    view = scanner()
    first, second = (view.iq(at(60.0 + shift), torch.ones(1)) for shift in (0.0, BARE.wavelength_mm / 2))
    quarter = view.iq(at(60.0 + BARE.wavelength_mm / 4), torch.ones(1))
    row, column = (int(v) for v in np.unravel_index(int(echo(view, at(60.0)).argmax()), first.shape[1:]))

    def angle(iq: Tensor) -> float:
        return math.atan2(float(iq[1, row, column]), float(iq[0, row, column]))

    assert math.cos(angle(second) - angle(first)) == pytest.approx(1.0, abs=1e-2)
    assert math.cos(angle(quarter) - angle(first)) == pytest.approx(-1.0, abs=1e-2)


def test_the_own_phase_of_a_scatterer_turns_its_echo() -> None:
    view, one = scanner(), torch.ones(1)
    assert torch.allclose(view.iq(at(70.0), one, math.pi * one), -view.iq(at(70.0), one), atol=1e-6)


def test_both_quadratures_carry_the_same_energy() -> None:
    g = torch.Generator().manual_seed(6)
    points = torch.rand(200_000, 2, generator=g) * torch.tensor([160.0, 140.0]) - torch.tensor([80.0, -5.0])
    iq = scanner().iq(points, torch.randn(len(points), generator=g))
    assert float(iq[0].var() / iq[1].var()) == pytest.approx(1.0, abs=0.1)


def test_electronic_noise_has_its_level_and_is_new_in_every_frame() -> None:
    """Rayleigh: the mean square of the envelope is twice the variance of a quadrature."""
    view = scanner(replace(BARE, noise_db=-20.0))
    nothing, zero = torch.zeros(0, 2), torch.zeros(0)
    first, second = (view.envelope(nothing, zero) for _ in range(2))
    assert 10 * math.log10(float(first.square().mean()) / 2) == pytest.approx(-20.0, abs=0.2)
    assert abs(float(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])) < 0.02


def test_pixels_and_millimetres_are_inverse() -> None:
    points = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 200 - 20
    for imaging in (Imaging(), Imaging(size_px=255, sector_deg=40.0), Imaging(depth_mm=100.0, sector_deg=90.0)):
        assert float((imaging.to_pixels(imaging.to_mm(points)) - points).abs().max()) < 1e-3


@pytest.mark.parametrize("sector_deg", [40.0, 75.0, 110.0])
def test_the_whole_sector_lies_on_the_image(sector_deg: float) -> None:
    imaging = Imaging(sector_deg=sector_deg, size_px=200)
    half = math.radians(sector_deg / 2)
    edge = torch.tensor([[math.sin(a), math.cos(a)] for a in np.linspace(-half, half, 21)]) * imaging.depth_mm
    pixels = imaging.to_pixels(edge)
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= imaging.size_px - 1


def test_points_near_the_edge_of_the_sector_are_not_in_it() -> None:
    imaging = Imaging(depth_mm=120.0, sector_deg=80.0)
    places = torch.cat((at(60.0), at(60.0, 35.0), at(60.0, 39.5), at(119.0), at(3.0)))
    assert imaging.in_sector(places).tolist() == [True, True, False, False, False]


def test_lines_are_fired_from_left_to_right_around_the_time_of_the_frame() -> None:
    imaging = Imaging(sector_deg=80.0, sweep_s=0.01)
    delays = imaging.line_delay_s(torch.cat((at(50.0, -40.0), at(90.0), at(70.0, 20.0), at(20.0, 40.0))))
    assert delays.tolist() == pytest.approx([-0.005, 0.0, 0.0025, 0.005], abs=1e-6)


def test_the_grid_reads_each_pixel_where_the_pixel_lies() -> None:
    imaging = Imaging(size_px=120)
    grid = PolarGrid(imaging.depth_mm, imaging.sector_deg)
    sampling, outside = grid.sampling(imaging)
    u, v = 70, 80
    mm = imaging.to_mm(torch.tensor([float(u), float(v)]))
    row, column = grid.cells(torch.hypot(*mm), torch.atan2(mm[0], mm[1]))
    read = (sampling[0, v, u] + 1) / 2 * torch.tensor([grid.n_angle - 1, grid.n_range - 1])
    assert read.tolist() == pytest.approx([float(column), float(row)], abs=1e-3)
    assert not outside[v, u]
    assert outside[2, 2]
    assert outside[-1, 0]


def test_a_blur_keeps_the_sum_and_the_middle() -> None:
    image = torch.zeros(41, 41)
    image[20, 15] = 3.0
    soft = blurred(image, gaussian(2.0), gaussian(1.0))
    assert float(soft.sum()) == pytest.approx(3.0, rel=1e-5)
    assert int(soft.argmax()) == 20 * 41 + 15
    assert width(soft.sum(1)) == pytest.approx(2.3548 * 2.0, rel=0.05)
    assert width(soft.sum(0)) == pytest.approx(2.3548 * 1.0, rel=0.05)
