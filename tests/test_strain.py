"""Strain: the reference vectors of the clinical notes, and what must never change it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specktrack.rt import strain
from specktrack.rt.config import StrainConfig
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.strain import StrainMeter

SURE = np.ones(61, np.float32)


def half_ellipse(n: int, short: float, long: float) -> np.ndarray:
    angle = np.linspace(0.0, np.pi, n)
    return np.stack([short * np.cos(angle), long * np.sin(angle)], axis=1).astype(np.float32)


ED, ES = half_ellipse(61, 25, 90), half_ellipse(61, 18, 76)


def meter_at_ed(points: np.ndarray = ED) -> StrainMeter:
    meter = StrainMeter(StrainConfig(), len(points))
    meter.set_reference(points, np.ones(len(points), np.float32), 0.0)
    return meter


def read(meter: StrainMeter, points: np.ndarray, time_s: float = 0.1) -> float:
    sample = meter.update(points, np.ones(len(points), np.float32), time_s)
    assert sample is not None
    return sample.global_percent


def twitch(t: np.ndarray) -> np.ndarray:
    return np.where(t <= 0.72, -20.0 * np.sin(np.pi * t / 0.72) ** 2, 0.0)


# V1
@pytest.mark.parametrize(
    ("lagrangian", "natural"),
    [(-10, -10.5361), (-16, -17.4353), (-18, -19.8451), (-20, -22.3144), (-25, -28.7682), (10, 9.5310), (40, 33.6472)],
)
def test_lagrangian_and_natural_strain_convert_both_ways(lagrangian: float, natural: float) -> None:
    assert strain.natural_percent(lagrangian) == pytest.approx(natural, abs=5e-5)
    assert strain.lagrangian_from_natural_percent(natural) == pytest.approx(lagrangian, abs=5e-4)


# V2
@pytest.mark.parametrize(("n", "expected"), [(7, -16.9922), (13, -17.0433), (19, -17.0448), (31, -17.0449)])
def test_a_half_ellipse_has_its_known_strain_at_every_sampling(n: int, expected: float) -> None:
    lengths = [strain.contour_length(half_ellipse(n, *axes).astype(np.float64)) for axes in ((25, 90), (18, 76))]
    assert strain.lagrangian_percent(lengths[1], lengths[0]) == pytest.approx(expected, abs=2e-4)


def test_the_meter_reads_the_half_ellipse() -> None:
    assert read(meter_at_ed(), ES) == pytest.approx(-17.045, abs=0.02)


# V2b
@pytest.mark.parametrize(("depth", "expected"), [((0, 0), -17.045), ((4.5, 6.5), -13.310), ((9, 13), -9.889)])
def test_strain_weakens_from_the_inner_to_the_outer_layer(depth: tuple[float, float], expected: float) -> None:
    meter = meter_at_ed(half_ellipse(61, 25 + depth[0], 90 + depth[0]))
    assert read(meter, half_ellipse(61, 18 + depth[1], 76 + depth[1])) == pytest.approx(expected, abs=0.02)


# V3
def test_the_whole_line_is_the_length_weighted_mean_of_its_segments() -> None:
    at_ed, now = np.array([10.0, 20.0, 30.0]), np.array([9.0, 16.0, 21.0])
    each = strain.lagrangian_percent(now, at_ed)
    assert each.mean() == pytest.approx(-20.0)
    assert strain.global_percent(now, at_ed, np.ones(3, bool)) == pytest.approx(-23.3333, abs=1e-4)
    assert np.average(each, weights=at_ed) == pytest.approx(-23.3333, abs=1e-4)


# V4
def test_the_post_systolic_index_is_the_share_gained_after_end_systole() -> None:
    assert strain.post_systolic_index_percent(-15.0, -18.0) == pytest.approx(16.6667, abs=1e-4)
    assert strain.post_systolic_index_percent(1.0, 0.5) == 0.0


# V5
def test_a_linear_drift_of_strain_is_taken_out_exactly() -> None:
    t = np.linspace(0.0, 1.0, 101)
    drifting = twitch(t) + 3.0 * t
    corrected, removed = strain.compensate_drift(t, drifting, 1.0)
    assert drifting.min() == pytest.approx(-18.92, abs=0.005)
    assert corrected.min() == pytest.approx(-20.0, abs=1e-9)
    assert np.abs(corrected - twitch(t)).max() < 1e-12
    assert removed == pytest.approx(3.0)


def test_a_drift_of_length_is_taken_out_only_nearly() -> None:
    t = np.linspace(0.0, 1.0, 101)
    stretched = 100.0 * ((1.0 + twitch(t) / 100.0) * (1.0 + 0.03 * t) - 1.0)
    assert strain.compensate_drift(t, stretched, 1.0)[0].min() == pytest.approx(-20.216, abs=5e-4)


# V7
@pytest.mark.parametrize(("n", "half_mm", "one_mm"), [(13, -16.92, -16.44), (31, -16.17, -13.33), (61, -13.30, -2.17)])
def test_the_more_points_a_polyline_has_the_more_jitter_spoils_it(n: int, half_mm: float, one_mm: float) -> None:
    rng = np.random.default_rng(5)
    at_ed, at_es = (half_ellipse(n, *axes).astype(np.float64) for axes in ((25, 90), (18, 76)))
    for jitter_mm, expected in ((0.5, half_mm), (1.0, one_mm)):
        noisy = [strain.contour_length(at_es + rng.normal(0, jitter_mm, at_es.shape)) for _ in range(2000)]
        assert np.mean(strain.lagrangian_percent(np.array(noisy), strain.contour_length(at_ed))) == pytest.approx(
            expected, abs=0.12
        )


@pytest.mark.parametrize(("jitter_mm", "dense"), [(0.5, -13.30), (1.0, -2.17)])
def test_jitter_spoils_the_dense_polyline_but_not_the_smoothed_contour(jitter_mm: float, dense: float) -> None:
    rng = np.random.default_rng(7)
    meter = meter_at_ed()
    noisy = [ES + rng.normal(0, jitter_mm, ES.shape).astype(np.float32) for _ in range(300)]
    raw = [100 * (strain.contour_length(p.astype(np.float64)) / 195.3835 - 1) for p in noisy]
    read_by_meter = [read(meter, p) for p in noisy]
    assert np.mean(raw) == pytest.approx(dense, abs=0.3)
    assert np.mean(read_by_meter) == pytest.approx(-17.045, abs=0.1 if jitter_mm < 1 else 0.3)
    assert np.std(read_by_meter) < 0.9 * jitter_mm


# V8
@pytest.mark.parametrize(
    ("late", "es", "ed"), [(1, -19.79, -19.90), (2, -19.40, -19.65), (3, -18.80, -19.23), (4, -18.02, -18.64)]
)
def test_events_a_few_frames_late_weaken_the_strain(late: int, es: float, ed: float) -> None:
    t = np.arange(61) / 60.0
    curve = twitch(t)
    assert strain.end_systolic_percent(t, curve, t[curve.argmin()] + late / 60.0) == pytest.approx(es, abs=0.005)
    rebased = strain.lagrangian_percent(1.0 + curve / 100.0, 1.0 + curve[late] / 100.0)
    assert rebased[curve.argmin()] == pytest.approx(ed, abs=0.005)


def test_the_kernel_equals_its_numpy_twin() -> None:
    rng = np.random.default_rng(3)
    contour, bounds = rng.normal(0, 30, (61, 2)), np.arange(0, 61, 10)
    np.testing.assert_allclose(
        strain.segment_lengths(contour, bounds), strain.segment_lengths_numpy(contour, bounds), rtol=1e-12
    )
    assert strain.contour_length(contour) == pytest.approx(strain.segment_lengths_numpy(contour, bounds).sum())


def test_a_lost_point_makes_a_length_unknown() -> None:
    assert math.isnan(strain.contour_length(np.array([[0.0, 0.0], [np.nan, 1.0], [2.0, 2.0]])))


@settings(max_examples=40, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-300, 300), st.floats(-300, 300))
def test_shifting_and_turning_the_heart_do_not_change_strain(angle: float, dx: float, dy: float) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (ES @ turn.T + [dx, dy]).astype(np.float32)
    assert read(meter_at_ed(), moved) == pytest.approx(read(meter_at_ed(), ES), abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 1.5))
def test_a_uniform_shrink_by_k_reads_a_hundred_times_k_minus_one(k: float) -> None:
    assert read(meter_at_ed(), (k * ED).astype(np.float32)) == pytest.approx(100 * (k - 1), abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(25, 120))
def test_the_frame_rate_does_not_change_strain(rate_hz: float) -> None:
    meter = meter_at_ed()
    times = np.arange(0.0, 0.3, 1 / rate_hz)
    last = [read(meter, (1 - 0.5 * t) * ED, t) for t in times][-1]
    assert last == pytest.approx(-50.0 * times[-1], abs=1e-3)


def test_strain_at_the_reference_is_zero() -> None:
    assert read(meter_at_ed(), ED) == 0.0


def test_there_is_no_strain_before_end_diastole_is_known() -> None:
    meter = StrainMeter(StrainConfig(), 61)
    assert not meter.has_reference
    assert meter.update(ED, SURE, 0.0) is None
    meter.set_reference(ED, SURE, 0.0)
    assert meter.has_reference
    meter.reset()
    assert meter.update(ED, SURE, 0.1) is None


def test_the_rate_of_a_steadily_shortening_wall_is_its_slope() -> None:
    meter = meter_at_ed()
    samples = [meter.update(((1 - 1.1 * t) * ED).astype(np.float32), SURE, t) for t in np.arange(8) / 55.0]
    assert samples[-1] is not None
    assert samples[-1].rate_per_s == pytest.approx(-1.1, abs=1e-3)
    assert samples[-1].since_ed_s == pytest.approx(7 / 55)
    assert samples[0] is not None
    assert samples[0].rate_per_s is None


def test_the_rate_survives_a_new_reference() -> None:
    meter = meter_at_ed()
    for t in np.arange(8) / 55.0:
        meter.update(((1 - 1.1 * t) * ED).astype(np.float32), SURE, t)
    meter.set_reference((0.9 * ED).astype(np.float32), SURE, 0.1)
    sample = meter.update(((1 - 1.1 * 8 / 55) * ED).astype(np.float32), SURE, 8 / 55)
    assert sample is not None
    assert sample.rate_per_s == pytest.approx(-1.1 / 0.9, abs=2e-3)


def test_one_lost_segment_is_named_and_the_rest_still_speaks() -> None:
    gone = (0.8 * ED).astype(np.float32)
    gone[22:27] = np.nan
    sample = meter_at_ed().update(gone, SURE, 0.1)
    assert sample is not None
    assert [s is None for s in sample.segments_percent] == [False, False, True, False, False, False]
    assert sample.global_percent == pytest.approx(-20.0, abs=0.05)


def test_two_lost_segments_leave_no_global_strain() -> None:
    gone = (0.8 * ED).astype(np.float32)
    gone[12:28] = np.nan
    sample = meter_at_ed().update(gone, SURE, 0.1)
    assert sample is not None
    assert math.isnan(sample.global_percent)
    assert sample.rate_per_s is None


def test_the_peak_may_come_after_end_systole() -> None:
    t = np.linspace(0, 1, 101)
    curve = -18.0 * np.sin(np.pi * t) ** 2
    assert strain.peak_percent(curve) == pytest.approx(-18.0)
    assert strain.end_systolic_percent(t, curve, 0.4) == pytest.approx(-16.28, abs=0.01)
    assert math.isnan(strain.peak_percent(np.full(3, np.nan)))


def test_mapse_is_how_far_the_bases_move_towards_the_apex() -> None:
    ed = half_ellipse(61, 25, 90).astype(np.float64)
    es = ed.copy()
    es[[0, -1], 1] += 12.0
    along = 90.0 / np.hypot(25.0, 90.0)
    assert strain.mapse_mm(ed, es) == pytest.approx(12.0 * along, abs=0.05)
    assert strain.mapse_mm(ed, ed) == 0.0
    es[0] = np.nan
    assert math.isnan(strain.mapse_mm(ed, es))


def test_the_length_for_the_phase_is_none_when_a_segment_is_lost() -> None:
    meter = StrainMeter(StrainConfig(), 61)
    assert meter.length(ED, SURE) == pytest.approx(194.82, abs=0.05)  # of the chords between 13 knots
    gone = ED.copy()
    gone[22:27] = np.nan
    assert meter.length(gone, SURE) is None


def test_warming_up_compiles_the_kernels_without_a_frame() -> None:
    strain.warm_up()
    assert ContourSmoother(61, 13, 6).bounds[-1] == 12
