"""Which segments of a settled beat are believed: an unsure end costs its segments their value, not the beat."""

import numpy as np
import pytest
from streams import SIDE, arch

from specktrack.rt.beat import RecordedBeat
from specktrack.rt.config import StrainConfig
from specktrack.rt.contour import resample_contour
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.settle import settled
from specktrack.rt.update import BeatEvents, Group, SettledBeat

T, ES, N = 41, 14, 61
CONTOUR = (Group("contour", "contour", 0, N, 6),)
GEOMETRY = Geometry(SIDE, SIDE, (0.7, 0.7))


def beat(confidence: FloatArray) -> RecordedBeat:
    """A contour that shrinks by a tenth to end-systole and comes back; confidence (N,) of its points throughout."""
    shrunk = 1.0 - 0.1 * np.sin(np.pi * np.clip(np.arange(T) / (2 * ES), 0, 1)) ** 2
    line = resample_contour(arch(), N)
    places = 128 + shrunk[:, None, None] * (line - 128)
    points = np.concatenate((places, np.broadcast_to(confidence[:, None], (T, N, 1))), -1).astype(np.float32)
    seq = np.arange(T)
    return RecordedBeat(BeatEvents(0, 0.0, 0.28, 0.8, 0.6, 75.0), seq, seq * 20_000_000, points, ES, 30)


def measured(confidence: FloatArray, **limits: float) -> SettledBeat:
    return settled(beat(confidence), None, CONTOUR, GEOMETRY, StrainConfig().model_copy(update=limits))


def sure() -> FloatArray:
    return np.ones(N, np.float32)


def test_a_contour_that_is_sure_everywhere_has_strain_in_every_segment() -> None:
    found = measured(sure())
    assert found.accepted
    assert found.segments_why == (None,) * 6
    assert found.segments_percent == pytest.approx((-10.0,) * 6, abs=0.2)


@pytest.mark.parametrize(("border", "silent"), [(0, [0]), (20, [1, 2]), (60, [5])])
def test_an_unsure_end_takes_the_value_of_its_segments_and_leaves_the_line(border: int, silent: list[int]) -> None:
    confidence = sure()
    confidence[max(border - 3, 0) : border + 4] = 0.8
    found = measured(confidence)
    assert found.accepted
    assert found.gls_percent == pytest.approx(-10.0, abs=0.2)
    assert [k for k, value in enumerate(found.segments_percent) if value is None] == silent
    assert all(found.segments_why[k] == "confidence 0.80 at one end" for k in silent)


def test_how_sure_an_end_must_be_is_a_setting() -> None:
    confidence = sure()
    confidence[:4] = 0.8
    assert None not in measured(confidence, min_end_confidence=0.75).segments_percent


def test_two_segments_unsure_all_along_cost_the_beat() -> None:
    confidence = sure()
    confidence[:21] = 0.6
    found = measured(confidence)
    assert not found.accepted
    assert found.gls_percent is None
    assert found.why == "2 of 6 segments rejected"


def test_a_segment_sure_enough_for_the_line_alone_has_no_value_of_its_own() -> None:
    confidence = sure()
    confidence[22:39] = 0.97
    found = measured(confidence)
    assert found.accepted
    assert found.gls_percent == pytest.approx(-10.0, abs=0.2)
    assert [k for k, value in enumerate(found.segments_percent) if value is None] == [2, 3]
    assert found.segments_why[2] == "confidence 0.970: too little for a value of its own"
    assert None not in measured(confidence, min_value_confidence=0.9).segments_percent


def test_a_segment_unsure_at_end_systole_has_no_value_of_its_own() -> None:
    followed = beat(sure())
    followed.points[followed.es_index, 22:39, 2] = 0.85
    found = settled(followed, None, CONTOUR, GEOMETRY, StrainConfig())
    assert found.accepted
    assert [k for k, value in enumerate(found.segments_percent) if value is None] == [2, 3]
    assert found.segments_why[2] == "unsure at end-diastole or end-systole"
