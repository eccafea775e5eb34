"""Every frame of a clip has its part of the beat, and the frame to query at is found in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.rt.config import PhaseConfig
from specktrack.training.phases import PHASES, beats, diastasis_frame, fractions_from_ed, frame_at, frame_labels

MODEL = PhaseConfig()
RATE_HZ = 50.0
ONE_SECOND = fractions_from_ed((0, 50), 50)  # one beat at 60 a minute


def test_fractions_run_from_one_end_diastole_to_the_next() -> None:
    found = fractions_from_ed((2, 12), 14)
    np.testing.assert_allclose(found[2:12], np.arange(10) / 10)
    np.testing.assert_allclose(found[[0, 1, 12, 13]], [0.8, 0.9, 0.0, 0.1], atol=1e-6)


def test_uneven_beats_are_each_divided_on_their_own() -> None:
    found = fractions_from_ed((0, 10, 30), 30)
    assert found[5] == pytest.approx(0.5)
    assert found[20] == pytest.approx(0.5)


def test_a_single_end_diastole_tells_nothing() -> None:
    assert np.isnan(fractions_from_ed((3,), 8)).all()


def test_more_than_a_beat_beyond_the_last_end_diastole_nothing_is_known() -> None:
    found = fractions_from_ed((0, 10), 40)
    assert np.isfinite(found[:20]).all()
    assert np.isnan(found[20:]).all()


@given(st.lists(st.integers(0, 59), min_size=2, max_size=5, unique=True), st.just(60))
def test_a_fraction_never_reaches_one(eds: list[int], n_frames: int) -> None:
    known = fractions_from_ed(eds, n_frames)
    known = known[np.isfinite(known)]
    assert ((known >= 0) & (known < 1)).all()


def test_unknown_frames_belong_to_no_beat() -> None:
    fractions = np.array([np.nan, 0.5, 0.6, 0.0, 0.1, np.nan], np.float32)
    assert [beat[:2] for beat in beats(fractions)] == [(1, 3), (3, 5)]
    assert beats(fractions)[0][2] == pytest.approx(10.0)


def test_at_sixty_beats_a_minute_the_parts_follow_the_heart_rate_model() -> None:
    labels = frame_labels(ONE_SECOND, RATE_HZ, (), MODEL)
    starts = [labels.index(phase) / 50 for phase in PHASES]
    np.testing.assert_allclose(starts, [0.0, 0.369, 0.594, 0.90], atol=0.021)  # table of the clinical reference


def test_an_annotated_end_systole_overrules_the_model() -> None:
    labels = frame_labels(ONE_SECOND, RATE_HZ, (25,), MODEL)
    assert labels[24] == "systole"
    assert labels[25] == "early_filling"


def test_a_fast_heart_has_no_diastasis() -> None:
    labels = frame_labels(fractions_from_ed((0, 25), 25), RATE_HZ, (), MODEL)  # 120 a minute
    assert set(labels) == {"systole", "early_filling", "atrial"}


def test_a_clip_without_phase_has_no_parts() -> None:
    assert set(frame_labels(np.full(9, np.nan, np.float32), RATE_HZ, (), MODEL)) == {"unknown"}


def test_the_diastasis_frame_is_in_the_middle_of_diastasis() -> None:
    assert diastasis_frame(ONE_SECOND, RATE_HZ, (), MODEL) == pytest.approx(50 * 0.747, abs=1)


def test_of_two_beats_the_diastasis_nearer_to_the_middle_of_the_clip_is_taken() -> None:
    frame = diastasis_frame(fractions_from_ed((0, 50, 100), 110), RATE_HZ, (), MODEL)
    assert frame == pytest.approx(50 * 0.747, abs=1)


def test_a_beat_that_is_cut_off_before_its_diastasis_is_not_queried() -> None:
    fractions = np.concatenate([ONE_SECOND, ONE_SECOND[:30]])
    frame = diastasis_frame(fractions, RATE_HZ, (), MODEL)
    assert frame == pytest.approx(50 * 0.747, abs=1)


def test_a_fraction_finds_its_frame_and_the_beat_is_a_circle() -> None:
    assert frame_at(ONE_SECOND, 0.5) == 25
    assert frame_at(ONE_SECOND[:40], 0.99) == 0
    assert frame_at(fractions_from_ed((0, 50, 100), 100), 0.1) == 55


def test_without_phase_no_frame_is_found() -> None:
    unknown = np.full(9, np.nan, np.float32)
    assert frame_at(unknown, 0.5) is None
    assert diastasis_frame(unknown, RATE_HZ, (), MODEL) is None
