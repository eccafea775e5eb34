"""One stream through the session: points follow the speckle, epochs end them, past frames can be drawn on."""

import numpy as np
import pytest
from streams import arch, frame, grid, shifted, speckle

from specktrack.rt.config import AnchorConfig, SessionConfig, WindowConfig
from specktrack.rt.engine import Engine
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import ControlError
from specktrack.rt.manifest import find_model
from specktrack.rt.session import Session


def specknet() -> Engine:
    return OrtEngine(find_model("specknet-s"), threads=1)


ENGINES = pytest.mark.parametrize("make_engine", [BlockEngine, specknet], ids=["block", "specknet-s"])


def session(engine: Engine | None = None, **settings: object) -> Session:
    return Session("test", SessionConfig(**settings), engine or BlockEngine())


@ENGINES
def test_points_follow_speckle_that_moves_in_a_circle(make_engine: type[Engine]) -> None:
    stream, picture = session(make_engine()), speckle()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(grid(), "points")
    for k in range(1, 25):
        angle = 2 * np.pi * k / 24
        dx, dy = 6 * np.sin(angle), 6 * (1 - np.cos(angle))
        update = stream.update(frame(shifted(picture, dx, dy), k))
        error = np.hypot(*(update.points[:, :2] - grid() - (dx, dy)).T)
        assert error.max() < 1.0, f"frame {k}"
    assert (update.points[:, 2] > 0.5).all()


@ENGINES
def test_a_still_picture_moves_no_point_and_has_no_beat(make_engine: type[Engine]) -> None:
    stream, picture = session(make_engine()), shifted(speckle(), 0, 0)
    stream.update(frame(picture, 0))
    stream.set_points(arch(), "contour")
    updates = [stream.update(frame(picture, k)) for k in range(1, 300)]
    drift = np.hypot(*(updates[-1].points[:, :2] - updates[0].points[:, :2]).T)
    assert drift.max() < 0.05
    assert all(update.phase is None and update.strain is None and not update.beats for update in updates)


def test_a_contour_is_resampled_and_split_and_keeps_its_name() -> None:
    stream = session()
    stream.update(frame(shifted(speckle(), 0, 0), 0))
    put = stream.set_points(arch(), "contour", name="endocardium", segments=6)
    assert put.count == 61
    (group,) = stream.groups
    assert (group.name, group.kind, group.segments) == ("endocardium", "contour", 6)


def test_points_drawn_on_a_past_frame_are_brought_forward_to_now() -> None:
    stream, picture = session(), speckle()
    for k in range(10):
        stream.update(frame(shifted(picture, 2.0 * k, 0), k))
    put = stream.set_points(grid(), "points", seq=4)
    assert put.seq == 4
    update = stream.update(frame(shifted(picture, 20.0, 0), 10))
    np.testing.assert_allclose(update.points[:, 0], grid()[:, 0] + 12.0, atol=1.0)


def test_a_frame_that_has_left_the_window_is_gone() -> None:
    stream = session(window=WindowConfig(frames=8))
    for k in range(20):
        stream.update(frame(shifted(speckle(), 0, 0), k))
    with pytest.raises(ControlError, match=r"frame 3 is not in the window \(12..19\)") as error:
        stream.set_points(grid(), "points", seq=3)
    assert error.value.code == "frame_gone"


def test_points_before_any_frame_are_refused_with_the_remedy() -> None:
    with pytest.raises(ControlError, match="send frames first") as error:
        session().set_points(grid(), "points")
    assert error.value.code == "no_frame"


def test_a_point_outside_the_image_is_named() -> None:
    stream = session()
    stream.update(frame(shifted(speckle(), 0, 0), 0))
    with pytest.raises(ControlError, match=r"point 1 at \(300, 10\) lies outside the 256x256 image"):
        stream.set_points(np.array([[5, 5], [300, 10]], np.float32), "points")


def test_a_new_image_size_starts_a_new_epoch_and_says_so() -> None:
    stream = session()
    stream.update(frame(shifted(speckle(), 0, 0), 0))
    stream.set_points(grid(), "points")
    update = stream.update(frame(np.zeros((200, 300), np.uint8), 1))
    assert update.is_new_epoch
    assert len(update.points) == 0
    assert "set the points again" in update.message


def test_a_second_group_leaves_the_first_where_it_is() -> None:
    stream, picture = session(), speckle()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(grid(2), "points", name="a")
    stream.update(frame(shifted(picture, 3, 0), 1))
    stream.set_points(grid(3), "points", name="b")
    update = stream.update(frame(shifted(picture, 3, 0), 2))
    assert [(g.name, g.first, g.count) for g in update.groups] == [("a", 0, 4), ("b", 4, 9)]
    np.testing.assert_allclose(update.points[:4, 0], grid(2)[:, 0] + 3, atol=0.7)
    np.testing.assert_allclose(update.points[4:, 0], grid(3)[:, 0], atol=0.7)
    stream.clear_points("a")
    assert [(g.name, g.first, g.count) for g in stream.groups] == [("b", 0, 9)]
    with pytest.raises(ControlError, match="no group named a; there are: b"):
        stream.clear_points("a")


def test_re_anchoring_by_hand_counts_and_moves_the_anchor() -> None:
    stream, picture = session(), speckle()
    with pytest.raises(ControlError, match="no points to re-anchor"):
        stream.reanchor()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(grid(), "points")
    stream.update(frame(shifted(picture, 1, 0), 1))
    stream.reanchor()
    update = stream.update(frame(shifted(picture, 2, 0), 2))
    assert update.anchor is not None
    assert (update.anchor.seq, update.anchor.count) == (1, 1)
    assert update.anchor.age_s == pytest.approx(0.02)


def test_after_a_pause_the_points_are_found_again() -> None:
    stream, picture = session(anchor=AnchorConfig(enabled=False)), speckle()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(grid(), "points")
    stream.update(frame(shifted(picture, 0, 0), 1))
    update = stream.update(frame(shifted(picture, 7, -4), 101))  # two seconds later
    np.testing.assert_allclose(update.points[:, :2], grid() + np.array([7, -4]), atol=1.0)


def test_a_point_that_leaves_the_picture_is_lost_not_invented() -> None:
    stream, picture = session(), speckle()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(np.array([[20, 128], [128, 128]], np.float32), "points")
    for k in range(1, 60):
        flat = np.full((256, 256), 40, np.uint8)  # the probe was lifted: nothing to see
        update = stream.update(frame(flat, k))
    assert np.isnan(update.points[:, :2]).all()
    assert (update.points[:, 2] == 0).all()


def test_catching_up_after_an_answer_changes_no_answer() -> None:
    """The daemon does it once the answer is out; a clip leaves it to the next frame."""
    picture, at_once, later = speckle(), session(specknet()), session(specknet())
    for k in range(8):
        pixels = shifted(picture, 2 * np.sin(k / 3), 2 * np.cos(k / 3))
        updates = [each.update(frame(pixels, k)) for each in (at_once, later)]
        np.testing.assert_array_equal(updates[0].points, updates[1].points)
        at_once.catch_up()
        if k == 0:
            for each in (at_once, later):
                each.set_points(grid(), "points")
