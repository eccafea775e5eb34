"""Several beats made one result: which count, and when they are enough."""

import numpy as np
import pytest

from specktrack.rt.average import average
from specktrack.rt.update import SettledBeat


def beat(gls: float | None, cycle_s: float = 0.9, accepted: bool = True) -> SettledBeat:
    return SettledBeat(
        beat=0,
        seq=np.arange(2),
        t_acq_ns=np.arange(2),
        tracks=np.zeros((2, 0, 3), np.float32),
        ed_index=0,
        es_index=1,
        next_ed_index=1,
        diastasis_index=None,
        heart_rate_bpm=60.0 / cycle_s,
        accepted=accepted,
        gls_percent=gls,
        peak_percent=gls,
        segments_percent=(gls, None),
        strain_percent=np.zeros(2, np.float32),
    )


def test_three_regular_beats_are_a_result() -> None:
    result = average([beat(-18.0), beat(-19.0), beat(-20.0)])
    assert result.gls_percent == pytest.approx(-19.0)
    assert result.sd_percent == pytest.approx(1.0)
    assert result.segments_percent == (pytest.approx(-19.0), None)
    assert (result.n_beats, result.is_enough, result.is_irregular) == (3, True, False)


def test_a_beat_that_was_not_accepted_does_not_count() -> None:
    result = average([beat(-18.0), beat(-5.0, accepted=False), beat(None)])
    assert result.gls_percent == -18.0
    assert (result.n_beats, result.n_left_out, result.is_enough) == (1, 2, False)


def test_a_premature_beat_and_the_pause_after_it_do_not_count() -> None:
    result = average([beat(-18.0)] * 6 + [beat(-9.0, 0.5), beat(-25.0, 1.3)])
    assert result.gls_percent == pytest.approx(-18.0)
    assert result.n_left_out == 2


def test_in_fibrillation_all_beats_count_and_five_are_needed() -> None:
    beats = [beat(-16.0, cycle) for cycle in (0.6, 0.9, 0.75, 1.1)]
    assert average(beats).is_irregular
    assert not average(beats).is_enough
    assert average([*beats, beat(-11.0, 0.8)]).gls_percent == pytest.approx(-15.0)
    assert average([*beats, beat(-11.0, 0.8)]).is_enough


def test_no_beat_is_no_result() -> None:
    result = average([])
    assert (result.gls_percent, result.segments_percent, result.heart_rate_bpm) == (None, (), None)
