"""One virtual heart through the real session, beat by beat against its truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.beat_measure import contour_lengths
from specktrack.rt.config import SessionConfig, StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.engine import Engine
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.segment_quality import end_confidence
from specktrack.rt.session import Session
from specktrack.rt.settings import Section
from specktrack.rt.strain import segment_lengths
from specktrack.rt.update import SettledBeat, Update
from specktrack.training.virtual_hearts import HeartFilm

SEGMENTS = 6
MATCH_S = 0.25  # an end-diastole farther from every true one belongs to none


class BeatScore(Section):
    """A settled beat and the true beat it belongs to; strain in percent, None where there is none."""

    beat: int  # true beats of the recording count from 0 at the first after the points were set
    truth: float  # end-systolic strain at the true events
    segments_truth: tuple[float, ...]
    measured: float | None
    segments: tuple[float | None, ...]
    accepted: bool
    why: str | None
    tracked: float | None  # of the same tracks, read at the true events: what tracking alone does
    timed: float  # of the true contour, read at the events found: what timing alone does
    ed_late_ms: float
    es_late_ms: float
    error_mm: float  # median distance of the settled points from the truth
    drift_percent: float | None
    retracked: bool
    waited_beats: float  # from the end of the beat to its publishing, in beats
    # Of each segment, whether accepted or not, to choose the limits on confidence by:
    segments_tracked: tuple[float, ...] = ()  # as `tracked`
    segments_confidence: tuple[float, ...] = ()  # median over points and frames
    segments_event_confidence: tuple[float, ...] = ()  # the lower of the medians at ED and at ES
    segments_end_confidence: tuple[float, ...] = ()  # mean over the beat at the less sure end


class HeartScore(Section):
    """What a session made of one heart."""

    name: str
    n_true_beats: int  # whole ones after the points were set
    heart_rate_bpm: float | None = None  # of its median beat
    frame_rate_hz: float | None = None
    beats: tuple[BeatScore, ...]
    stray_mm: tuple[float, ...]  # per true ED: median change of the points' error since the first, motion of all apart


@dataclass(frozen=True)
class _Truth:
    """True frames of the beats that begin after the points were set."""

    drawn: int
    ed: NDArray[np.int64]
    es: NDArray[np.int64]  # of each beat but the last


def try_heart(film: HeartFilm, drawn: str, settings: SessionConfig, engine: Engine) -> HeartScore:
    """Play a film; the true mid-wall line of the frame that `drawn` names (ed, rest) is the contour drawn."""
    truth = _truth(film, drawn)
    session = Session(film.name, settings, engine)
    updates: list[Update] = []
    for frame in _frames(film):
        updates.append(session.update(frame))
        if frame.seq == truth.drawn:
            session.set_points(film.contour[:, frame.seq], "contour", segments=SEGMENTS, seq=frame.seq)
    published = [(beat, update.t_acq_ns) for update in updates for beat in update.beats]
    published += [(beat, updates[-1].t_acq_ns) for beat in session.settle_now()]
    scores = [_score(beat, at_ns, film, truth) for beat, at_ns in published]
    return HeartScore(
        name=film.name,
        n_true_beats=len(truth.es),
        heart_rate_bpm=60.0 / float(np.median(np.diff(film.ed_s))),
        frame_rate_hz=film.frame_rate_hz,
        beats=tuple(score for score in scores if score is not None),
        stray_mm=_strays(updates, film, truth),
    )


def contour_strain(at_ed: FloatArray, at_es: FloatArray) -> tuple[float, tuple[float, ...]]:
    """Global and segmental strain of a whole contour (K, 2), as the runtime reads it; percent."""
    smoother = _smoother(len(at_ed))
    sure = np.ones(len(at_ed), np.float32)
    ed, es = (segment_lengths(smoother.smooth(line, sure), smoother.bounds) for line in (at_ed, at_es))
    return float(100.0 * (es.sum() / ed.sum() - 1.0)), tuple(float(v) for v in 100.0 * (es / ed - 1.0))


def tracked_strain(tracks: FloatArray) -> tuple[float, tuple[float, ...]]:
    """The same of a tracked one (2, K, 3), x, y, confidence at ED and ES, as a settled beat is read; none is lost."""
    _, (ed, es), _ = contour_lengths(tracks, _smoother(tracks.shape[1]), Geometry(1, 1), StrainConfig())
    return float(100.0 * (es.sum() / ed.sum() - 1.0)), tuple(float(v) for v in 100.0 * (es / ed - 1.0))


def _frames(film: HeartFilm) -> Sequence[Frame]:
    height, width = film.frames.shape[1:]
    geometry = Geometry(height, width, (film.mm_per_px, film.mm_per_px))
    rate = film.frame_rate_hz
    return [
        Frame(film.name, k, round(k * 1e9 / rate), "film", pixels, geometry, rate)
        for k, pixels in enumerate(film.frames)
    ]


def _truth(film: HeartFilm, drawn: str) -> _Truth:
    rate, n_frames = film.frame_rate_hz, len(film.frames)
    starts = film.ed_s if drawn == "ed" else film.rest_s
    first = round(float(starts[starts >= 0.0][0]) * rate)
    ed = np.round(film.ed_s * rate).astype(np.int64)
    es = np.round(film.es_s * rate).astype(np.int64)
    keep = (ed >= first) & (ed < n_frames)
    ed_kept = ed[keep]
    return _Truth(first, ed_kept, es[keep[:-1]][: max(len(ed_kept) - 1, 0)])


def _score(beat: SettledBeat, at_ns: int, film: HeartFilm, truth: _Truth) -> BeatScore | None:
    """The beat against the true one it begins with; None when there is none so near, or it is not whole."""
    if not len(truth.es):
        return None
    rate = film.frame_rate_hz
    begin, es = int(beat.seq[beat.ed_index]), int(beat.seq[beat.es_index])
    k = int(np.abs(truth.ed[:-1] - begin).argmin())
    ed_true, es_true = int(truth.ed[k]), int(truth.es[k])
    if abs(begin - ed_true) > MATCH_S * rate:
        return None
    line = film.contour.transpose(1, 0, 2)
    expected, segments = contour_strain(line[ed_true], line[es_true])
    inside = [i for i in (ed_true - begin, es_true - begin) if 0 <= i < len(beat.seq)]
    # An ED found a little late: the first settled frame is as near to the true one as the tracks go.
    at = [max(ed_true - begin, 0), es_true - begin]
    own = beat.tracks[..., :2]
    is_whole = len(inside) > 0 and 0 <= at[1] < len(own) and bool(np.isfinite(own[at]).all())
    error_px = np.hypot(*np.moveaxis(own - line[beat.seq], -1, 0))
    period_ns = float(beat.t_acq_ns[-1] - beat.t_acq_ns[0])
    tracked = tracked_strain(beat.tracks[at]) if is_whole else None
    return BeatScore(
        beat=k,
        truth=expected,
        segments_truth=segments,
        measured=beat.gls_percent,
        segments=beat.segments_percent,
        accepted=beat.accepted,
        why=beat.why,
        tracked=tracked[0] if tracked else None,
        timed=contour_strain(line[begin], line[es])[0],
        ed_late_ms=1e3 * (begin - ed_true) / rate,
        es_late_ms=1e3 * (es - es_true) / rate,
        error_mm=float(np.nanmedian(error_px)) * film.mm_per_px,
        drift_percent=beat.drift_percent,
        retracked=beat.is_retracked,
        waited_beats=(at_ns - int(beat.t_acq_ns[-1])) / period_ns,
        segments_tracked=tracked[1] if tracked else (),
        segments_confidence=_by_segment(beat.tracks),
        segments_event_confidence=tuple(
            min(pair)
            for pair in zip(*(_by_segment(beat.tracks[[k]]) for k in (beat.ed_index, beat.es_index)), strict=True)
        ),
        segments_end_confidence=end_confidence(beat.tracks, _smoother(beat.tracks.shape[1])),
    )


def _smoother(n_points: int) -> ContourSmoother:
    return ContourSmoother(n_points, StrainConfig().knots, SEGMENTS)


def _by_segment(tracks: FloatArray) -> tuple[float, ...]:
    """Median confidence of each segment of a contour (T, K, 3)."""
    ranges = _smoother(tracks.shape[1]).point_ranges
    return tuple(float(np.median(np.nan_to_num(tracks[:, first : last + 1, 2]))) for first, last in ranges)


def _strays(updates: Sequence[Update], film: HeartFilm, truth: _Truth) -> tuple[float, ...]:
    """How far the points have strayed at each true end-diastole since the first one after they were set, mm.

    What counts is the change of their error, so a point off from the start does not; median over points.
    """
    found = [(updates[k].points[:, :2] - film.contour[:, k]) for k in truth.ed if len(updates[k].points)]
    if not found:
        return ()
    return tuple(float(np.nanmedian(np.hypot(*(error - found[0]).T))) * film.mm_per_px for error in found)
