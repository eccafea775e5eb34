"""What a tracker did on a clip: perfect tracks are perfect in every part, and the order of points means nothing."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_clips import moving_dots

from specktrack.rt.geometry import FloatArray
from specktrack.training.cases import Case
from specktrack.training.follow import Followed
from specktrack.training.metrics import Accuracy
from specktrack.training.peak_memory import PeakMemory
from specktrack.training.score import ClipScore, score
from specktrack.training.summary import summarise

N_FRAMES = 12
LABELS = ("systole",) * 4 + ("early_filling",) * 3 + ("diastasis",) * 3 + ("atrial",) * 2
NO_MEMORY = PeakMemory(host_mb=None, device_mb=None)


def beating_contour() -> FloatArray:
    """A half ellipse (31, T, 2) that is shortest in frame 4."""
    angle = np.linspace(0, np.pi, 31)
    size = 1 - 0.2 * np.exp(-0.5 * ((np.arange(N_FRAMES) - 4) / 2) ** 2)
    line = np.stack([20 * np.cos(angle), 40 * np.sin(angle)], 1)
    return np.asarray(40 + size[None, :, None] * line[:, None], np.float32)


def heart(query_frame: int = 8) -> Case:
    """A small clip with everything that can be known of it."""
    clip = moving_dots(n_frames=N_FRAMES, n_points=8)
    return Case(
        name="heart",
        frames=clip.frames,
        truth=clip.tracks,
        visible=clip.visible,
        query_frame=query_frame,
        view="a4c",
        mm_per_px=(0.5, 0.5),
        labels=LABELS,
        wall_depth=np.array([0.0, 0.2, 0.4, 0.5, 0.8, 1.0, np.nan, np.nan], np.float32),
        contour=beating_contour(),
        ed_frames=(0, 11),
        es_frames=(4,),
    )


def followed(case: Case, off_px: FloatArray | float = 0.0, confidence: float = 0.9) -> Followed:
    assert case.contour is not None
    tracks = np.concatenate((case.truth, case.contour)).copy()
    tracks[: len(case.truth), :, 0] += off_px
    return Followed(tracks, np.full(tracks.shape[:2], confidence, np.float32), 5.0)


def all_parts(found: ClipScore) -> list[Accuracy]:
    return [found.overall, *found.by_phase.values(), *found.by_layer.values(), *found.by_distance.values()]


def numbers(part: Accuracy) -> list[float]:
    within, *others = astuple(part)
    return [*within, *others]


def test_perfect_tracks_are_perfect_in_every_part() -> None:
    found = score(heart(), followed(heart()))
    assert (len(found.by_phase), len(found.by_layer), len(found.by_distance)) == (4, 4, 2)
    for part in all_parts(found):
        assert part.average == part.survival_16 == part.survival_50 == 1.0
        assert part.median_trajectory_error_px == part.median_trajectory_error_mm == part.p95_mm == 0.0
    assert set(found.error_at_distance_px) == {0.0}
    assert found.gls is not None
    assert found.gls.truth < -15
    summary = summarise("perfect", [found, found], NO_MEMORY)
    assert summary.gls is not None
    assert (summary.gls.bias, summary.gls.sd, summary.gls.mad) == pytest.approx((0, 0, 0), abs=1e-9)  # rounding


def test_an_error_in_one_part_shows_in_that_part_alone() -> None:
    case = heart()
    off = np.zeros(case.visible.shape, np.float32)
    off[:, np.array(LABELS) == "systole"] = 30.0  # of 96 pixels across: 80 px at 256
    found = score(case, followed(case, off))
    assert found.by_phase["systole"].average == 0.0
    assert found.by_phase["diastasis"].average == 1.0
    assert found.by_phase["systole"].survival_50 == 0.0


def test_layers_are_thirds_of_the_wall() -> None:
    case = heart()
    off = np.zeros(case.visible.shape, np.float32)
    off[2:4] = 1.0  # depths 0.4 and 0.5
    found = score(case, followed(case, off))
    assert found.by_layer["middle third"].median_trajectory_error_mm == pytest.approx(0.5)
    assert found.by_layer["endocardial third"].median_trajectory_error_mm == 0.0
    assert found.by_layer["epicardial third"].median_trajectory_error_mm == 0.0
    assert found.by_layer["other tissue"].median_trajectory_error_mm == 0.0


def test_errors_are_kept_by_their_distance_from_the_query_on_both_sides() -> None:
    case = heart(query_frame=8)
    off = 0.75 * np.abs(np.arange(N_FRAMES) - 8) * np.ones(case.visible.shape)
    found = score(case, followed(case, off.astype(np.float32)))
    np.testing.assert_allclose(found.error_at_distance_px, 2.0 * np.arange(1, 9), rtol=1e-4)


def test_confidence_is_counted_against_four_pixels_without_the_query_frame() -> None:
    case = heart()
    off = np.zeros(case.visible.shape, np.float32)
    off[:2] = 10.0
    found = score(case, followed(case, off, confidence=0.85)).reliability
    assert found is not None
    n_positions = 8 * (N_FRAMES - 1)
    assert found.counts[8] == found.confident == n_positions
    assert found.good[8] == found.confident_good == n_positions * 6 // 8
    assert sum(found.counts) == n_positions


def test_exactly_eighty_percent_is_not_above_it() -> None:
    found = score(heart(), followed(heart(), confidence=0.8)).reliability
    assert found is not None
    assert found.confident == 0


def test_a_tracker_without_confidence_is_not_judged_on_it() -> None:
    sure = followed(heart())
    assert score(heart(), replace(sure, confidence=None)).reliability is None


def test_a_clip_without_phase_layers_and_contour_has_only_the_common_figures() -> None:
    case = replace(heart(), labels=(), wall_depth=None, contour=None, mm_per_px=None, view="")
    found = score(case, Followed(case.truth, None, 5.0))
    assert (found.by_phase, found.by_layer, found.gls, found.view) == ({}, {}, None, "unknown")
    assert np.isnan(found.overall.p95_mm)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_points_changes_no_figure(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = heart(query_frame=int(rng.integers(N_FRAMES)))
    case = replace(case, visible=case.visible & (rng.random(case.visible.shape) < 0.9))
    assert case.wall_depth is not None
    run = followed(case, rng.normal(0, 4, case.visible.shape).astype(np.float32))
    n, order = len(case.truth), rng.permutation(len(case.truth))
    shuffled = replace(case, truth=case.truth[order], visible=case.visible[order], wall_depth=case.wall_depth[order])
    assert run.confidence is not None
    confidence = np.concatenate((run.confidence[:n][order], run.confidence[n:]))
    other = score(shuffled, Followed(np.concatenate((run.tracks[:n][order], run.tracks[n:])), confidence, 5.0))
    one = score(case, run)
    for a, b in zip(all_parts(one), all_parts(other), strict=True):
        assert numbers(b) == pytest.approx(numbers(a), rel=1e-5)
    assert other.gls == one.gls
    assert other.reliability == one.reliability
    assert other.error_at_distance_px == pytest.approx(one.error_at_distance_px, nan_ok=True)


def test_a_score_survives_the_way_to_disk_and_back() -> None:
    case = replace(heart(), mm_per_px=None)
    lost = followed(case)
    lost.tracks[0, 3:] = np.nan
    one = score(case, lost)
    other = ClipScore.model_validate_json(one.model_dump_json(), strict=False)
    assert other.overall.median_trajectory_error_px == one.overall.median_trajectory_error_px == np.inf
    assert np.isnan(other.overall.p95_mm)
    assert other.gls == one.gls


def test_clips_count_the_same_and_views_are_told_apart() -> None:
    good = score(heart(), followed(heart()))
    off = np.full(heart().visible.shape, 96 * 100 / 256, np.float32)
    bad = score(replace(heart(), view="rv"), followed(heart(), off))
    summary = summarise("so-so", [good, good, bad], NO_MEMORY)
    assert summary.overall.average == pytest.approx(2 / 3)
    assert {view: (part.accuracy.average, part.n_clips) for view, part in summary.by_view.items()} == {
        "a4c": (1.0, 2),
        "rv": (0.0, 1),
    }
