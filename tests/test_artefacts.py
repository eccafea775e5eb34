"""What stands between the heart and its picture, and stands still while the heart moves."""

from dataclasses import replace

import pytest
import torch
from plain_tissue import BARE, PLAIN_LOOK, PlainTissue, likeness
from torch import Tensor

from specktrack.training.artefacts import SHADOW_FROM_MM, Clutter
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging, Shadow
from specktrack.training.phantom import Phantom, PhantomSpec
from specktrack.training.ultrasound import Scanner

GRID = PolarGrid(BARE.depth_mm, BARE.sector_deg)
EVEN = torch.ones(2, GRID.n_range, GRID.n_angle)
NOTHING = torch.zeros_like(EVEN)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def clutter(imaging: Imaging, seed: int = 0) -> Clutter:
    def soft(iq: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(iq, 3, 1, 1)

    return Clutter(imaging, GRID, soft, torch.Generator().manual_seed(seed), "cpu")


def level_db(iq: Tensor) -> Tensor:
    """Level (n_range, n_angle) against `EVEN`."""
    return 20 * torch.log10((iq[0] / EVEN[0]).clamp(min=1e-9))


def rows(low_mm: float, high_mm: float) -> slice:
    return slice(int(low_mm / GRID.RANGE_STEP_MM), int(high_mm / GRID.RANGE_STEP_MM))


def column(angle_deg: float) -> int:
    return round(angle_deg / GRID.ANGLE_STEP_DEG + (GRID.n_angle - 1) / 2)


def test_a_scanner_without_artefacts_changes_nothing() -> None:
    assert torch.allclose(clutter(BARE).add(EVEN), EVEN, atol=1e-4)


def test_a_shadow_darkens_its_sector_by_its_depth_and_nothing_else() -> None:
    level = level_db(clutter(replace(BARE, shadows=(Shadow(-20.0, 10.0, 12.0),))).add(EVEN))
    deep = rows(30.0, 140.0)
    assert float(level[deep, column(-20.0)].mean()) == pytest.approx(-12.0, abs=0.1)
    assert float(level[deep, column(-26.0)].mean()) == pytest.approx(-6.0, abs=3.0)  # its soft edge
    assert float(level[deep, column(0.0)].abs().max()) < 0.1
    assert float(level[rows(0.0, SHADOW_FROM_MM / 3), column(-20.0)].min()) > -2.0  # ribs lie below the skin


def test_the_shadow_of_a_rib_stands_still_while_the_heart_moves() -> None:
    imaging = replace(BARE, size_px=128, shadows=(Shadow(15.0, 16.0, 25.0),), smoothing_px=1.0)
    subject = PlainTissue(velocity=(60.0, 0.0))
    phantom = Phantom(PhantomSpec(subject, imaging, PLAIN_LOOK, 10.0))
    pictures = [torch.from_numpy(phantom.frame(k)).float() for k in range(3)]
    assert float(phantom.truth(torch.tensor([[0.0, 60.0]]), 2)[0, 0]) > 63.5 + 8  # the tissue went right
    for picture in pictures:
        dark = picture[65:105].mean(0)
        assert int(dark[40:100].view(-1, 3).mean(1).argmin()) * 3 + 41 == pytest.approx(86, abs=4)


def test_sectors_are_darker_at_their_edges_and_at_depth() -> None:
    level = level_db(clutter(replace(BARE, edge_loss_db=9.0, deep_loss_db=6.0)).add(EVEN))
    assert float(level[5, 0]) == pytest.approx(-9.0, abs=0.2)
    assert float(level[5, GRID.n_angle // 2]) == pytest.approx(0.0, abs=0.2)
    assert float(level[-1, GRID.n_angle // 2]) == pytest.approx(-6.0, abs=0.2)


def test_uneven_gain_varies_slowly_by_its_standard_deviation() -> None:
    levels = [level_db(clutter(replace(BARE, uneven_db=3.0), seed).add(EVEN)) for seed in range(12)]
    assert float(torch.stack(levels).std()) == pytest.approx(3.0, rel=0.3)
    assert float(levels[0].diff(dim=0).abs().max()) < 0.2  # dB in 0.2 mm


def test_haze_stands_still_and_is_strongest_near_the_probe() -> None:
    layer = clutter(replace(BARE, haze_db=-10.0))
    first, second = layer.add(NOTHING), layer.add(NOTHING)
    assert torch.equal(first, second)
    near, far = (first[:, rows(*mm)].square().mean() for mm in ((0.0, 20.0), (100.0, 140.0)))
    assert float(near / far) > 10.0


def test_ten_decibels_more_haze_are_ten_decibels_more() -> None:
    weak, strong = (clutter(replace(BARE, haze_db=db)).add(NOTHING) for db in (-20.0, -10.0))
    assert torch.allclose(strong, weak * 10**0.5, rtol=1e-4, atol=1e-6)


def test_bands_are_arcs_in_the_near_field_that_stand_still() -> None:
    layer = clutter(replace(BARE, bands_db=0.0), seed=3)
    bands = layer.add(NOTHING)
    assert torch.equal(bands, layer.add(NOTHING))
    ring = bands.square().sum(0).mean(1)
    near, far = ring[rows(0.0, 40.0)], ring[rows(100.0, 140.0)]
    assert float(near.mean() / far.mean()) > 30.0
    assert float(near.min()) < 1e-3 * float(near.max())  # dark between the arcs


def test_reverberation_is_a_weaker_copy_deeper_down_that_moves_with_the_tissue() -> None:
    layer = clutter(replace(BARE, reverberation_db=-14.0, reverberation_mm=30.0))
    for depth_mm in (40.0, 45.0):
        iq = NOTHING.clone()
        iq[0, rows(depth_mm, depth_mm + 1.0), 80] = 1.0
        seen = layer.add(iq)
        copy = seen[0, rows(depth_mm + 30.0, depth_mm + 31.0), 80]
        assert copy.tolist() == pytest.approx([10 ** (-14 / 20)] * len(copy), abs=1e-3)
        assert float(seen[0].sum() / iq[0].sum()) == pytest.approx(1 + 10 ** (-14 / 20), rel=1e-3)


@pytest.mark.parametrize("delay_mm", [0.0, 400.0])
def test_reverberation_without_a_delay_or_from_below_the_image_is_harmless(delay_mm: float) -> None:
    seen = clutter(replace(BARE, reverberation_db=-14.0, reverberation_mm=delay_mm)).add(EVEN)
    assert seen.shape == EVEN.shape
    assert torch.isfinite(seen).all()


def test_in_a_moving_heart_the_still_haze_is_what_frames_share() -> None:
    """Tissue that slid through the slice has nothing in common with itself; what is alike is the haze."""
    likenesses = []
    for haze_db in (-200.0, 10.0):
        g = torch.Generator().manual_seed(1)
        view = Scanner(replace(BARE, haze_db=haze_db), g)
        pictures = []
        for _ in range(2):
            points = torch.rand(60_000, 2, generator=g) * torch.tensor([160.0, 140.0]) - torch.tensor([80.0, -5.0])
            envelope = view.envelope(points, torch.randn(len(points), generator=g))
            part = envelope[rows(10.0, 60.0)]
            pictures.append(part / part.mean(1, keepdim=True) - 1.0)
        likenesses.append(likeness(*pictures))
    assert likenesses[0] < 0.15
    assert likenesses[1] > 0.5
