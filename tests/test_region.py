"""Only the surroundings of the points are encoded: nothing that is said about them changes by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from streams import SIDE, arch, frame, grid, shifted, speckle

from specktrack.rt.config import SessionConfig
from specktrack.rt.engine import EncodesParts, Engine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.feature_matcher import PartMaps
from specktrack.rt.geometry import FloatArray
from specktrack.rt.manifest import find_model
from specktrack.rt.motion import PointFlow
from specktrack.rt.position import inside, soft_argmax
from specktrack.rt.region import MARGIN_UNITS, STEP, Region, Surroundings, surroundings, whole
from specktrack.rt.session import Session

SIZE = (SIDE, SIDE)
coordinate = st.floats(-20, SIDE + 20, width=32)
some_points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=8)


class Watched(OrtEngine):
    """SpeckNet that keeps a list of the parts it was asked for."""

    def __init__(self, encodes_all: bool = False) -> None:
        super().__init__(find_model("specknet-s"), threads=1)
        self.parts: list[Region] = []
        self._encodes_all = encodes_all

    def encode_part(self, image: NDArray[np.uint8], part: Region) -> PartMaps:
        self.parts.append(part)
        return super().encode_part(image, whole(SIZE) if self._encodes_all else part)


@given(some_points, st.floats(0, 60))
def test_every_point_of_the_picture_keeps_its_distance_from_the_border_of_its_part(
    places: list[tuple[float, float]], margin: float
) -> None:
    points = np.array(places, np.float32)
    part = surroundings(points, SIZE, margin)
    assert whole(SIZE).covers(part)
    assert all(edge % STEP == 0 for edge in (part.top, part.left, part.bottom, part.right))
    inside = points[((points >= 0) & (points <= SIDE - 1)).all(axis=1)]
    wanted_low, wanted_high = np.maximum(inside - margin, 0), np.minimum(inside + margin, SIDE - 1)
    if part != whole(SIZE):
        assert (wanted_low >= (part.left, part.top)).all()
        assert (wanted_high <= (part.right, part.bottom)).all()


def test_a_lost_point_wants_nothing_and_where_all_are_lost_the_whole_picture_is_seen() -> None:
    lost = np.full((2, 2), np.nan, np.float32)
    assert surroundings(np.concatenate((grid(), lost)), SIZE, 40) == surroundings(grid(), SIZE, 40)
    assert surroundings(lost, SIZE, 40) == whole(SIZE)


@pytest.mark.parametrize("x", [-200.0, -28.0, -1.0, 255.0, 290.0])
def test_points_that_leave_the_picture_are_still_looked_at_in_something(x: float) -> None:
    points = np.array([[x, 100.0], [x, 140.0]], np.float32)
    part = Surroundings(SIZE).around(points)
    assert whole(SIZE).covers(part)
    assert min(part.bottom - part.top, part.right - part.left) >= 32
    flow, picture = PointFlow(), speckle()
    flow.update(shifted(picture, 0, 0), points)
    assert flow.update(shifted(picture, 1, 0), points) is not None


def test_a_part_stays_while_the_heart_beats_in_it_and_goes_along_when_the_probe_moves() -> None:
    follower = Surroundings(SIZE)
    heart = 0.5 * (grid() - 128) + (100, 128)
    first = follower.around(heart)
    assert all(follower.around(heart + 3 * np.sin(k)) == first for k in range(20))
    moved = heart + np.array((40, 0))
    last = follower.around(moved)
    assert last != first
    assert last.covers(surroundings(moved, SIZE, MARGIN_UNITS))


def test_points_spread_over_the_picture_have_all_of_it() -> None:
    assert Surroundings(SIZE).around(grid(low=20, high=236)) == whole(SIZE)


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_features_of_a_part_are_those_of_the_whole_picture_around_the_points(kind: str) -> None:
    engine: Engine = Watched() if kind == "onnxruntime" else openvino_engine()
    image, points = shifted(speckle(), 0, 0), 0.4 * (grid() - 128) + np.array((90, 140), np.float32)
    part = surroundings(points, SIZE, MARGIN_UNITS)
    assert isinstance(engine, EncodesParts)
    found, expected = engine.encode_part(image, part), engine.encode(image)
    np.testing.assert_allclose(engine.templates(found, points), engine.templates(expected, points), atol=2e-5)
    template = engine.templates(expected, points)
    said = [engine.evidence(features, [template], points + 3, 21) for features in (found, expected)]
    there = [soft_argmax(log_c, 3.0, inside(points + 3, 21, SIZE)).px for log_c in said]
    np.testing.assert_allclose(there[0], there[1], atol=0.01)
    engine.close()


def openvino_engine() -> Engine:
    pytest.importorskip("openvino")
    from specktrack.rt.engine_openvino import OpenVinoEngine

    return OpenVinoEngine(find_model("specknet-s"), threads=1)


def followed(engine: OrtEngine, points: FloatArray, n_frames: int = 30) -> NDArray[np.float32]:
    """Points (T, N, 3) through a picture that swings by 12 px and wanders off by a pixel a frame."""
    stream, picture = Session("test", SessionConfig(), engine), speckle()
    stream.update(frame(shifted(picture, 0, 0), 0))
    stream.set_points(points, "points")
    found = [
        stream.update(frame(shifted(picture, 12 * np.sin(k / 5) + k, -k / 2), k)).points for k in range(1, n_frames)
    ]
    return np.stack(found)


def test_tracks_are_the_same_whether_all_or_the_surroundings_are_encoded() -> None:
    points = 0.5 * (grid() - 128) + np.array((100, 150), np.float32)
    part, everything = Watched(), Watched(encodes_all=True)
    found, expected = followed(part, points), followed(everything, points)
    np.testing.assert_allclose(found, expected, atol=0.01)
    areas = [(p.bottom - p.top) * (p.right - p.left) for p in part.parts]
    assert max(areas) < 0.6 * SIDE * SIDE
    assert len(set(part.parts)) > 1, "the part went along"


@pytest.mark.parametrize("drawn_back", [0, 3])
def test_points_drawn_elsewhere_on_a_frame_of_which_only_a_part_was_encoded_are_followed_all_the_same(
    drawn_back: int,
) -> None:
    here, elsewhere = 0.3 * (grid() - 128) + (70, 70), 0.3 * (grid() - 128) + (190, 190)
    picture, said = speckle(), []
    for encodes_all in (False, True):
        stream = Session("test", SessionConfig(), Watched(encodes_all))
        stream.update(frame(shifted(picture, 0, 0), 0))
        stream.set_points(here, "points", name="here")
        for k in range(1, 9):
            stream.update(frame(shifted(picture, 0.8 * k, 0), k))
        stream.set_points(elsewhere, "points", name="elsewhere", seq=8 - drawn_back)
        said.append(stream.update(frame(shifted(picture, 7.2, 0), 9)).points)
    np.testing.assert_allclose(said[0], said[1], atol=0.01)


def test_flow_follows_points_through_parts_of_many_sizes() -> None:
    flow, picture = PointFlow(), speckle()
    flow.update(shifted(picture, 0, 0), arch())
    for k in range(1, 12):
        points = arch() if k % 2 else (0.1 * k * (arch() - 128) + 128).astype(np.float32)
        step = flow.update(shifted(picture, 1.5 * k, 0), points)
        assert step is not None
        np.testing.assert_allclose(np.median(step.displacement, axis=0), (1.5, 0), atol=0.2)
