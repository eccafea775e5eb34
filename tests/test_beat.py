"""The frames of a stream remembered, and those of one beat cut out."""

import numpy as np

from specktrack.rt.beat import BeatHistory
from specktrack.rt.update import BeatEvents

FPS = 55.0
BEAT_S = 0.9


def history(frames: int = 60, n_points: int = 2) -> BeatHistory:
    """Frames from t = 5 s on, numbered from 100, every point at (number, number)."""
    kept = BeatHistory(n_points)
    for i in range(frames):
        kept.update(100 + i, int((5.0 + i / FPS) * 1e9), np.full((n_points, 3), i, np.float32))
    return kept


def events(diastasis_s: float | None = 5.75) -> BeatEvents:
    return BeatEvents(3, 5.0, 5.36, 5.0 + BEAT_S, diastasis_s, 66.7)


def test_a_beat_is_cut_from_one_end_diastole_to_the_next() -> None:
    beat = history().cut(events())
    assert beat is not None
    assert (beat.seq[0], beat.seq[-1]) == (100, 100 + round(BEAT_S * FPS))
    assert beat.seq[beat.es_index] == 100 + round(0.36 * FPS)
    assert beat.rest_index == round(0.75 * FPS)
    assert beat.points.shape == (len(beat.seq), 2, 3)


def test_a_beat_without_a_calm_moment_has_none() -> None:
    beat = history().cut(events(diastasis_s=None))
    assert beat is not None
    assert beat.rest_index is None


def test_a_beat_that_began_before_the_history_is_not_cut() -> None:
    assert history().cut(BeatEvents(0, 3.0, 3.3, 3.9, None, 66.7)) is None
    assert BeatHistory(2).cut(events()) is None


def at(kept: BeatHistory, frame: int) -> np.ndarray:
    found = kept.nearest(5.0 + frame / FPS)
    assert found is not None
    return found.points - frame


def test_drift_found_late_is_told_to_the_frames_that_have_it() -> None:
    kept = history()
    kept.correct(110, np.array([[1.0, -2.0], [0.0, 0.0]], np.float32))
    for frame in (10, 11, 59):
        np.testing.assert_allclose(at(kept, frame), [[1, -2, 0], [0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(at(kept, 5)[0], [0.5, -1.0, 0.0], atol=0.02)  # half of it had grown by then
    np.testing.assert_allclose(at(kept, 0)[0], [0.0, 0.0, 0.0], atol=1e-4)


def test_drift_grows_from_where_it_was_found_the_last_time() -> None:
    kept = history()
    kept.correct(110, np.zeros((2, 2), np.float32))
    kept.correct(130, np.full((2, 2), 4.0, np.float32))
    assert [round(float(at(kept, frame)[0, 0]), 1) for frame in (8, 10, 20, 30, 40)] == [0.0, 0.0, 2.0, 4.0, 4.0]


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
