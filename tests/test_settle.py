"""Settled beats: drift is shared out, probe motion is not drift, doubtful beats and segments say why."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from specktrack.rt.beat import BeatHistory
from specktrack.rt.config import StrainConfig
from specktrack.rt.drift import close_loop, drift_of, joined
from specktrack.rt.geometry import Geometry
from specktrack.rt.settle import settled as settle
from specktrack.rt.update import BeatEvents, Group, SettledBeat

FPS = 55.0
BEAT_S = 0.9
ES_S = 0.36
N = 61
MM = Geometry(800, 800, (0.25, 0.25))
NO_MM = Geometry(800, 800, None)
CONTOUR = Group("lv", "contour", 0, N, 6)
CONFIG = StrainConfig()
Change = Callable[[np.ndarray, float], np.ndarray]


def wall(t: float) -> np.ndarray:
    """A half ellipse in pixels that shortens by about 17 % and back within the beat."""
    squeeze = math.sin(math.pi * (t % BEAT_S) / 0.72) ** 2 if t % BEAT_S < 0.72 else 0.0
    angle = np.linspace(0.0, np.pi, N)
    short, long = 100.0 - 28.0 * squeeze, 360.0 - 56.0 * squeeze
    return np.stack([300.0 + short * np.cos(angle), 420.0 - long * np.sin(angle)], axis=1)


def history(change: Change | None = None, n_points: int = N, frames: int = 60, confidence: float = 0.9) -> BeatHistory:
    """A beat from t = 0 with a change(points, t) applied to the true points."""
    kept = BeatHistory(n_points)
    for i in range(frames):
        t = i / FPS
        points = wall(t)
        points = points if change is None else change(points.copy(), t)
        full = np.zeros((n_points, 3), np.float32)
        full[:N, :2] = points
        full[:, 2] = np.where(np.isfinite(full[:, 0]), confidence, 0.0)
        kept.update(100 + i, int((5.0 + t) * 1e9), full)
    return kept


def events(diastasis_s: float | None = 5.75) -> BeatEvents:
    return BeatEvents(3, 5.0, 5.0 + ES_S, 5.0 + BEAT_S, diastasis_s, 66.7)


def settled(kept: BeatHistory, groups: tuple[Group, ...] = (CONTOUR,), geometry: Geometry = MM) -> SettledBeat:
    beat = kept.cut(events())
    assert beat is not None
    return settle(beat, None, groups, geometry, CONFIG)


TRUE_GLS = settled(history()).gls_percent


def test_a_clean_beat_is_measured_and_accepted() -> None:
    beat = settled(history())
    assert beat.accepted
    assert beat.why is None
    assert beat.gls_percent == pytest.approx(-17.0, abs=0.6)
    assert beat.peak_percent == pytest.approx(beat.gls_percent, abs=0.1)
    assert beat.drift_percent == pytest.approx(0.0, abs=0.05)
    assert len(beat.segments_percent) == 6
    assert None not in beat.segments_percent
    assert all(q == pytest.approx(0.9, abs=0.02) for q in beat.quality)


def test_its_frames_run_from_one_end_diastole_to_the_next() -> None:
    beat = settled(history())
    assert beat.seq[0] == 100
    assert beat.seq[beat.next_ed_index] == 100 + round(BEAT_S * FPS)
    assert beat.seq[beat.es_index] == 100 + round(ES_S * FPS)
    assert beat.diastasis_index == round(0.75 * FPS)
    assert beat.tracks.shape == (len(beat.seq), N, 3)
    assert beat.strain_percent.shape == beat.seq.shape
    assert beat.strain_percent[0] == 0.0
    assert beat.heart_rate_bpm == 66.7
    assert beat.beat == 3


def test_without_pixel_size_there_is_no_annulus_motion_in_millimetres() -> None:
    assert settled(history()).mapse_mm is not None
    assert settled(history(), geometry=NO_MM).mapse_mm is None


def test_annulus_motion_is_read_in_millimetres() -> None:
    def raise_bases(points: np.ndarray, t: float) -> np.ndarray:
        squeeze = math.sin(math.pi * (t % BEAT_S) / 0.72) ** 2 if t % BEAT_S < 0.72 else 0.0
        points[:, 1] -= 48.0 * squeeze * np.linspace(-1, 1, N) ** 2
        return points

    beat, still = settled(history(raise_bases)), settled(history())
    assert beat.mapse_mm is not None
    assert still.mapse_mm is not None
    assert beat.mapse_mm - still.mapse_mm == pytest.approx(12.0, abs=1.0)


def test_strain_needs_no_millimetres() -> None:
    assert settled(history(), geometry=NO_MM).gls_percent == pytest.approx(TRUE_GLS, abs=1e-3)


def test_probe_motion_is_no_drift() -> None:
    def move(points: np.ndarray, t: float) -> np.ndarray:
        a = 0.05 * t
        return (points - 300) @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + 300 + 25.0 * t

    beat = settled(history(move))
    assert beat.accepted
    assert beat.gls_percent == pytest.approx(TRUE_GLS, abs=0.05)
    assert beat.drift_percent == pytest.approx(0.0, abs=0.05)


def test_linear_drift_is_measured_and_taken_out() -> None:
    def creep(points: np.ndarray, t: float) -> np.ndarray:
        points[:, 1] += (points[:, 1] - 420.0) * 0.02 * t / BEAT_S
        return points

    beat = settled(history(creep))
    assert beat.accepted
    assert beat.drift_percent == pytest.approx(1.9, abs=0.2)
    assert beat.gls_percent == pytest.approx(TRUE_GLS, abs=0.25)
    assert beat.strain_percent[-1] == pytest.approx(0.0, abs=0.1)


def test_one_point_that_strays_does_not_take_the_others_along() -> None:
    def stray(points: np.ndarray, t: float) -> np.ndarray:
        points[30] += 30.0 * t / BEAT_S
        return points

    kept = settled(history(stray))
    drift = drift_of(wall(0.0).astype(np.float32), stray(wall(0.0), BEAT_S).astype(np.float32))
    assert np.hypot(*drift[30]) == pytest.approx(30.0 * math.sqrt(2), abs=1.5)
    assert np.hypot(*np.delete(drift, 30, axis=0).T).max() < 0.3
    assert kept.gls_percent == pytest.approx(TRUE_GLS, abs=0.2)


def test_a_heart_that_shrank_by_drift_is_not_excused_as_probe_motion() -> None:
    small = (wall(0.0) - 300) * 0.95 + 300
    drift = drift_of(wall(0.0).astype(np.float32), small.astype(np.float32))
    assert np.median(np.hypot(*drift.T)) > 3.0


def test_a_segment_that_drifts_far_is_rejected_and_named() -> None:
    def creep(points: np.ndarray, t: float) -> np.ndarray:
        points[41:50, 0] += 16.0 * t / BEAT_S  # 4 mm
        return points

    beat = settled(history(creep))
    assert [s is None for s in beat.segments_percent] == [False, False, False, False, True, False]
    assert beat.quality[4] < 0.2
    assert beat.accepted


def test_two_rejected_segments_reject_the_beat() -> None:
    def lose(points: np.ndarray, t: float) -> np.ndarray:
        points[12:28] = np.nan
        return points

    beat = settled(history(lose))
    assert not beat.accepted
    assert beat.why == "2 of 6 segments rejected"
    assert beat.gls_percent is None
    assert np.isnan(beat.strain_percent).all()


def test_too_much_drift_rejects_the_beat_but_shows_its_numbers() -> None:
    def creep(points: np.ndarray, t: float) -> np.ndarray:
        points[:, 1] += (points[:, 1] - 420.0) * 0.04 * t / BEAT_S
        return points

    wide = StrainConfig(max_loop_mm=10.0)
    cut = history(creep).cut(events())
    assert cut is not None
    beat = settle(cut, None, (CONTOUR,), MM, wide)
    assert not beat.accepted
    assert beat.why is not None
    assert beat.why.startswith("drift of 3.")
    assert beat.gls_percent is not None


def test_unsure_points_reject_their_segments() -> None:
    beat = settled(history(confidence=0.1))
    assert not beat.accepted
    assert beat.why == "6 of 6 segments rejected"
    assert beat.segments_percent == (None,) * 6


def test_without_a_contour_tracks_are_settled_but_nothing_is_measured() -> None:
    beat = settled(history(), groups=(Group("dots", "points", 0, N),))
    assert beat.gls_percent is None
    assert beat.segments_percent == ()
    assert not beat.accepted
    assert beat.why == "no contour was set, so there is no strain"
    assert np.isfinite(beat.tracks).all()


def test_the_first_contour_is_the_measured_one() -> None:
    groups = (Group("dots", "points", N, 4), CONTOUR)
    assert settled(history(n_points=N + 4), groups=groups).gls_percent == pytest.approx(TRUE_GLS, abs=0.05)


def test_a_point_lost_at_the_end_is_left_as_it_was() -> None:
    points = np.ones((5, 3, 3), np.float32)
    points[:, :, 0] = np.arange(3) * 10.0
    points[-1, 1] = [np.nan, np.nan, 0.0]
    closed = close_loop(points, np.arange(5, dtype=np.int64))
    np.testing.assert_array_equal(closed[:, 1], points[:, 1])


def test_two_ways_through_a_beat_are_weighed_by_how_near_each_began() -> None:
    forward, backward = np.zeros((5, 2, 3), np.float32), np.full((5, 2, 3), 4.0, np.float32)
    both = joined(forward, backward, np.linspace(0.0, 1.0, 5))
    np.testing.assert_allclose(both[:, 0, 0], [0.0, 1.0, 2.0, 3.0, 4.0])


def test_a_point_that_one_way_has_lost_goes_by_the_other() -> None:
    forward, backward = np.zeros((2, 3, 3), np.float32), np.full((2, 3, 3), 4.0, np.float32)
    forward[:, 0, :2] = np.nan
    backward[:, 1, :2] = np.nan
    both = joined(forward, backward, np.array([0.5, 0.5]))
    np.testing.assert_array_equal(both[0, :, 0], [4.0, 0.0, 2.0])


def again(change: Change | None = None) -> np.ndarray:
    """The beat of `history` as re-tracking would see it."""
    beat = history(change).cut(events())
    assert beat is not None
    return beat.points


def settle_twice(forward: Change | None, backward: Change | None) -> SettledBeat:
    beat = history(forward).cut(events())
    assert beat is not None
    return settle(beat, again(backward), (CONTOUR,), MM, CONFIG)


def test_errors_of_the_two_ways_cancel_where_they_are_opposite() -> None:
    def off(by: float) -> Change:
        def change(points: np.ndarray, t: float) -> np.ndarray:
            points[:, 1] += (points[:, 1] - 420.0) * by * math.sin(math.pi * t / BEAT_S)
            return points

        return change

    beat, once = settle_twice(off(0.04), off(-0.04)), settled(history(off(0.04)))
    assert beat.is_retracked
    assert beat.gls_percent is not None
    assert once.gls_percent is not None
    assert TRUE_GLS is not None
    assert abs(beat.gls_percent - TRUE_GLS) < 0.4 * abs(once.gls_percent - TRUE_GLS)


def test_a_segment_that_two_ways_see_in_different_places_is_rejected_with_the_distance() -> None:
    def astray(points: np.ndarray, t: float) -> np.ndarray:
        points[41:50, 0] += 16.0 * (BEAT_S - t) / BEAT_S  # 4 mm at end-diastole, nothing at the end
        return points

    beat = settle_twice(None, astray)
    assert [w is None for w in beat.segments_why] == [True] * 4 + [False, True]
    assert beat.segments_why[4] == "forward and backward differ by 4.0 mm"


def test_a_ragged_segment_is_rejected_as_off_its_neighbours() -> None:
    def zigzag(points: np.ndarray, t: float) -> np.ndarray:
        points[11:20:2] += 14.0
        points[12:20:2] -= 14.0
        return points

    why = settled(history(zigzag)).segments_why[1]
    assert why is not None
    assert why.startswith("off the smooth curve by")


def test_a_heart_that_lengthens_in_systole_is_not_believed() -> None:
    def inside_out(points: np.ndarray, t: float) -> np.ndarray:
        return 2.0 * wall(0.0) - points

    beat = settled(history(inside_out))
    assert not beat.accepted
    assert beat.why is not None
    assert "longer at end-systole" in beat.why


def test_the_measures_of_a_beat_agree_with_its_curve() -> None:
    beat = settled(history())
    assert beat.time_to_peak_ms == pytest.approx(360.0, abs=10.0)
    assert beat.post_systolic_index_percent == pytest.approx(0.0, abs=0.5)
    assert beat.peak_rates_per_s[0] == pytest.approx(-17.0 / 100 * math.pi / 0.72, rel=0.1)
    assert beat.peak_rates_per_s[1] == pytest.approx(17.0 / 100 * math.pi / 0.72, rel=0.1)
    assert beat.rate_per_s.shape == beat.strain_percent.shape
    assert beat.segments_time_to_peak_ms == pytest.approx([360.0] * 6, abs=20.0)
    assert beat.segments_peak_percent == pytest.approx(beat.segments_percent, abs=0.2)
    assert beat.dispersion_ms == pytest.approx(0.0, abs=10.0)


def test_muscle_that_shortens_after_the_valve_shut_shows_in_the_post_systolic_index() -> None:
    early = BeatEvents(3, 5.0, 5.25, 5.0 + BEAT_S, 5.75, 66.7)  # the valve shuts before the shortest length
    cut = history().cut(early)
    assert cut is not None
    beat = settle(cut, None, (CONTOUR,), MM, CONFIG)
    assert beat.peak_percent is not None
    assert beat.gls_percent is not None
    assert beat.post_systolic_index_percent == pytest.approx(
        100 * (beat.peak_percent - beat.gls_percent) / beat.peak_percent
    )
    assert beat.post_systolic_index_percent > 10.0


def test_each_side_of_the_annulus_has_its_excursion() -> None:
    def raise_first(points: np.ndarray, t: float) -> np.ndarray:
        squeeze = math.sin(math.pi * (t % BEAT_S) / 0.72) ** 2 if t % BEAT_S < 0.72 else 0.0
        points[:8, 1] -= 40.0 * squeeze * np.linspace(1, 0, 8)
        return points

    first, last = settled(history(raise_first)).annulus_mm
    still_first, still_last = settled(history()).annulus_mm
    assert first is not None
    assert still_first is not None
    assert first - still_first == pytest.approx(10.0, abs=1.0)
    assert last == pytest.approx(still_last, abs=0.3)


def test_three_contours_give_the_strain_of_each_layer() -> None:
    depths = {"endocardium": (0.0, 0.0), "mid-wall": (4.5, 6.5), "epicardium": (9.0, 13.0)}
    kept = BeatHistory(3 * N)
    angle = np.linspace(0.0, np.pi, N)
    for i in range(60):
        squeeze = math.sin(math.pi * min(i / FPS, 0.72) / 0.72) ** 2
        points = np.ones((3 * N, 3), np.float32)
        for k, (at_ed, at_es) in enumerate(depths.values()):
            thick = at_ed + (at_es - at_ed) * squeeze
            short, long = 25.0 - 7.0 * squeeze + thick, 90.0 - 14.0 * squeeze + thick
            points[k * N : (k + 1) * N, :2] = np.stack([100 + short * np.cos(angle), 110 - long * np.sin(angle)], 1)
        kept.update(100 + i, int((5.0 + i / FPS) * 1e9), points)
    groups = tuple(Group(name, "contour", k * N, N, 6) for k, name in enumerate(depths))
    beat = settled(kept, groups, Geometry(300, 300, (1.0, 1.0)))
    assert [layer.name for layer in beat.layers] == list(depths)
    assert [layer.gls_percent for layer in beat.layers] == pytest.approx([-17.045, -13.310, -9.889], abs=0.15)
    assert beat.gls_percent == pytest.approx(beat.layers[0].gls_percent, abs=0.05)


def test_a_segment_that_is_unsure_at_end_systole_is_rejected_but_the_line_stays_whole() -> None:
    cut = history().cut(events())
    assert cut is not None
    cut.points[cut.es_index, 21:30, 2] = 0.4
    beat = settle(cut, None, (CONTOUR,), MM, CONFIG)
    assert beat.segments_why[2] == "unsure at end-diastole or end-systole"
    assert beat.accepted
    assert beat.gls_percent == pytest.approx(TRUE_GLS, abs=0.3)


def test_a_segment_that_is_unsure_for_most_of_the_beat_is_rejected_with_its_confidence() -> None:
    cut = history().cut(events())
    assert cut is not None
    cut.points[6:-6, 21:30, 2] = 0.65
    assert settle(cut, None, (CONTOUR,), MM, CONFIG).segments_why[2] == "confidence 0.65"
