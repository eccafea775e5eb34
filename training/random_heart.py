"""Random subjects: geometry, strength, disease, rhythm and motion over the simulator ranges of the clinical reference.

Global strain is drawn, and the heart made to have it: pieces of the wall are drawn around a mean, measured along the
mid-wall contour at end-systole, and scaled. Scars, delays and irregular beats come after and do what they do.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from specktrack.training.anatomy import HeartShape
from specktrack.training.dice import Dice
from specktrack.training.heart import Heart, HeartMotion, Lanes, Levels
from specktrack.training.heart_short_axis import NONE as NO_SEGMENT
from specktrack.training.heart_short_axis import RingMotion, RingShape, Segments, ShortAxisHeart
from specktrack.training.placement import GlobalMotion, Placement
from specktrack.training.rhythm import Rhythm, TimeCourse
from specktrack.training.subject import Subject
from specktrack.training.tissue_block import STEEPEST, TissueBlock, random_waves

MEAN_STRAIN, STRAIN_SD, WEAKEST, STRONGEST = 0.18, 0.05, 0.05, 0.26  # global, shares
RIGHT_STRONGER = 1.15  # strain of the right ventricle against the left
SEGMENT_SD = (0.03, 0.06)
PIECE = (0.02, 0.36)  # shortening of one piece
SCARRED = (0.02, 0.10)
SCAR_SHARE, DYSSYNCHRONY_SHARE, FIBRILLATION_SHARE, ECTOPIC_SHARE, HYPERTROPHY_SHARE = 0.25, 0.1, 0.1, 0.03, 0.12
LONGEST_EXCURSION = 23.0  # of the valve plane, mean of both sides, mm
MOST_INWARD = 0.62  # bound of inward gain times strain: at 1 the cavity would fold
MOST_SHRINK = 0.72
ROUNDEST = 0.34  # cavity half width of the length
SECTOR_TAN = 0.75  # how fast a usual sector widens with depth, each side


def contour_strain(subject: Subject, depth: float = 0.5) -> float:
    """Change of the contour's length, as a share, from end-diastole to end-systole of the first beat; < 0: shorter."""
    line = subject.contour(121, depth)
    ends = (subject.rhythm.ed_s[0], subject.rhythm.end_systole_s(0))
    before, after = (float(subject.position(line, t).diff(dim=0).norm(dim=1).sum()) for t in ends)
    return after / before - 1.0


def random_rhythm(dice: Dice, duration_s: float) -> Rhythm:
    """Sinus rhythm, with a few premature beats, or fibrillation; the first frame anywhere in the first beat."""
    rate = min(max(68.0 * math.exp(dice.normal(0.0, 0.22, -1.0, 1.0)), 45.0), 120.0)
    start = -dice.between(0.2, 1.0) * 60.0 / rate
    if dice.happens(FIBRILLATION_SHARE):
        rhythm = Rhythm.fibrillating(rate, duration_s, dice.between(0.15, 0.25), dice.generator, start)
    else:
        sd = dice.between(0.02, 0.05)
        rhythm = Rhythm.varying(rate, duration_s, sd, dice.generator, start, ECTOPIC_SHARE)
    course = TimeCourse(dice.between(0.45, 0.8), dice.between(-0.025, 0.025), dice.between(0.8, 1.0))
    return replace(rhythm, course=course)


def random_apical(view: str, dice: Dice, rhythm: Rhythm) -> Heart:
    """A heart in an apical view."""
    foreshortening = math.radians(dice.between(0.0, 20.0))
    shape = _right_shape(dice) if view == "rv" else _left_shape(view, dice)
    shape = replace(shape, length=shape.length * (0.4 + 0.6 * math.cos(foreshortening)))
    heart = Heart(rhythm, shape, _healthy(view, dice))
    target = dice.normal(MEAN_STRAIN, STRAIN_SD, WEAKEST, STRONGEST) * (RIGHT_STRONGER if view == "rv" else 1.0)
    heart = replace(heart, motion=_scaled(heart, target))
    pull = sum(heart.motion.strain[0]) / 3.0 * shape.length * math.sin(foreshortening)
    motion = _bounded(_diseased(heart.motion, dice))
    return replace(
        heart,
        motion=replace(motion, through_plane=pull + dice.between(-4.0, 4.0), breath_across=dice.between(-0.15, 0.15)),
        placement=_random_place(shape, dice),
        whole=_random_whole(dice, dice.between(-4, 6)),
    )


