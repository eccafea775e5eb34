import numpy as np
import pytest

from specktrack.rt import drawing
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.overlay import Overlay, Scene, drawn_points, scene_of_track, scene_of_update
from specktrack.rt.overlay_panel import PANEL_HEIGHT_PX
from specktrack.rt.update import Group, PhaseEstimate, StrainSample, Update
from specktrack.rt.wire import StreamCounts, decode_track, encode_track

GEOMETRY = Geometry(256, 256)
PHASE = PhaseEstimate(0.3, "systole", 4, 68.0, "image", is_locked=True)
STRAIN = StrainSample(-14.0, (-20.0, -18.0, None, -9.0, -3.0, 4.0), -1.0, 0.25)


def arch(count: int = 61) -> FloatArray:
    """A contour from base over apex to base, in the middle of a 256 x 256 picture."""
    angle = np.linspace(0, np.pi, count)
    columns = [128 - 60 * np.cos(angle), 200 - 150 * np.sin(angle), np.full(count, 0.9)]
    return np.stack(columns, 1).astype(np.float32)


def scene(points: FloatArray, kind: str = "contour", seq: int = 0, state: str = "live", **known: object) -> Scene:
    group = Group("a", "contour" if kind == "contour" else "points", 0, len(points))
    return Scene(seq, seq / 50, points, (group,), state, **known)  # type: ignore[arg-type]


def spot(canvas: drawing.Canvas, x: float, y: float, size: int = 256) -> tuple[int, ...]:
    """Colour of the canvas where the source pixel (x, y) lies."""
    factor = canvas.shape[1] / size
    return tuple(int(v) for v in canvas[round((y + 0.5) * factor - 0.5), round((x + 0.5) * factor - 0.5)])


@pytest.mark.parametrize("shape", [(256, 256), (768, 1024), (255, 401), (1080, 1920), (16, 16), (2048, 300)])
def test_every_size_of_source_gives_a_legible_canvas_with_even_sides(shape: tuple[int, int]) -> None:
    overlay = Overlay(Geometry(*shape))
    canvas = overlay.update(np.zeros(shape, np.uint8), scene(arch(), phase=PHASE, strain=STRAIN))
    width, height = overlay.size
    assert canvas.shape == (height, width, 3)
    assert width % 2 == 0
    assert height % 2 == 0
    assert 720 <= width <= 1280


def test_each_segment_has_the_colour_of_its_strain_and_a_rejected_one_is_grey() -> None:
    canvas = Overlay(GEOMETRY).update(None, scene(arch(), strain=STRAIN))
    for segment, percent in enumerate(STRAIN.segments_percent):
        x, y, _ = arch()[segment * 10 + 3]
        assert spot(canvas, x, y) == pytest.approx(drawing.strain_colour(percent), abs=3)
    assert drawing.strain_colour(None) == drawing.GREY


def test_strong_shortening_is_red_and_lengthening_is_blue() -> None:
    blue, _, red = drawing.strain_colour(-22)
    assert red > 2 * blue
    blue, _, red = drawing.strain_colour(8)
    assert blue > 2 * red


def test_a_point_is_as_bright_as_it_is_sure_and_a_lost_one_is_not_drawn() -> None:
    points = np.array([[60, 100, 1.0], [120, 100, 0.1], [np.nan, np.nan, 0.0]], np.float32)
    canvas = Overlay(GEOMETRY).update(None, scene(points, "points"))
    assert sum(spot(canvas, 60, 100)) > 2 * sum(spot(canvas, 120, 100)) > 0
    without = Overlay(GEOMETRY).update(None, scene(points[:2], "points"))
    np.testing.assert_array_equal(canvas, without)


def test_a_lost_stretch_of_contour_is_a_gap_not_a_bridge() -> None:
    contour = arch()
    contour[25:36] = (np.nan, np.nan, 0)
    canvas = Overlay(GEOMETRY).update(None, scene(contour))
    x, y, _ = arch()[30]
    assert sum(spot(canvas, x, y)) < 60


