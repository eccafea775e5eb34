"""A random heart under a random scanner, all drawn from one seed, over the ranges of the clinical reference.

The levels of noise, artefacts and decorrelation are calibrated: classical trackers must find these clips as hard as
real ones (tests/test_difficulty.py).
"""

import torch

from specktrack.training.dice import Dice
from specktrack.training.display import HEADROOM_DB
from specktrack.training.imaging import Imaging, Shadow
from specktrack.training.phantom import PhantomSpec
from specktrack.training.tissue_map import TissueLook
from specktrack.training.views import random_subject

MIXED = "mixed"
WALL_GRAY = (0.38, 0.68)  # of mean wall tissue before the gray map, 1 is white: gain is set by eye
VIEW_SHARES = {"a4c": 0.25, "a2c": 0.2, "a3c": 0.2, "rv": 0.15, "psax": 0.1, "tissue": 0.1}


def view_of(seed: int) -> str:
    """The view of a clip in a mixed set."""
    at = Dice(torch.Generator().manual_seed(seed ^ 0x5EED)).between(0.0, 1.0)
    for view, share in VIEW_SHARES.items():
        at -= share
        if at < 0.0:
            return view
    return next(iter(VIEW_SHARES))


def random_spec(seed: int, view: str = "a4c", duration_s: float = 4.0, size_px: int = 256) -> PhantomSpec:
    """A random subject of the view and a random scanner; the same seed gives the same clip."""
    generator = torch.Generator().manual_seed(seed)
    dice = Dice(generator)
    subject = random_subject(view, generator, duration_s)
    rate = dice.between(40, 75) if dice.happens(0.7) else dice.between(25, 40)
    imaging = _random_imaging(dice, subject.depth_mm, size_px)
    return PhantomSpec(subject, imaging, _random_look(dice, view), rate, seed)


def _random_imaging(dice: Dice, depth_mm: float, size_px: int) -> Imaging:
    is_harmonic = dice.happens(0.8)
    dynamic_range = dice.between(45, 70)
    return Imaging(
        depth_mm=min(max(depth_mm, 80.0), 185.0),
        sector_deg=dice.between(62, 90),
        wavelength_mm=dice.between(0.40, 0.50) if is_harmonic else dice.between(0.5, 0.75),
        axial_fwhm_mm=dice.between(0.5, 1.0),
        lateral_fwhm_deg=dice.between(1.4, 2.8),
        near_widening=dice.between(1.1, 1.9),
        elevation_fwhm_mm=dice.between(3, 6),
        sweep_s=dice.between(0.004, 0.012),
        dynamic_range_db=dynamic_range,
        gain_db=HEADROOM_DB - (1.0 - dice.between(*WALL_GRAY)) * dynamic_range,
        deep_loss_db=dice.between(-4, 10),
        noise_db=dice.between(-42, -15),
        gray_gamma=dice.between(0.8, 1.5),
        gray_bend=dice.between(0.0, 0.7),
        speckle_filter=dice.between(0.0, 0.7),
        smoothing_px=dice.between(0.2, 1.2) * size_px / 384,
        persistence=dice.between(0.0, 0.4),
        haze_db=dice.between(-24, 9),
        edge_loss_db=dice.between(2, 16),
        uneven_db=dice.between(2.5, 7.5),
        reverberation_db=dice.between(-25, -10) if dice.happens(0.3) else -100.0,
        reverberation_mm=dice.between(15, 50),
        bands_db=dice.between(-14, 6) if dice.happens(0.35) else -100.0,
        shadows=_random_shadows(dice),
        jpeg_quality=int(dice.between(40, 95)) if dice.happens(0.6) else 0,
        size_px=size_px,
    )


def _random_shadows(dice: Dice) -> tuple[Shadow, ...]:
    """Ribs in a third of the clips, and drop-out of a side wall in a fifth."""
    shadows = []
    if dice.happens(0.3):
        shadows.append(Shadow(dice.between(-40, 40), dice.between(5, 20), dice.between(6, 20)))
    if dice.happens(0.2):
        side = 1.0 if dice.happens(0.7) else -1.0
        shadows.append(Shadow(side * dice.between(15, 35), dice.between(10, 25), dice.between(5, 14)))
    return tuple(shadows)


def _random_look(dice: Dice, view: str) -> TissueLook:
    return TissueLook(
        blood_db=dice.between(-42, -24),
        texture_db=dice.between(1.5, 6.0),
        surroundings_texture=dice.between(1.0, 2.2),
        patches_db=dice.between(2, 9),
        lining_db=dice.between(0, 6),
        bright_share=dice.between(0.0, 0.004),
        irregular_mm=dice.between(0.2, 1.4) * (0.4 if view == "rv" else 1.0),
        oblique=dice.between(0.1, 0.5),
        turnover_mm=dice.between(4.0, 12.0),
        slide_mm=(dice.between(-6.0, 6.0), dice.between(-3.0, 3.0)),
        turning=(dice.between(1.5, 6.0), dice.between(0.0, 2.5)),
        jitter=dice.between(0.2, 0.6),
        jitter_s=dice.between(0.02, 0.12),
    )
