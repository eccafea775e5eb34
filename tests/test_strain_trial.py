"""A heart of known strain through the real session, and the report of many."""

import re

import numpy as np
import pytest
from shrinking import ES_S, PERIOD_S, RATE_HZ, REST_S, shrinking
from streams import arch

from specktrack.rt.config import SessionConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.manifest import find_model
from specktrack.training.strain_config import StrainEvalConfig
from specktrack.training.strain_report import (
    Findings,
    by_heart_rate,
    markdown,
    per_heart,
    segment_errors,
    weak_segments,
)
from specktrack.training.strain_trial import BeatScore, HeartScore, contour_strain, try_heart
from specktrack.training.virtual_hearts import HeartFilm

BEATS = 5
GOAL = 0.6  # strain points, what bias may be


def shrinking_film() -> HeartFilm:
    frames, contour = shrinking(BEATS)
    starts = np.arange(BEATS + 1) * PERIOD_S
    return HeartFilm("shrinking", frames, contour, RATE_HZ, 0.7, starts, starts[:-1] + ES_S, starts[:-1] + REST_S)


@pytest.fixture(scope="module")
def shrunk() -> HeartScore:
    return try_heart(shrinking_film(), "ed", SessionConfig(), OrtEngine(find_model("specknet-s"), threads=1))


def test_a_wall_that_shrinks_by_twelve_percent_reads_minus_twelve(shrunk: HeartScore) -> None:
    beats = [beat for beat in shrunk.beats if beat.accepted]
    assert len(beats) >= 2
    for beat in beats:
        assert beat.truth == pytest.approx(-12.0, abs=0.1), "events fall between frames"
        assert beat.tracked == pytest.approx(beat.truth, abs=GOAL)
        assert beat.measured == pytest.approx(beat.timed, abs=GOAL), "what is left is timing"
        assert beat.error_mm < 0.5


def test_its_beats_are_tracked_twice_and_published_before_the_next_is_over(shrunk: HeartScore) -> None:
    assert all(beat.retracked for beat in shrunk.beats)
    assert all(beat.waited_beats < 1.15 for beat in shrunk.beats), "the next ED is confirmed a few frames late"


def test_its_heart_and_frame_rates_are_known(shrunk: HeartScore) -> None:
    assert shrunk.heart_rate_bpm == pytest.approx(60.0 / PERIOD_S)
    assert shrunk.frame_rate_hz == RATE_HZ


def test_its_points_stay_where_they_are_from_beat_to_beat(shrunk: HeartScore) -> None:
    assert shrunk.n_true_beats == BEATS - 1
    assert max(shrunk.stray_mm) < 0.5


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
    text = markdown(StrainEvalConfig(), Findings(scores, {"re-anchoring": scores}))
    assert "| settled beats, accepted | 3 | +0.17 | 0.76 | 0.50 |" in text
    assert "timing alone) | 3 | +0.20 | 0.00 |" in text
    assert "| re-anchoring | a | 1 | 0.10, -, 0.10 | too few beats |" in text


def test_the_report_tells_slow_hearts_from_fast_ones_and_frame_rates_apart() -> None:
    slow, fast = (score("x", m).model_copy(update={"heart_rate_bpm": bpm}) for m, bpm in ((-17.0, 50.0), (-20.0, 95.0)))
    groups = {name: len(some) for name, some in by_heart_rate([slow, fast, fast, score("clip", -17.0)]).items()}
    assert groups == {"under 60": 1, "60 to 80": 0, "80 and over": 2}
    text = markdown(StrainEvalConfig(), Findings([slow, fast], rates={30.0: [fast], 80.0: [slow, slow]}))
    assert "| under 60 | 1 | +1.00 |" in text
    assert "| 80 and over | 1 | -2.00 |" in text
    assert "60 to 80" not in text
    assert "| 30 | 1 | -2.00 |" in text
    assert "| 80 | 2 | +1.00 | 0.00 |" in text


def test_strain_that_scatters_from_beat_to_beat_has_not_moved_and_strain_that_wanders_has() -> None:
    beat = score("a", -18.0).beats[0]

    def session(name: str, errors: list[float]) -> HeartScore:
        beats = tuple(
            beat.model_copy(update={"beat": k, "truth": -18.0, "measured": -18.0 + error})
            for k, error in enumerate(errors)
        )
        return HeartScore(name=name, n_true_beats=len(beats), beats=beats, stray_mm=(0.0, 0.1))

    scattering = session("scatters", [0.5, 0.0, -0.5, 0.0] * 7 + [0.5])
    wandering = session("wanders", [0.1 * k for k in range(31)])
    text = markdown(StrainEvalConfig(), Findings([scattering], {"re-anchoring": [scattering, wandering]}))
    moved = {name: float(re.search(rf"\| {name} \|.* ([+-]\d\.\d\d) \|", text)[1]) for name in ("scatters", "wanders")}
    assert moved == {"scatters": pytest.approx(0.0), "wanders": pytest.approx(3.0)}
