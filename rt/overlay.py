"""Pictures with trajectories, strain and phase on them, the same for `rt-track` and `rt-view`.

A Scene says what is known about one frame, whether it came from a session or by wire; an Overlay draws scenes one
after the other and remembers only what a moving picture needs: short trails and the last seconds of the curve.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt import drawing
from specktrack.rt.contour import ContourSmoother
from specktrack.rt.drawing import Canvas
from specktrack.rt.geometry import FloatArray, Geometry, ImageScale
from specktrack.rt.headers import NOTICE, PhaseHeader, StrainHeader
from specktrack.rt.overlay_panel import PANEL_HEIGHT_PX, StrainPanel
from specktrack.rt.update import Group, PhaseEstimate, StrainSample, Update
from specktrack.rt.wire import TrackMessage

KNOTS = 13  # of a drawn contour, as for strain
STALE_STATES = ("stalled", "frozen", "lost")  # the picture is dimmed: it is not what the heart does now

_MIN_PICTURE_PX = 720  # smaller sources are enlarged to about this
_MAX_PICTURE_PX = 1280
_TRAIL_FRAMES = 10
_TRAIL_STRIDE = 4  # of a dense contour, every fourth point leaves a trail
_CONTOUR_COLOUR: drawing.Colour = (230, 225, 190)  # while no strain is known


@dataclass(frozen=True)
class Scene:
    """What is known about one frame."""

    seq: int
    time_s: float  # on the clock of the frames
    points: FloatArray  # (N, 3): x, y in source pixels, confidence; a lost point is NaN, NaN, 0
    groups: tuple[Group, ...]
    state: str  # waiting, live, degraded, stalled, frozen, lost; recorded: from a file
    phase: PhaseEstimate | None = None
    strain: StrainSample | None = None
    latency_ms: float | None = None
    gls_percent: float | None = None  # of the last finished beat


def scene_of_update(update: Update, state: str = "live", gls_percent: float | None = None) -> Scene:
    """The scene of a frame that a session in this process has answered."""
    time_s = update.t_acq_ns * 1e-9
    return Scene(
        update.seq, time_s, update.points, update.groups, state, update.phase, update.strain, None, gls_percent
    )


def scene_of_track(message: TrackMessage, gls_percent: float | None = None) -> Scene:
    """The scene of a frame that a daemon has answered."""
    header = message.header
    return Scene(
        seq=header.seq,
        time_s=header.t_acq_ns * 1e-9,
        points=message.points,
        groups=tuple(Group(g.name, g.kind, g.first, g.count, g.segments) for g in header.groups),
        state=header.state,
        phase=_phase(header.phase),
        strain=_strain(header.strain),
        latency_ms=header.latency_ms.get("total"),
        gls_percent=gls_percent,
    )


def _phase(sent: PhaseHeader | None) -> PhaseEstimate | None:
    if sent is None:
        return None
    return PhaseEstimate(sent.fraction, sent.label, sent.beat, sent.heart_rate_bpm, sent.source, is_locked=sent.locked)


def _strain(sent: StrainHeader | None) -> StrainSample | None:
    if sent is None:
        return None
    percent = float("nan") if sent.global_percent is None else sent.global_percent
    return StrainSample(percent, sent.segments_percent, sent.rate_per_s, sent.since_ed_s, sent.provisional)


def drawn_points(points: FloatArray, groups: tuple[Group, ...]) -> FloatArray:
    """Where points (N, 3) are drawn, (N, 2) in the same pixels: contours on the smooth curve that strain is read from.

    A lost point stays NaN: a gap is shown as a gap.
    """
    shown = np.array(points[:, :2], np.float32)
    for group in groups:
        if group.kind == "contour" and group.count > KNOTS:
            tracked = points[group.slice]
            curve = _smoother(group.count).smooth(tracked[:, :2], tracked[:, 2])
            shown[group.slice] = np.where(np.isfinite(tracked[:, :2]), curve, np.nan)
    return shown


@cache
def _smoother(n_points: int) -> ContourSmoother:
    return ContourSmoother(n_points, KNOTS, n_points - 1)  # as many points on the curve as there are tracked ones


class Overlay:
    """Draws scene after scene of one stream."""

    def __init__(self, geometry: Geometry) -> None:
        longest = max(geometry.height_px, geometry.width_px)
        factor = min(max(np.ceil(2 * _MIN_PICTURE_PX / longest) / 2, 1.0), _MAX_PICTURE_PX / longest)
        # even sides: video codecs want them
        self._picture = (_even(geometry.height_px * factor), _even(geometry.width_px * factor))
        width = max(self._picture[1], _MIN_PICTURE_PX)
        self._left_px = (width - self._picture[1]) // 2
        self._scale = ImageScale((geometry.height_px, geometry.width_px), self._picture)
        self.size = (width, self._picture[0] + PANEL_HEIGHT_PX)  # of the canvas: width, height
        self._blank = np.empty((self.size[1], self.size[0], 3), np.uint8)
        self._blank[:] = drawing.BACKGROUND
        self._blank[self._picture[0] :] = drawing.PANEL
        self._panel = StrainPanel(width)
        self._trail: deque[FloatArray] = deque(maxlen=_TRAIL_FRAMES)

    def reset(self) -> None:
        """Forget trails and curve: the next scene belongs to something else."""
        self._trail.clear()
        self._panel.reset()

    def update(self, pixels: NDArray[np.uint8] | None, scene: Scene) -> Canvas:
        """Draw one scene.

        pixels   (H, W) uint8 grey, the frame of the scene; None: no picture at hand, tracks on black
        returns  (size[1], size[0], 3) uint8 BGR, new at every call
        """
        canvas = self._blank.copy()
        picture = canvas[: self._picture[0], self._left_px : self._left_px + self._picture[1]]
        is_stale = scene.state in STALE_STATES
        self._draw_pixels(picture, pixels, is_stale)
        self._draw_tracks(picture, scene)
        drawing.badge(canvas, scene.state.upper(), (12, 12), drawing.STATE_COLOURS.get(scene.state, drawing.GREY))
        drawing.text(canvas, f"frame {scene.seq}", (15, 57), drawing.BACKGROUND, 14)  # a shadow, for bright tissue
        drawing.text(canvas, f"frame {scene.seq}", (14, 56), drawing.TEXT, 14)
        self._panel.update(canvas[self._picture[0] :], scene.time_s, scene.phase, scene.strain)
        self._panel.draw_figures(canvas[self._picture[0] :], scene.gls_percent, scene.latency_ms, NOTICE)
        return canvas

    def _draw_pixels(self, picture: Canvas, pixels: NDArray[np.uint8] | None, is_stale: bool) -> None:
        if pixels is None:
            picture[:] = (10, 8, 8)
            return
        resized = cv2.resize(pixels, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)
        picture[:] = cv2.cvtColor(resized >> 1 if is_stale else resized, cv2.COLOR_GRAY2BGR)

    def _draw_tracks(self, picture: Canvas, scene: Scene) -> None:
        on_canvas = self._scale.forward(drawn_points(scene.points, scene.groups))
        if self._trail and len(self._trail[-1]) != len(on_canvas):
            self._trail.clear()  # other points than before
        self._trail.append(on_canvas)
        for group in scene.groups:
            step = _TRAIL_STRIDE if group.kind == "contour" else 1
            self._draw_trails(picture, np.arange(group.first, group.first + group.count, step))
        for group in scene.groups:
            if group.kind == "contour":
                _draw_contour(picture, on_canvas[group.slice], scene.strain)
            else:
                _draw_points(picture, on_canvas[group.slice], scene.points[group.slice, 2])

    def _draw_trails(self, picture: Canvas, which: NDArray[np.int64]) -> None:
        history = np.stack(self._trail)[:, which]
        half = len(history) // 2
        for i in range(len(which)):
            drawing.line(picture, history[: half + 1, i], (90, 80, 30), 1)
            drawing.line(picture, history[half:, i], (190, 170, 60), 1)


def _draw_contour(picture: Canvas, points: FloatArray, strain: StrainSample | None) -> None:
    """Segment by segment in the colour of its strain, on a dark edge that keeps it legible on bright tissue."""
    segments = strain.segments_percent if strain else ()
    width = 3 if picture.shape[0] < 900 else 4
    drawing.line(picture, points, (20, 16, 12), width + 3)
    if not segments:
        drawing.line(picture, points, _CONTOUR_COLOUR, width)
        return
    bounds = np.round(np.linspace(0, len(points) - 1, len(segments) + 1)).astype(int)
    for percent, first, last in zip(segments, bounds[:-1], bounds[1:], strict=True):
        part = points[first : last + 1]
        drawing.line(picture, part, drawing.strain_colour(percent), width)
        middle = part[len(part) // 2]
        if percent is None and np.isfinite(middle).all():
            drawing.cross(picture, float(middle[0]), float(middle[1]), 7.0, drawing.GREY)
    for i in bounds[1:-1]:
        if np.isfinite(points[i]).all():
            drawing.dot(picture, float(points[i, 0]), float(points[i, 1]), 2.5, (20, 16, 12))


def _draw_points(picture: Canvas, points: FloatArray, confidence: FloatArray) -> None:
    """Brightness is confidence; a lost point is not there at all."""
    for (x, y), sure in zip(points, confidence, strict=True):
        if np.isfinite(x) and np.isfinite(y):
            drawing.dot(picture, float(x), float(y), 5.0, (20, 16, 12))
            drawing.dot(picture, float(x), float(y), 3.5, drawing.shade((150, 245, 255), 0.3 + 0.7 * float(sure)))


def _even(length: float) -> int:
    return max(round(length / 2) * 2, 2)
