"""Several beats of one recording made one result: which count, their mean, and what is reported beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median, stdev

from specktrack.rt.update import SettledBeat
from specktrack.rt.walls import mean

ODD_CYCLE = 0.2  # a beat this much longer or shorter than the median is an ectopic one, or comes after one
IRREGULAR = 0.10  # relative SD of the cycles: above it the rhythm is as in atrial fibrillation
BEATS, BEATS_IRREGULAR = 3, 5  # fewest beats for a result, in a regular and in an irregular rhythm


@dataclass(frozen=True)
class BeatAverage:
    """One result from several beats; None where nothing is known."""

    gls_percent: float | None  # mean of the beats that count
    sd_percent: float | None  # between them
    peak_percent: float | None
    segments_percent: tuple[float | None, ...]
    heart_rate_bpm: float | None
    n_beats: int  # that count
    n_left_out: int  # not accepted, or of an odd length in a regular rhythm
    is_irregular: bool  # cycles vary as in atrial fibrillation
    is_enough: bool  # at least three beats, five in an irregular rhythm


def average(beats: Sequence[SettledBeat]) -> BeatAverage:
    """The mean over accepted beats; in a regular rhythm without those of an odd length."""
    accepted = [beat for beat in beats if beat.accepted and beat.gls_percent is not None]
    cycles = [60.0 / beat.heart_rate_bpm for beat in beats if isfinite(beat.heart_rate_bpm)]
    usual = median(cycles) if cycles else 0.0
    is_irregular = _spread([c for c in cycles if abs(c - usual) <= 2 * ODD_CYCLE * usual]) > IRREGULAR
    counted = [b for b in accepted if is_irregular or not abs(60.0 / b.heart_rate_bpm - usual) > ODD_CYCLE * usual]
    rates = [beat.heart_rate_bpm for beat in counted if isfinite(beat.heart_rate_bpm)]
    values = [beat.gls_percent for beat in counted if beat.gls_percent is not None]
    n_segments = max((len(beat.segments_percent) for beat in counted), default=0)
    return BeatAverage(
        gls_percent=fmean(values) if values else None,
        sd_percent=stdev(values) if len(values) > 1 else None,
        peak_percent=mean([beat.peak_percent for beat in counted]),
        segments_percent=tuple(mean([beat.segments_percent[s] for beat in counted]) for s in range(n_segments)),
        heart_rate_bpm=fmean(rates) if rates else None,
        n_beats=len(counted),
        n_left_out=len(beats) - len(counted),
        is_irregular=is_irregular,
        is_enough=len(counted) >= (BEATS_IRREGULAR if is_irregular else BEATS),
    )


def _spread(cycles: Sequence[float]) -> float:
    """Relative standard deviation."""
    return stdev(cycles) / fmean(cycles) if len(cycles) > 1 else 0.0
