"""Dense flow between two frames: read forwards, read backwards, and kept for when a beat is followed once more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from streams import SIDE, frame, grid, shifted, speckle

from specktrack.rt.config import MatchConfig, SessionConfig
from specktrack.rt.dense_flow import DenseEstimator, DenseFlow
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import find_model
from specktrack.rt.region import Region, whole
from specktrack.rt.retrack import Retracking
from specktrack.rt.session import Session
from specktrack.rt.window import WindowEntry

PICTURE = speckle()


def drawn_together(share: float, part: Region) -> DenseFlow:
    """Everything moves towards the middle by a share of its distance."""
    y, x = np.mgrid[part.top : part.bottom, part.left : part.right].astype(np.float32)
    return DenseFlow(np.stack((share * (128 - x), share * (128 - y)), -1), part)


@given(st.floats(-0.15, 0.15))
def test_the_way_back_ends_where_the_way_there_began(share: float) -> None:
    flow = drawn_together(share, whole((SIDE, SIDE)))
    there = grid() + flow.at(grid())
    np.testing.assert_allclose(there + flow.back_at(there), grid(), atol=0.02)


def test_flow_of_a_part_is_read_in_the_coordinates_of_the_whole() -> None:
    part = Region(40, 64, 200, 232)
    np.testing.assert_allclose(drawn_together(0.1, part).at(grid()), 0.1 * (128 - grid()), atol=0.01)


def test_a_lost_point_has_no_flow_in_either_direction() -> None:
    lost = np.array([[np.nan, np.nan], [100, 100]], np.float32)
    flow = drawn_together(0.1, whole((SIDE, SIDE)))
    for found in (flow.at(lost), flow.back_at(lost)):
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1]).all()


def test_a_flow_that_was_kept_is_not_overwritten_by_the_next() -> None:
    estimator = DenseEstimator()
    kept = estimator.estimate(shifted(PICTURE, 0, 0), shifted(PICTURE, 2, 0), grid())
    before = kept.field.copy()
    estimator.estimate(shifted(PICTURE, 2, 0), shifted(PICTURE, 2, 2), grid())
    np.testing.assert_array_equal(kept.field, before)


def circling(k: int) -> NDArray[np.float64]:
    return np.array([5 * np.sin(k / 3), 3 * (1 - np.cos(k / 3))])


def followed_live(engine: OrtEngine, n_frames: int) -> list[WindowEntry]:
    """The window of a session that followed points through a picture going round."""
    stream = Session("test", SessionConfig(), engine)
    stream.update(frame(shifted(PICTURE, *circling(0)), 0))
    stream.set_points(grid(), "points")
    for k in range(1, n_frames):
        stream.update(frame(shifted(PICTURE, *circling(k)), k))
    entries = stream._window.between(0, n_frames - 1)
    assert entries is not None
    return entries


def again(engine: OrtEngine, entries: list[WindowEntry], rest: int) -> FloatArray:
    points = entries[rest].points
    assert points is not None
    retracking = Retracking(engine, MatchConfig(), entries, rest, points)
    while retracking.advance():
        pass
    return retracking.tracks


def test_a_beat_followed_once_more_computes_no_flow_and_finds_the_points_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = OrtEngine(find_model("specknet-s"), threads=1)
    entries = followed_live(engine, 16)
    with monkeypatch.context() as forbidden:
        forbidden.setattr(DenseEstimator, "estimate", None)
        tracks = again(engine, entries, 10)
    truth = np.stack([grid() + circling(k) for k in range(16)])
    assert np.hypot(*np.moveaxis(tracks[..., :2] - truth, -1, 0)).max() < 0.9
    for entry in entries:
        entry.flow = None
    anew = again(engine, entries, 10)
    assert np.median(np.hypot(*np.moveaxis(tracks[..., :2] - anew[..., :2], -1, 0))) < 0.1
