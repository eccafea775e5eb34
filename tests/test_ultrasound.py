"""The simulated scanner: speckle statistics, geometry, display."""

import math

import numpy as np
import pytest
import torch
from tiny_clips import centroid

from specktrack.training.ultrasound import Imaging, Scanner

BARE = Imaging(size_px=256, noise_db=-200.0, haze_db=-200.0, persistence=0.0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def scanner(imaging: Imaging = BARE, seed: int = 0) -> Scanner:
    return Scanner(imaging, torch.Generator().manual_seed(seed))


def homogeneous_envelope(per_mm2: float, low_mm: float, high_mm: float) -> torch.Tensor:
    """Envelope of a random medium, edges left out, its mean brought to 1 at every range."""
    g = torch.Generator().manual_seed(5)
    span = torch.tensor([200.0, 160.0])
    points = torch.rand(int(200 * 160 * per_mm2), 2, generator=g) * span - torch.tensor([100.0, 5.0])
    iq = scanner().iq(points, torch.randn(len(points), generator=g))
    rows = slice(int(low_mm / Scanner.RANGE_STEP_MM), int(high_mm / Scanner.RANGE_STEP_MM))
    part = torch.hypot(iq[0], iq[1])[rows, 15:-15]
    return part / part.mean(1, keepdim=True)


@pytest.mark.parametrize(("low_mm", "high_mm"), [(20.0, 60.0), (50.0, 100.0), (80.0, 140.0)])
def test_many_scatterers_make_fully_developed_speckle(low_mm: float, high_mm: float) -> None:
    """The Rayleigh distribution has mean / SD = 1.91."""
    envelope = homogeneous_envelope(60.0, low_mm, high_mm)
    assert float(envelope.mean() / envelope.std()) == pytest.approx(1.91, abs=0.1)


def test_both_quadratures_carry_the_same_energy() -> None:
    g = torch.Generator().manual_seed(6)
    points = torch.rand(200_000, 2, generator=g) * torch.tensor([160.0, 140.0]) - torch.tensor([80.0, -5.0])
    iq = scanner().iq(points, torch.randn(len(points), generator=g))
    assert float(iq[0].var() / iq[1].var()) == pytest.approx(1.0, abs=0.1)


def test_a_scatterer_outside_the_sector_leaves_no_echo() -> None:
    behind = torch.tensor([[0.0, 200.0], [120.0, 20.0]])
    assert float(scanner().iq(behind, torch.ones(2)).abs().max()) == 0.0


def test_a_lone_scatterer_appears_where_its_pixel_says() -> None:
    g = torch.Generator().manual_seed(2)
    for _ in range(6):
        radius = 30 + 100 * float(torch.rand((), generator=g))
        angle = math.radians(60) * (float(torch.rand((), generator=g)) - 0.5)
        point = torch.tensor([[radius * math.sin(angle), radius * math.cos(angle)]])
        view = scanner()
        iq = view.iq(point, torch.ones(1))
        envelope = torch.hypot(iq[0], iq[1])
        image = view.display(envelope / envelope.max()).numpy()
        truth = BARE.to_pixels(point)[0].numpy()
        assert centroid(image, truth, 14) == pytest.approx(truth, abs=0.3)


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


def test_nothing_is_shown_outside_the_sector() -> None:
    imaging = Imaging(size_px=128)
    view = scanner(imaging)
    image = view.display(torch.full((view.n_range, view.n_angle), 10.0))
    assert float(image[2, 2]) == 0.0
    assert float(image[-1, 0]) == 0.0
    assert float(image[60, 63]) > 0.9


def test_ten_decibels_more_gain_make_a_brighter_image() -> None:
    images = []
    for gain_db in (0.0, 10.0):
        view = scanner(Imaging(size_px=96, gain_db=gain_db))
        images.append(float(view.display(torch.full((view.n_range, view.n_angle), 0.2)).mean()))
    assert images[1] > images[0] + 0.05


def test_persistence_keeps_a_share_of_the_last_frame() -> None:
    view = scanner(Imaging(size_px=96, persistence=0.25))
    dark = torch.full((view.n_range, view.n_angle), 1e-6)
    first = view.display(torch.full_like(dark, 10.0)).clone()
    second = view.display(dark)
    assert float((second - 0.25 * first).abs().max()) < 1e-5
