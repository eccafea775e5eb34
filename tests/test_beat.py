"""Settling a beat: drift is shared out, probe motion is not drift, doubtful beats say why."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from specktrack.rt.beat import BeatHistory, close_loop, drift_of
from specktrack.rt.config import StrainConfig
from specktrack.rt.geometry import Geometry
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
    beat = kept.settle(events(), groups, geometry, CONFIG)
    assert beat is not None
    return beat


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
    beat = history(creep).settle(events(), (CONTOUR,), MM, wide)
    assert beat is not None
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


def test_a_beat_that_began_before_the_history_is_not_settled() -> None:
    kept = history()
    early = BeatEvents(0, 3.0, 3.3, 3.9, None, 66.7)
    assert kept.settle(early, (CONTOUR,), MM, CONFIG) is None
    assert BeatHistory(N).settle(events(), (CONTOUR,), MM, CONFIG) is None


def test_the_ring_forgets_the_oldest_frames() -> None:
    kept = BeatHistory(2, capacity=4)
    for i in range(7):
        kept.update(i, int(i * 1e9), np.full((2, 3), i, np.float32))
    assert kept.nearest(2.0) is not None
    assert kept.nearest(1.0) is None
    frame = kept.nearest(5.2)
    assert frame is not None
    assert (frame.seq, frame.t_acq_ns) == (5, 5_000_000_000)
    assert frame.points[0, 0] == 5.0


def test_new_points_start_a_new_history() -> None:
    kept = history()
    kept.reset(5)
    assert kept.nearest(5.1) is None
    kept.update(1, 0, np.zeros((5, 3), np.float32))
