"""Subjects of every view: an ordinary healthy one, and random ones over the ranges of the clinical reference."""

import torch

from specktrack.rt.errors import InputError
from specktrack.training.anatomy import APICAL_VIEWS, HeartShape
from specktrack.training.dice import Dice
from specktrack.training.heart import Heart, HeartMotion
from specktrack.training.heart_short_axis import ShortAxisHeart
from specktrack.training.placement import Placement
from specktrack.training.random_heart import random_apical, random_block, random_rhythm, random_ring
from specktrack.training.rhythm import Rhythm
from specktrack.training.subject import Subject
from specktrack.training.tissue_block import TissueBlock

VIEWS = (*APICAL_VIEWS, "psax", "tissue")


def standard_subject(view: str, rate_bpm: float, duration_s: float) -> Subject:
    """An ordinary, healthy subject with equal beats, in a good window."""
    _check(view)
    rhythm = Rhythm.regular(rate_bpm, duration_s)
    if view == "psax":
        return ShortAxisHeart(rhythm)
    if view == "tissue":
        return TissueBlock(rhythm)
    if view == "rv":
        return _right_heart(rhythm)
    return Heart(rhythm, HeartShape(view, neighbour_width=22.0 if view == "a3c" else 28.0))


def random_subject(view: str, generator: torch.Generator, duration_s: float) -> Subject:
    """A random subject of the view, healthy or not, all drawn from the generator."""
    _check(view)
    dice = Dice(generator)
    rhythm = random_rhythm(dice, duration_s)
    if view == "psax":
        return random_ring(dice, rhythm)
    if view == "tissue":
        return random_block(dice, rhythm)
    return random_apical(view, dice, rhythm)


def _right_heart(rhythm: Rhythm) -> Heart:
    """The RV-focused view: the free wall shortens more than the septum, which belongs to both ventricles."""
    shape = HeartShape(
        "rv",
        length=82.0,
        radius=21.0,
        walls=(4.0, 10.0),
        annulus=0.9,
        neighbour_width=36.0,
        neighbour_wall=10.0,
        neighbour_top=0.1,
    )
    motion = HeartMotion(strain=((0.27, 0.28, 0.28), (0.15, 0.16, 0.17), (0.17, 0.18, 0.18)), inward=(1.7, 0.8, 0.0))
    return Heart(rhythm, shape, motion, Placement(apex_x=-4.0, tilt_deg=-4.0))


def _check(view: str) -> None:
    if view not in VIEWS:
        raise InputError(f"view {view}: unknown; the phantom makes {', '.join(VIEWS)}")
