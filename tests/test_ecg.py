"""R waves in streamed ECG: every one found, at the right time, whatever the chunks; none found where there is none."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from specktrack.rt.ecg import RWaveDetector
from specktrack.rt.frame import EcgChunk
from specktrack.training.ecg_signal import RATE_HZ, ecg_of
from specktrack.training.rhythm import Rhythm

SECONDS = 24.0
NEAR_S = 0.05


def chunk(times: NDArray[np.float64], samples: NDArray[np.float64], rate_hz: float = RATE_HZ) -> EcgChunk:
    return EcgChunk(rate_hz, round(times[0] * 1e9), samples.astype(np.float32))


def found(times: NDArray[np.float64], samples: NDArray[np.float64], size: int = 5, rate: float = RATE_HZ) -> np.ndarray:
    detector = RWaveDetector()
    parts = [chunk(times[k : k + size], samples[k : k + size], rate) for k in range(0, len(times), size)]
    return np.array([r_s for part in parts for r_s in detector.update(part)])


def missed_and_false(found_s: np.ndarray, rhythm: Rhythm, until_s: float = SECONDS - 0.5) -> tuple[int, int]:
    true = np.array(rhythm.ed_s)
    inside = true[(true > 0.1) & (true < until_s)]
    missed = sum(np.abs(found_s - t).min(initial=9.0) > NEAR_S for t in inside)
    false = sum(np.abs(true - t).min() > NEAR_S for t in found_s)
    return missed, false


def rhythm(kind: str) -> Rhythm:
    generator = torch.Generator().manual_seed(3)
    if kind == "fibrillation":
        return Rhythm.fibrillating(90.0, SECONDS, 0.2, generator, -0.3)
    if kind == "ectopics":
        return Rhythm.varying(70.0, SECONDS, 0.03, generator, -0.3, 0.2)
    return Rhythm.varying(float(kind), SECONDS, 0.03, generator, -0.3)


@pytest.mark.parametrize("noise_mv", [0.0, 0.12])
@pytest.mark.parametrize("polarity", [1.0, -1.0], ids=["upright", "inverted"])
@pytest.mark.parametrize("kind", ["40", "110", "150", "fibrillation", "ectopics"])
def test_every_r_wave_is_found_within_half_a_frame(kind: str, polarity: float, noise_mv: float) -> None:
    beats = rhythm(kind)
    times, ecg = ecg_of(beats, SECONDS, seed=1)
    noise = np.random.default_rng(2).normal(0.0, noise_mv, len(ecg)) if noise_mv else 0.0
    got = found(times, polarity * ecg + noise)
    assert missed_and_false(got, beats) == (0, 0)
    assert max(np.abs(np.array(beats.ed_s) - t).min() for t in got) < 0.5 / 55.0


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=3, max_size=12))
def test_the_size_of_the_chunks_does_not_matter(sizes: list[int]) -> None:
    times, ecg = ecg_of(rhythm("65"), SECONDS, seed=1)
    detector, at, k, got = RWaveDetector(), 0, 0, []
    while at < len(times):
        size = sizes[k % len(sizes)]
        got += detector.update(chunk(times[at : at + size], ecg[at : at + size]))
        at, k = at + size, k + 1
    np.testing.assert_allclose(got, found(times, ecg), atol=1.5 / RATE_HZ)


def test_r_waves_come_in_order_and_soon() -> None:
    times, ecg = ecg_of(rhythm("65"), SECONDS, seed=1)
    detector, waits, got = RWaveDetector(), [], []
    for k in range(0, len(times), 5):
        new = detector.update(chunk(times[k : k + 5], ecg[k : k + 5]))
        waits += [times[min(k + 4, len(times) - 1)] - r_s for r_s in new]
        got += new
    assert all(b > a for a, b in pairwise(got))
    assert np.median(waits) < 0.2


def test_another_sampling_rate_gives_the_same_r_waves() -> None:
    times, ecg = ecg_of(rhythm("65"), SECONDS, seed=1)
    fine = np.arange(0.0, SECONDS - 0.1, 1.0 / 500.0)
    got = found(fine, np.interp(fine, times, ecg), 9, 500.0)
    np.testing.assert_allclose(got, found(times, ecg)[: len(got)], atol=0.003)


def test_a_tall_t_wave_is_not_an_r_wave() -> None:
    beats = rhythm("65")
    times, ecg = ecg_of(beats, SECONDS, seed=1)
    for k, r_s in enumerate(beats.ed_s[:-1]):
        ecg += 0.7 * np.exp(-0.5 * ((times - beats.end_systole_s(k) + 0.07) / 0.045) ** 2)
        assert r_s < beats.ed_s[k + 1]
    assert missed_and_false(found(times, ecg), beats) == (0, 0)


@pytest.mark.parametrize("scale", [0.0, 0.05])
def test_an_electrode_that_is_off_has_no_r_waves(scale: float) -> None:
    times = np.arange(0.0, SECONDS, 1.0 / RATE_HZ)
    noise = scale * np.random.default_rng(0).normal(size=len(times))
    assert len(found(times, noise)) == 0


def test_after_an_electrode_comes_back_r_waves_are_found_again() -> None:
    beats = rhythm("65")
    times, ecg = ecg_of(beats, SECONDS, seed=1)
    off = (times > 8.0) & (times < 16.0)
    ecg[off] = 0.001 * np.random.default_rng(0).normal(size=off.sum())
    got = found(times, ecg)
    expected = [t for t in beats.ed_s if 20.5 < t < SECONDS - 0.5]
    assert all(np.abs(got - t).min() < NEAR_S for t in expected)


def test_a_weaker_lead_is_learned_within_a_few_beats() -> None:
    beats = rhythm("65")
    times, ecg = ecg_of(beats, SECONDS, seed=1)
    ecg[times > 12.0] *= 0.3
    got = found(times, ecg)
    assert all(np.abs(got - t).min() < NEAR_S for t in beats.ed_s if 17.0 < t < SECONDS - 0.5)


def test_a_short_hole_is_bridged_and_a_long_one_starts_again() -> None:
    beats = rhythm("65")
    times, ecg = ecg_of(beats, SECONDS, seed=1)
    lost = ((times % 1.7) > 1.65) | ((times > 10.0) & (times < 12.0))
    detector, got = RWaveDetector(), []
    for k in range(0, len(times), 5):
        if not lost[k : k + 5].any():
            got += detector.update(chunk(times[k : k + 5], ecg[k : k + 5]))
    away = [t for t in beats.ed_s if 0.1 < t < SECONDS - 1.0 and not 9.5 < t < 12.5 and 0.1 < t % 1.7 < 1.55]
    assert sum(np.abs(np.array(got) - t).min() < NEAR_S for t in away) >= len(away) - 1


def test_samples_sent_twice_count_once() -> None:
    times, ecg = ecg_of(rhythm("65"), SECONDS, seed=1)
    detector, got = RWaveDetector(), []
    for k in range(0, len(times), 5):
        first = max(k - 10, 0)
        got += detector.update(chunk(times[first : k + 5], ecg[first : k + 5]))
    np.testing.assert_allclose(got, found(times, ecg), atol=1e-6)


def test_a_clock_that_jumps_back_starts_again() -> None:
    times, ecg = ecg_of(rhythm("65"), SECONDS, seed=1)
    detector = RWaveDetector()
    detector.update(chunk(times[:2000] + 1000.0, ecg[:2000]))
    got = [r_s for k in range(0, 2000, 5) for r_s in detector.update(chunk(times[k : k + 5], ecg[k : k + 5]))]
    assert got
    assert max(got) < 8.0
