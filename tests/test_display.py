"""From the envelope to the picture: gray values, gray map, filter, persistence, compression."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_tissue import BARE
from torch import Tensor

from specktrack.training.display import HEADROOM_DB, Display, compressed
from specktrack.training.grid import PolarGrid
from specktrack.training.imaging import Imaging

SMALL = replace(BARE, size_px=96, dynamic_range_db=60.0)
GRID = PolarGrid(SMALL.depth_mm, SMALL.sector_deg)
MIDDLE = (60, 48)  # row and column of a pixel well in the sector


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def shown(level_db: float, **knobs: float) -> float:
    """Gray value 0..1 of even tissue so much stronger than mean wall tissue."""
    return float(picture(torch.full((GRID.n_range, GRID.n_angle), 10 ** (level_db / 20)), **knobs)[MIDDLE])


def picture(envelope: Tensor, **knobs: float) -> Tensor:
    imaging: Imaging = replace(SMALL, **knobs)  # type: ignore[arg-type]
    return Display(imaging, GRID, "cpu").show(envelope)


def speckle(seed: int = 0) -> Tensor:
    iq = torch.randn(2, GRID.n_range, GRID.n_angle, generator=torch.Generator().manual_seed(seed))
    return torch.hypot(iq[0], iq[1])


def test_mean_tissue_lies_the_headroom_below_white() -> None:
    assert shown(0.0) == pytest.approx(1.0 - HEADROOM_DB / 60.0, abs=1e-3)
    assert shown(HEADROOM_DB) == pytest.approx(1.0, abs=1e-3)
    assert shown(HEADROOM_DB + 20.0) == 1.0
    assert shown(HEADROOM_DB - 61.0) == 0.0


def test_gain_lifts_the_whole_picture() -> None:
    assert shown(0.0, gain_db=6.0) == pytest.approx(shown(6.0), abs=1e-4)


def test_a_wider_dynamic_range_shows_weak_echoes_with_less_contrast() -> None:
    narrow = shown(0.0, dynamic_range_db=45.0) - shown(-20.0, dynamic_range_db=45.0)
    wide = shown(0.0, dynamic_range_db=70.0) - shown(-20.0, dynamic_range_db=70.0)
    assert narrow == pytest.approx(20 / 45, abs=1e-3)
    assert wide == pytest.approx(20 / 70, abs=1e-3)


def test_the_gray_map_keeps_black_white_and_order() -> None:
    levels = np.linspace(-45.0, HEADROOM_DB + 5.0, 20)
    for gamma, bend in ((0.8, 0.0), (1.6, 0.0), (1.0, 0.7), (1.3, 0.5)):
        gray = [shown(float(level), gray_gamma=gamma, gray_bend=bend) for level in levels]
        assert gray[0] == pytest.approx(0.0, abs=1e-6)
        assert gray[-1] == pytest.approx(1.0, abs=1e-6)
        assert all(a <= b for a, b in itertools.pairwise(gray))


def test_a_gamma_above_one_darkens_and_an_s_shape_adds_contrast() -> None:
    straight, dark = shown(-10.0), shown(-10.0, gray_gamma=1.5)
    assert dark == pytest.approx(straight**1.5, abs=1e-3)
    low, high = -35.0, 15.0
    assert shown(low, gray_bend=0.7) < shown(low)
    assert shown(high, gray_bend=0.7) > shown(high)


def test_nothing_is_shown_outside_the_sector() -> None:
    image = picture(torch.full((GRID.n_range, GRID.n_angle), 10.0))
    assert float(image[2, 2]) == 0.0
    assert float(image[-1, 0]) == 0.0
    assert float(image[MIDDLE]) == 1.0


def test_the_speckle_filter_evens_out_speckle_and_keeps_the_mean() -> None:
    images = [picture(speckle(), speckle_filter=share)[30:65, 38:58] for share in (0.0, 0.6)]
    assert float(images[1].std()) < 0.7 * float(images[0].std())
    assert float(images[1].mean()) == pytest.approx(float(images[0].mean()), abs=0.01)


def test_smoothing_makes_neighbouring_pixels_alike() -> None:
    sharp, soft = (picture(speckle(), smoothing_px=px)[30:65, 38:58] for px in (0.0, 1.0))
    assert float(soft.diff(dim=0).abs().mean()) < 0.5 * float(sharp.diff(dim=0).abs().mean())


def test_persistence_keeps_a_share_of_the_last_frame() -> None:
    display = Display(replace(SMALL, persistence=0.25), GRID, "cpu")
    dark = torch.full((GRID.n_range, GRID.n_angle), 1e-6)
    first = display.show(torch.full_like(dark, 10.0)).clone()
    second, third = display.show(dark).clone(), display.show(dark)
    assert float((second - 0.25 * first).abs().max()) < 1e-5
    assert float((third - 0.0625 * first).abs().max()) < 1e-5


def test_a_scanner_without_persistence_forgets_the_last_frame() -> None:
    display = Display(SMALL, GRID, "cpu")
    display.show(torch.full((GRID.n_range, GRID.n_angle), 10.0))
    assert float(display.show(torch.full((GRID.n_range, GRID.n_angle), 1e-6)).max()) == 0.0


def test_stronger_compression_loses_more_of_the_picture() -> None:
    image = (picture(speckle()) * 255).to(torch.uint8).numpy()
    losses = []
    for quality in (95, 70, 40):
        kept = compressed(image, quality)
        assert kept.shape == image.shape
        assert kept.dtype == np.uint8
        losses.append(float(np.abs(kept.astype(int) - image).mean()))
    assert 0.0 < losses[0] < losses[1] < losses[2] < 25.0
