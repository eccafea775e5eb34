import numpy as np
import pytest

from specktrack.rt.latency import LatencyMeter, RateMeter


def test_percentiles_are_those_of_the_frames() -> None:
    meter = LatencyMeter()
    times_ms = np.random.default_rng(0).permutation(1000).astype(np.float32)
    for seq, ms in enumerate(times_ms):
        meter.update(seq, {"total": float(ms), "match": 1.0})

    summary = meter.summary()

    assert summary is not None
    assert summary.p50_ms == pytest.approx(np.percentile(times_ms, 50))
    assert summary.p99_ms == pytest.approx(np.percentile(times_ms, 99))
    assert (summary.max_ms, summary.max_seq) == (999.0, int(times_ms.argmax()))
    assert meter.summary("match").max_ms == 1.0  # type: ignore[union-attr]


def test_old_frames_are_forgotten() -> None:
    meter = LatencyMeter(capacity=10)
    for seq in range(25):
        meter.update(seq, {"total": 100.0 if seq < 15 else 1.0})

    summary = meter.summary()

    assert len(meter) == 10
    assert summary is not None
    assert summary.max_ms == 1.0
    assert summary.max_seq >= 15


def test_no_frame_has_no_latency() -> None:
    meter = LatencyMeter()
    assert meter.summary() is None
    meter.update(1, {"total": 1.0})
    meter.reset()
    assert meter.summary() is None


def test_frames_every_20_ms_are_50_a_second_however_many_there_were() -> None:
    for n_frames in (2, 63, 64, 65, 500):
        meter = RateMeter(capacity=64)
        for k in range(n_frames):
            meter.update(10.0 + 0.02 * k)
        assert meter.rate_hz == pytest.approx(50.0)


def test_one_frame_has_no_rate() -> None:
    meter = RateMeter()
    meter.update(1.0)
    assert meter.rate_hz is None
    meter.update(1.0)
    assert meter.rate_hz is None