def random_ring(dice: Dice, rhythm: Rhythm) -> ShortAxisHeart:
    """A heart in short axis."""
    shape = _ring_shape(dice)
    mean, sd = dice.normal(MEAN_STRAIN, STRAIN_SD, WEAKEST, STRONGEST), dice.between(*SEGMENT_SD)
    drawn = [max(mean + min(sd, 0.4 * mean) * dice.normal(0, 1, -2, 2), 0.02) for _ in range(6)]
    motion = RingMotion(
        shrink=_segments(drawn),
        twist_deg=dice.between(5, 15) * (1 if dice.happens(0.5) else -1),
        right_inward=dice.between(2, 9),
        through_plane=dice.between(0, 9),
        breath_across=dice.between(-0.2, 0.2),
    )
    # The mid-wall shrinks by a fixed share of what the middle would: one scale makes the strain exact.
    probe = ShortAxisHeart(Rhythm.regular(60.0, 1.0), shape, motion)
    factor = mean / max(-contour_strain(probe), 1e-3)
    shrink = [min(s * factor, MOST_SHRINK) for s in drawn]
    motion = _diseased_ring(replace(motion, shrink=_segments(shrink)), mean, dice)
    place = Placement(shape.outer + dice.between(22, 45), dice.between(-6, 16), dice.between(-20, 50))
    return ShortAxisHeart(rhythm, shape, motion, place, _random_whole(dice, 0.0))


def random_block(dice: Dice, rhythm: Rhythm) -> TissueBlock:
    """Deforming tissue with a few vessels."""
    vessels = tuple((dice.between(-50, 50), dice.between(15, 110), dice.between(2, 11)) for _ in range(dice.pick(4)))
    waves = random_waves(dice, dice.between(0.1, STEEPEST))
    return TissueBlock(rhythm, waves, vessels, dice.between(-5, 5), whole=_random_whole(dice, dice.between(-5, 5)))


def _left_shape(view: str, dice: Dice) -> HeartShape:
    length = dice.between(70, 105)
    wall, radius = dice.between(7, 14), dice.between(17.5, min(32.5, ROUNDEST * length))
    if dice.happens(HYPERTROPHY_SHARE):
        wall, radius = dice.between(14, 20), dice.between(15, 20)
    uneven = dice.between(-0.15, 0.15)
    return HeartShape(
        view,
        length=length,
        radius=radius,
        walls=(wall * (1 - uneven), wall * (1 + uneven)),
        annulus=dice.between(0.78, 0.93),
        atrium=dice.between(35, 60),
        neighbour_width=dice.between(14, 26) if view == "a3c" else dice.between(20, 36),
        neighbour_wall=dice.between(3, 5),
        neighbour_top=dice.between(0.2, 0.38),
    )


def _right_shape(dice: Dice) -> HeartShape:
    return HeartShape(
        "rv",
        length=dice.between(70, 95),
        radius=dice.between(17, 26),
        walls=(dice.between(3, 5), dice.between(8, 13)),
        annulus=dice.between(0.82, 0.95),
        atrium=dice.between(35, 60),
        neighbour_width=dice.between(30, 55),
        neighbour_wall=dice.between(7, 13),
        neighbour_top=dice.between(0.05, 0.25),
    )


def _random_place(shape: HeartShape, dice: Dice) -> Placement:
    """As a sonographer would: the ventricle near the middle of the sector, deep enough to fit, not quite upright."""
    tilt = dice.between(-15, 15)
    fits = (shape.radius + max(shape.walls)) / SECTOR_TAN - shape.widest
    depth = max(dice.between(12, 28), fits + dice.between(-6, 6))
    middle = 0.6 * shape.length * math.sin(math.radians(tilt))
    return Placement(depth, middle + dice.between(-8, 8), tilt)


def _ring_shape(dice: Dice) -> RingShape:
    wall, radius = dice.between(7, 14), dice.between(17.5, 32.5)
    if dice.happens(HYPERTROPHY_SHARE):
        wall, radius = dice.between(14, 20), dice.between(15, 20)
    papillary_deg = (dice.between(-40, 0), dice.between(80, 120))
    return RingShape(radius, wall, dice.between(0.15, 0.28), papillary_deg, dice.between(14, 34), dice.between(3, 5))


def _random_whole(dice: Dice, swing_deg: float) -> GlobalMotion:
    held = dice.happens(0.3)  # breath held for the recording
    return GlobalMotion(
        swing_deg=swing_deg,
        heave=(dice.between(-5, 5), dice.between(-7, 2)),
        breathing=dice.between(0, 2) if held else dice.between(4, 15),
        breathing_hz=dice.between(0.15, 0.35),
        breathing_phase=dice.between(0, 2 * math.pi),
        breathing_deg=dice.between(-45, 45),
        probe_shift=dice.between(0, 10),
        probe_turn_deg=dice.between(0, 8),
        probe_phase=dice.between(0, 2 * math.pi),
    )