@pytest.mark.parametrize("state", ["stalled", "frozen", "lost"])
def test_a_picture_that_is_not_live_is_dimmed(state: str) -> None:
    pixels = np.full((256, 256), 200, np.uint8)
    nothing = np.empty((0, 3), np.float32)
    assert spot(Overlay(GEOMETRY).update(pixels, scene(nothing)), 128, 128) == (200, 200, 200)
    assert spot(Overlay(GEOMETRY).update(pixels, scene(nothing, state=state)), 128, 128) == (100, 100, 100)


def test_a_moving_point_leaves_a_trail_until_the_overlay_is_reset() -> None:
    overlay = Overlay(GEOMETRY)
    for seq in range(8):
        canvas = overlay.update(None, scene(np.array([[60 + 8 * seq, 100, 1]], np.float32), "points", seq))
    assert sum(spot(canvas, 90, 100)) > 100
    overlay.reset()
    canvas = overlay.update(None, scene(np.array([[116, 100, 1]], np.float32), "points", 8))
    assert sum(spot(canvas, 90, 100)) < 60


def test_other_points_do_not_inherit_trails() -> None:
    overlay = Overlay(GEOMETRY)
    overlay.update(None, scene(arch(), seq=0))
    overlay.update(None, scene(arch(31), seq=1))


def test_the_notice_is_always_on_the_picture() -> None:
    canvas = Overlay(GEOMETRY).update(None, scene(np.empty((0, 3), np.float32)))
    strip = canvas[-20:, 50:300].astype(int)
    assert np.abs(strip - drawing.PANEL).sum(axis=2).max() > 150
    assert canvas.shape[0] - PANEL_HEIGHT_PX == 768


def test_the_curve_moves_with_time_and_survives_a_stream_that_starts_anew() -> None:
    overlay = Overlay(GEOMETRY)
    curves = []
    for seq in [*range(60), 5, 6]:
        phase = PhaseEstimate((seq % 40) / 40, "systole" if seq % 40 < 16 else "early_filling", 0, 75, "image", True)
        strain = StrainSample(-20 * np.sin(np.pi * (seq % 40) / 40), (), None, None)
        curves.append(overlay.update(None, scene(arch(), seq=seq, phase=phase, strain=strain))[-PANEL_HEIGHT_PX:])
    assert not np.array_equal(curves[30], curves[59])


def test_a_frame_looks_the_same_by_wire_and_in_process() -> None:
    update = Update(7, 140_000_000, "monotonic", arch(), (Group("lv", "contour", 0, 61, 6),), PHASE, None, STRAIN)
    parts = encode_track("a4c", update, state="live", counts=StreamCounts(), latency_ms={"total": 3.0}, t_pub_ns=0)
    by_wire, in_process = scene_of_track(decode_track(parts)), scene_of_update(update)
    np.testing.assert_array_equal(by_wire.points, in_process.points)
    assert (by_wire.groups, by_wire.phase, by_wire.strain) == (
        in_process.groups,
        in_process.phase,
        in_process.strain,
    )
    assert by_wire.latency_ms == 3.0


def test_a_jittering_contour_is_drawn_on_the_smooth_curve_that_strain_is_read_from() -> None:
    jittered = arch()
    jittered[:, :2] += np.random.default_rng(0).normal(0, 1.5, (61, 2))
    shown = drawn_points(jittered, (Group("lv", "contour", 0, 61, 6),))
    raw_error = np.linalg.norm(jittered[:, :2] - arch()[:, :2], axis=1).mean()
    assert np.linalg.norm(shown - arch()[:, :2], axis=1).mean() < 0.7 * raw_error
    np.testing.assert_array_equal(drawn_points(jittered, (Group("p", "points", 0, 61),)), jittered[:, :2])


def test_the_frame_itself_is_never_written_to() -> None:
    pixels = np.full((768, 1024), 50, np.uint8)
    pixels.flags.writeable = False
    Overlay(Geometry(768, 1024)).update(pixels, scene(arch(), strain=STRAIN))
    assert (pixels == 50).all()
