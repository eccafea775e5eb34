"""The judge of the phase: it must notice late events, doubles, halves and silence, and eval-phase must go on."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from specktrack.rt.update import BeatEvents
from specktrack.training import phase_evaluate
from specktrack.training.ecg_signal import RATE_HZ
from specktrack.training.phase_config import Group, PhaseEvalConfig
from specktrack.training.phase_report import figures
from specktrack.training.phase_score import PhaseScore, Truth, score_phase
from specktrack.training.play import Trace, frames_of
from specktrack.training.recordings import recordings_of, render

FRAME_S = 1.0 / 50.0
ED = np.arange(0.2, 12.0, 0.8)
TRUTH = Truth(ED, ED[:-1] + 0.3)


def told(ed_s: np.ndarray, es_after_s: float = 0.3, locked_from_s: float = 1.8) -> Trace:
    """A trace of someone who says that beats begin at ed_s."""
    time_s = np.arange(0.0, 10.0, FRAME_S)
    beat = np.clip(np.searchsorted(ed_s, time_s, side="right") - 1, 0, len(ed_s) - 2)
    cycles = np.diff(ed_s)[beat]
    events = [
        BeatEvents(k, float(a), float(a) + es_after_s, float(b), None, 60.0 / float(b - a))
        for k, (a, b) in enumerate(pairwise(ed_s))
        if locked_from_s < b < 9.85
    ]
    return Trace(
        time_s=time_s,
        fraction=np.clip((time_s - ed_s[beat]) / cycles, 0.0, 0.999),
        beat=beat,
        rate_bpm=60.0 / cycles,
        is_locked=time_s >= locked_from_s,
        announced_s=np.array([event.next_ed_s + 0.1 for event in events]),
        beats=tuple(events),
    )


def test_who_is_right_has_no_errors() -> None:
    score = score_phase(told(ED), TRUTH, FRAME_S)
    assert max(np.abs(score.ed_frames)) < 1e-9
    assert max(np.abs(score.es_frames)) < 1e-9
    assert max(np.abs(score.cycle_ms)) < 1e-6
    assert (score.n_wrong, score.n_wrong_rate, score.n_unlocked) == (0, 0, 0)
    assert score.n_found == score.n_true > 8
    assert score.is_locked_in_time
    assert np.allclose(score.delay_s, 0.1)
    assert max(score.phase_percent) < 1.0


def test_late_events_are_late_by_so_many_frames() -> None:
    score = score_phase(told(ED + 2 * FRAME_S, 0.3 + FRAME_S), TRUTH, FRAME_S)
    assert np.allclose(score.ed_frames, 2.0)
    assert np.allclose(score.es_frames, 3.0)


def test_a_double_rate_is_noticed() -> None:
    twice = np.sort(np.concatenate((ED, ED[:-1] + 0.4)))
    score = score_phase(told(twice), TRUTH, FRAME_S)
    assert score.n_wrong_rate == score.n_true
    assert score.n_wrong > 8


def test_a_half_rate_is_noticed() -> None:
    score = score_phase(told(ED[::2]), TRUTH, FRAME_S)
    assert score.n_wrong_rate == score.n_true
    assert score.n_found == 0


def test_who_says_nothing_is_never_locked_and_who_is_late_is_not_in_time() -> None:
    silent = score_phase(told(ED, locked_from_s=99.0), TRUTH, FRAME_S)
    late = score_phase(told(ED, locked_from_s=4.0), TRUTH, FRAME_S)
    assert not silent.is_locked_at_all
    assert late.is_locked_at_all
    assert not late.is_locked_in_time


def test_figures_of_nothing_are_unknown() -> None:
    assert figures([PhaseScore()]).ed_frames is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> PhaseEvalConfig:
    folder = tmp_path_factory.mktemp("phase")
    group = Group(name="quick", rates_bpm=(110.0,), seconds=2.6, frame_rate_hz=50.0, playings=("picture", "ecg"))
    return PhaseEvalConfig(
        groups=(group,), model="block", size_px=96, recordings=str(folder / "recordings"), out=str(folder / "report")
    )


def test_an_evaluation_writes_its_report_and_goes_on_where_it_was(
    small: PhaseEvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = phase_evaluate.measure(small)
    assert [j.playing for j in first] == ["picture", "ecg"]
    report = json.loads((Path(small.out) / "phase.json").read_text())
    assert report["missing"] == 0
    assert {group["playing"] for group in report["groups"]} == {"picture", "ecg"}
    assert "| quick, ecg | 1 |" in (Path(small.out) / "phase.md").read_text()
    monkeypatch.setattr(phase_evaluate, "play", lambda *_: pytest.fail("played again"))
    assert phase_evaluate.measure(small) == first


def test_a_playing_is_what_it_says(small: PhaseEvalConfig) -> None:
    recording = next(recordings_of(small))
    clip = render(recording, Path(small.recordings))
    plain, fewer = (frames_of(clip, recording, playing, small) for playing in ("image", "drops"))
    assert len(plain) == len(clip.frames) == 130
    assert 0.65 < len(fewer) / len(plain) < 0.95
    assert all(a.ecg is None and a.r_waves_ns is None for a in plain)
    waves = [r for a in frames_of(clip, recording, "trigger", small) for r in a.r_waves_ns or ()]
    assert waves == [round(t * 1e9) for t in recording.ed_s if t < recording.duration_s - 0.06]
    chunks = [a.ecg for a in frames_of(clip, recording, "ecg", small) if a.ecg]
    assert sum(len(chunk.samples) for chunk in chunks) == pytest.approx(recording.duration_s * RATE_HZ, abs=2)


def test_the_true_length_of_the_wall_is_longest_at_end_diastole(small: PhaseEvalConfig) -> None:
    recording = next(recordings_of(small))
    clip = render(recording, Path(small.recordings))
    length = np.hypot(*np.moveaxis(np.diff(clip.tracks, axis=0), -1, 0)).sum(0)
    for ed_s in recording.ed_s:
        near = length[int(max(ed_s * 50.0 - 8, 0)) : int(ed_s * 50.0) + 9]
        assert length[min(round(ed_s * 50.0), len(length) - 1)] > near.max() - 0.35 * np.ptp(length)