def _healthy(view: str, dice: Dice) -> HeartMotion:
    """Pieces around each lane's mean, before scaling."""
    sd = dice.between(*SEGMENT_SD)
    ratios = (
        (1.0, dice.between(0.5, 0.8), 0.7) if view == "rv" else (1.0, dice.between(0.85, 1.2), dice.between(1, 1.5))
    )
    lanes = [_levels([MEAN_STRAIN * r + sd * dice.normal(0, 1, -2, 2) for _ in range(3)]) for r in ratios]
    gain = dice.between(1.4, 2.0) if view == "rv" else dice.between(1.8, 2.8)
    delays = [_levels([dice.between(0.0, 0.02) for _ in range(3)]) for _ in range(3)]
    return HeartMotion(
        strain=(lanes[0], lanes[1], lanes[2]),
        delay_s=(delays[0], delays[1], delays[2]),
        inward=(gain, gain * (dice.between(0.2, 0.6) if view == "rv" else 1.0), 0.0),
        twist_deg=dice.between(5, 15),
    )


def _scaled(heart: Heart, target: float) -> HeartMotion:
    """The same pattern of pieces with a global strain of -target, as far as excursion allows."""
    motion = heart.motion
    model = replace(heart, rhythm=Rhythm.regular(60.0, 1.0))
    for _ in range(4):
        in_step = replace(motion, delay_s=HeartMotion().delay_s)
        factor = target / max(-contour_strain(replace(model, motion=in_step)), 1e-3)
        excursion = sum(sum(lane) for lane in motion.strain[:2]) / 6.0 * (heart.shape.length - heart.shape.apex_wall)
        motion = _times(motion, min(factor, LONGEST_EXCURSION / excursion))
    return motion


def _times(motion: HeartMotion, factor: float) -> HeartMotion:
    low, high = PIECE
    lanes = [_levels([min(max(s * factor, low), high) for s in lane]) for lane in motion.strain]
    return _bounded(replace(motion, strain=(lanes[0], lanes[1], lanes[2])))


def _bounded(motion: HeartMotion) -> HeartMotion:
    """Inward motion limited so that the cavity never folds at its axis."""
    most = [
        max(a + b for a, b in zip(*pair, strict=True)) for pair in zip(motion.strain, motion.post_systolic, strict=True)
    ]
    gains = [min(gain, MOST_INWARD / max(m, 1e-3)) for gain, m in zip(motion.inward, most, strict=True)]
    return replace(motion, inward=(gains[0], gains[1], gains[2]))


def _diseased(motion: HeartMotion, dice: Dice) -> HeartMotion:
    """With the shares of the population: a scar in one wall, a wall that lags."""
    if dice.happens(SCAR_SHARE):
        lane, first = dice.pick(2), dice.pick(3)
        for level in range(first, min(first + 1 + dice.pick(2), 3)):
            motion = _scarred(motion, lane, level, dice.between(*SCARRED), dice.between(0.0, 0.6))
    if dice.happens(DYSSYNCHRONY_SHARE):
        lane, delay = dice.pick(2), dice.between(0.04, 0.15)
        lagging = _levels([d + delay for d in motion.delay_s[lane]])
        motion = replace(motion, delay_s=_with(motion.delay_s, lane, lagging))
    return motion


def _scarred(motion: HeartMotion, lane: int, level: int, strain: float, index: float) -> HeartMotion:
    """One piece that shortens weakly and, by its post-systolic index 100 * (peak - ES) / peak, after the valve shut."""
    strain = min(strain, motion.strain[lane][level])
    strains, after = list(motion.strain[lane]), list(motion.post_systolic[lane])
    strains[level], after[level] = strain, strain * index / (1.0 - index)
    return replace(
        motion,
        strain=_with(motion.strain, lane, _levels(strains)),
        post_systolic=_with(motion.post_systolic, lane, _levels(after)),
    )


def _diseased_ring(motion: RingMotion, mean: float, dice: Dice) -> RingMotion:
    shrink, delay, after = list(motion.shrink), [dice.between(0.0, 0.02) for _ in range(6)], list(NO_SEGMENT)
    if dice.happens(SCAR_SHARE):
        first = dice.pick(6)
        for segment in (first, (first + 1) % 6):
            shrink[segment] *= min(dice.between(*SCARRED) / mean, 1.0)
            index = dice.between(0.0, 0.6)
            after[segment] = shrink[segment] * index / (1.0 - index)
    if dice.happens(DYSSYNCHRONY_SHARE):
        first, lag = dice.pick(6), dice.between(0.04, 0.15)
        for segment in (first, (first + 1) % 6):
            delay[segment] += lag
    return replace(motion, shrink=_segments(shrink), delay_s=_segments(delay), post_systolic=_segments(after))


def _with(lanes: Lanes, lane: int, levels: Levels) -> Lanes:
    left, right, other = (levels if k == lane else lanes[k] for k in range(3))
    return left, right, other


def _levels(values: Sequence[float]) -> Levels:
    apical, mid, basal = values
    return apical, mid, basal


def _segments(values: Sequence[float]) -> Segments:
    a, b, c, d, e, f = values
    return a, b, c, d, e, f
