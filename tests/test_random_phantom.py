"""Random hearts under random scanners: drawn from one seed, over the ranges of docs/phantom.md."""

from collections import Counter
from dataclasses import fields, replace

import pytest

from specktrack.rt.errors import InputError
from specktrack.training.display import HEADROOM_DB
from specktrack.training.phantom import PhantomSpec
from specktrack.training.random_phantom import random_spec, view_of
from specktrack.training.views import VIEWS

IMAGING_RANGES = {
    "depth_mm": (95, 185),
    "sector_deg": (62, 90),
    "wavelength_mm": (0.40, 0.75),
    "axial_fwhm_mm": (0.5, 1.0),
    "lateral_fwhm_deg": (1.4, 2.8),
    "near_widening": (1.1, 1.9),
    "elevation_fwhm_mm": (3, 6),
    "sweep_s": (0.004, 0.012),
    "dynamic_range_db": (45, 70),
    "gain_db": (-24, 6),
    "deep_loss_db": (-4, 10),
    "noise_db": (-42, -15),
    "gray_gamma": (0.8, 1.5),
    "gray_bend": (0.0, 0.7),
    "speckle_filter": (0.0, 0.7),
    "persistence": (0.0, 0.4),
    "haze_db": (-24, 9),
    "edge_loss_db": (2, 16),
    "uneven_db": (2.5, 7.5),
}
LOOK_RANGES = {
    "blood_db": (-42, -24),
    "texture_db": (1.5, 6.0),
    "surroundings_texture": (1.0, 2.2),
    "patches_db": (2, 9),
    "lining_db": (0, 6),
    "bright_share": (0.0, 0.004),
    "irregular_mm": (0.08, 1.4),
    "oblique": (0.1, 0.5),
    "turnover_mm": (4.0, 12.0),
    "jitter": (0.2, 0.6),
    "jitter_s": (0.02, 0.12),
}

STATED_SHARES = {"a4c": 0.25, "a2c": 0.2, "a3c": 0.2, "rv": 0.15, "psax": 0.1, "tissue": 0.1}


@pytest.fixture(scope="module")
def specs() -> list[PhantomSpec]:
    return [random_spec(seed, view_of(seed)) for seed in range(300)]


def share_of(count: int, specs: list[PhantomSpec]) -> float:
    return count / len(specs)


@pytest.mark.parametrize("view", VIEWS)
def test_one_seed_draws_one_heart_and_two_seeds_two(view: str) -> None:
    assert random_spec(7, view) == random_spec(7, view)
    assert random_spec(7, view) != random_spec(8, view)
    assert random_spec(7, view).heart.view == view


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(InputError, match="plax"):
        random_spec(1, "plax")


def test_a_mixed_set_has_the_stated_shares_of_views() -> None:
    found = Counter(view_of(seed) for seed in range(4000))
    assert set(found) == set(VIEWS) == set(STATED_SHARES)
    for view, share in STATED_SHARES.items():
        assert found[view] / 4000 == pytest.approx(share, abs=0.025)


def test_the_view_of_a_seed_never_changes() -> None:
    assert [view_of(seed) for seed in range(900_000, 900_006)] == ["a2c", "a4c", "a4c", "a4c", "a3c", "a2c"]


@pytest.mark.parametrize("part", ["imaging", "look"])
def test_every_knob_is_drawn_over_its_whole_range(part: str, specs: list[PhantomSpec]) -> None:
    for name, (low, high) in (IMAGING_RANGES if part == "imaging" else LOOK_RANGES).items():
        values = [getattr(getattr(spec, part), name) for spec in specs]
        assert low <= min(values), name
        assert max(values) <= high, name
        assert max(values) - min(values) > 0.75 * (high - low), name


def test_scanners_differ_in_every_knob_but_the_size(specs: list[PhantomSpec]) -> None:
    fixed = {
        field.name for field in fields(specs[0].imaging) if len({getattr(s.imaging, field.name) for s in specs}) == 1
    }
    assert fixed == {"size_px"}


def test_frame_rates_are_those_of_scanners(specs: list[PhantomSpec]) -> None:
    rates = [spec.frame_rate_hz for spec in specs]
    assert min(rates) >= 25
    assert max(rates) <= 75
    assert share_of(sum(rate < 40 for rate in rates), specs) == pytest.approx(0.3, abs=0.08)


def test_artefacts_come_in_their_shares(specs: list[PhantomSpec]) -> None:
    scanners = [spec.imaging for spec in specs]
    shares = {
        "reverberation": (sum(i.reverberation_db > -60 for i in scanners), 0.3),
        "bands": (sum(i.bands_db > -60 for i in scanners), 0.35),
        "shadows": (sum(bool(i.shadows) for i in scanners), 1 - 0.7 * 0.8),
        "compression": (sum(i.jpeg_quality > 0 for i in scanners), 0.6),
    }
    for name, (count, expected) in shares.items():
        assert share_of(count, specs) == pytest.approx(expected, abs=0.09), name
    assert all(40 <= i.jpeg_quality <= 95 for i in scanners if i.jpeg_quality)


@pytest.mark.parametrize(("name", "ranges"), [("slide_mm", ((-6, 6), (-3, 3))), ("turning", ((1.5, 6), (0, 2.5)))])
def test_what_comes_back_with_the_beat_is_drawn_for_contraction_and_for_the_loop(
    name: str, ranges: tuple[tuple[float, float], ...], specs: list[PhantomSpec]
) -> None:
    drawn = zip(*(getattr(spec.look, name) for spec in specs), strict=True)
    for values, (low, high) in zip(drawn, ranges, strict=True):
        assert low <= min(values)
        assert max(values) <= high
        assert max(values) - min(values) > 0.9 * (high - low)


def test_the_wall_is_never_white_nor_black_before_the_gray_map(specs: list[PhantomSpec]) -> None:
    for spec in specs:
        imaging = spec.imaging
        gray = 1.0 - (HEADROOM_DB - imaging.gain_db) / imaging.dynamic_range_db
        assert 0.38 <= gray <= 0.68


def test_the_thin_wall_of_the_right_ventricle_has_smoother_borders() -> None:
    assert max(random_spec(seed, "rv").look.irregular_mm for seed in range(100)) <= 0.4 * 1.4


def test_another_display_size_shows_the_same_heart_by_the_same_scanner() -> None:
    small, large = random_spec(5, "a4c", size_px=128), random_spec(5, "a4c", size_px=256)
    assert small.heart == large.heart
    assert small.look == large.look
    assert large.imaging.smoothing_px == pytest.approx(2 * small.imaging.smoothing_px)
    assert replace(small.imaging, size_px=256, smoothing_px=large.imaging.smoothing_px) == large.imaging
