"""A heart of known strain through the real session, and the report of many."""

import cv2
import numpy as np
import pytest
from streams import SIDE, arch, speckle

from specktrack.rt.config import SessionConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.manifest import find_model
from specktrack.training.strain_config import StrainEvalConfig
from specktrack.training.strain_report import markdown, per_heart, segment_errors, weak_segments
from specktrack.training.strain_trial import BeatScore, HeartScore, contour_strain, try_heart
from specktrack.training.virtual_hearts import HeartFilm

RATE_HZ, PERIOD_S, ES_S, BEATS = 40.0, 0.85, 0.34, 5
SHRINK = 0.12
MIDDLE = np.array([128.0, 150.0])


def scale(t: float) -> float:
    """1 at end-diastole, 1 - SHRINK at end-systole, at rest from two thirds of the beat on."""
    t = t % PERIOD_S
    if t < ES_S:
        return 1.0 - SHRINK * np.sin(0.5 * np.pi * t / ES_S) ** 2
    return 1.0 - SHRINK * np.cos(0.5 * np.pi * min((t - ES_S) / 0.2, 1.0)) ** 2


def shrinking_film() -> HeartFilm:
    """Speckle that shrinks towards a point and comes back: every segment shortens by 12 %."""
    picture, margin = speckle(), SIDE / 2
    times = np.arange(round(BEATS * PERIOD_S * RATE_HZ)) / RATE_HZ
    frames, walls = [], []
    line = resample_contour(arch(), 61)
    for t in times:
        s = scale(t)
        matrix = np.array([[s, 0, 0], [0, s, 0]], float)
        matrix[:, 2] = MIDDLE - s * (MIDDLE + margin)
        frames.append(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
        walls.append(MIDDLE + s * (line - MIDDLE))
    starts = np.arange(BEATS + 1) * PERIOD_S
    return HeartFilm(
        "shrinking",
        np.stack(frames).astype(np.uint8),
        np.stack(walls, 1).astype(np.float32),
        RATE_HZ,
        0.7,
        starts,
        starts[:-1] + ES_S,
        starts[:-1] + 0.7,
    )


@pytest.fixture(scope="module")
def shrinking() -> HeartScore:
    return try_heart(shrinking_film(), "ed", SessionConfig(), OrtEngine(find_model("specknet-s"), threads=1))


def test_a_wall_that_shrinks_by_twelve_percent_reads_minus_twelve(shrinking: HeartScore) -> None:
    beats = [beat for beat in shrinking.beats if beat.accepted]
    assert len(beats) >= 2
    for beat in beats:
        assert beat.truth == pytest.approx(-12.0, abs=0.1), "events fall between frames"
        assert beat.tracked == pytest.approx(beat.truth, abs=0.2)
        assert beat.measured == pytest.approx(beat.timed, abs=0.2), "what is left is timing"
        assert beat.error_mm < 0.15


def test_its_beats_are_tracked_twice_and_published_before_the_next_is_over(shrinking: HeartScore) -> None:
    assert all(beat.retracked for beat in shrinking.beats)
    assert all(beat.waited_beats < 1.15 for beat in shrinking.beats), "the next ED is confirmed a few frames late"


def test_its_points_stay_where_they_are_from_beat_to_beat(shrinking: HeartScore) -> None:
    assert shrinking.n_true_beats == BEATS - 1
    assert max(shrinking.stray_mm) < 0.5


def test_strain_of_a_contour_is_that_of_its_segments() -> None:
    line = resample_contour(arch(), 61)
    overall, segments = contour_strain(line, 0.9 * line)
    assert overall == pytest.approx(-10.0, abs=1e-3)
    assert segments == pytest.approx((-10.0,) * 6, abs=1e-3)


def score(name: str, measured: float | None, accepted: bool = True, weak: float = -18.0) -> HeartScore:
    beat = BeatScore(
        beat=0,
        truth=-18.0,
        segments_truth=(-18.0, -18.0, -2.0, -18.0, -18.0, -18.0),
        measured=measured,
        segments=(-18.0, -17.0, weak, -18.0, None, -18.0),
        accepted=accepted,
        why=None,
        tracked=-18.5,
        timed=-17.8,
        ed_late_ms=10.0,
        es_late_ms=-10.0,
        error_mm=0.6,
        drift_percent=0.5,
        retracked=True,
        waited_beats=0.7,
    )
    return HeartScore(name=name, n_true_beats=3, beats=(beat,), stray_mm=(0.0, 0.1))


def test_a_heart_without_an_accepted_beat_counts_as_one_without_a_value() -> None:
    scores = [score("a", -17.0), score("b", -20.0, accepted=False)]
    pairs = per_heart(scores, lambda beat: beat.measured if beat.accepted else None)
    assert [pair.measured for pair in pairs] == [-17.0, None]


def test_a_weak_segment_is_told_when_it_is_measured_weaker_than_both_neighbours() -> None:
    assert weak_segments([score("a", -17.0, weak=-8.0)]) == (1, 1)
    assert weak_segments([score("a", -17.0, weak=-17.5)]) == (1, 0)


def test_a_rejected_segment_has_no_error() -> None:
    errors = segment_errors([score("a", -17.0)])
    np.testing.assert_allclose(errors[0], [0.0, 1.0, -16.0, 0.0, np.nan, 0.0])


def test_the_report_says_bias_spread_and_what_timing_alone_does() -> None:
    scores = [score("a", -17.0), score("b", -18.0), score("c", -18.5)]
    text = markdown(StrainEvalConfig(), scores, {"re-anchoring": scores})
    assert "| settled beats, accepted | 3 | +0.17 | 0.76 | 0.50 |" in text
    assert "timing alone) | 3 | +0.20 | 0.00 |" in text
    assert "| re-anchoring | a | 1 | 0.10, -, 0.10 | too few beats |" in text
