"""Bull's-eye plot: segmental strain of the left ventricle seen from the apex, base outside, anterior wall on top.

Angles as in the AHA layout: anterior is centred at 12 o'clock, then counter-clockwise anteroseptal, inferoseptal,
inferior, inferolateral, anterolateral; the septum lies on the left. A segment without a value is grey with a cross.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from specktrack.rt import drawing
from specktrack.rt.drawing import Canvas
from specktrack.rt.geometry import FloatArray
from specktrack.rt.walls import AROUND, AROUND_APEX, LEVELS, Values

WIDTH_PX, HEIGHT_PX = 960, 640
CENTRE, RADIUS_PX = (345, 336), 245
RINGS = {"basal": (2.4 / 3.4, 1.0), "mid": (1.4 / 3.4, 2.4 / 3.4), "apical": (0.5 / 3.4, 1.4 / 3.4)}  # of the radius
APEX = 0.5 / 3.4
FIRST_DEG = {6: 60.0, 4: 45.0}  # where the anterior segment begins
LEFT_PX = 706  # of the column of figures
ARC_STEPS = 48
SCALE = (-25, -20, -15, -10, -5, 0, 5)  # percent, of the colour bar


@dataclass(frozen=True)
class Wedge:
    """Where a segment lies: radii as shares, angles in degrees counter-clockwise from 3 o'clock."""

    name: str
    inner: float
    outer: float
    start_deg: float
    end_deg: float

    @property
    def middle(self) -> tuple[float, float]:
        """Canvas pixel of its middle."""
        radius = 0.5 * (self.inner + self.outer) if self.inner > 0.0 else 0.0
        return _at(radius, 0.5 * (self.start_deg + self.end_deg))


def wedges(model: int) -> list[Wedge]:
    """The segments of the 16-, 17- or 18-segment model."""
    around_apex = AROUND if model == 18 else AROUND_APEX
    found = []
    for level in LEVELS:
        walls = around_apex if level == "apical" else AROUND
        inner, outer = RINGS[level]
        inner = 0.0 if level == "apical" and model != 17 else inner
        width = 360.0 / len(walls)
        first = FIRST_DEG[len(walls)]
        found += [Wedge(f"{level} {wall}", inner, outer, first + k * width, first + (k + 1) * width)
                  for k, wall in enumerate(walls)]  # fmt: skip
    return [*found, Wedge("apex", 0.0, APEX, 0.0, 360.0)] if model == 17 else found


def draw_bullseye(values: Values, model: int, title: str, figures: Sequence[str]) -> Canvas:
    """The plot (HEIGHT_PX, WIDTH_PX, 3) BGR: values by segment name in percent, lines of figures beside it."""
    canvas: Canvas = np.full((HEIGHT_PX, WIDTH_PX, 3), drawing.BACKGROUND, np.uint8)
    for wedge in wedges(model):
        outline = _outline(wedge)
        colour = drawing.strain_colour(values.get(wedge.name))
        cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
        drawing.line(canvas, np.vstack([outline, outline[:1]]), drawing.BACKGROUND, 2)
    for wedge in wedges(model):
        _write_value(canvas, wedge, values.get(wedge.name))
    for k, wall in enumerate(AROUND):
        _write_wall(canvas, wall, FIRST_DEG[6] + (k + 0.5) * 60.0)
    drawing.text(canvas, title, (24, 40), size=22, bold=1)
    for row, words in enumerate(figures):
        drawing.text(canvas, words, (LEFT_PX, 100 + 28 * row), size=16)
    _colour_bar(canvas)
    return canvas


def _outline(wedge: Wedge) -> FloatArray:
    angles = np.linspace(wedge.start_deg, wedge.end_deg, ARC_STEPS)
    outer = [_at(wedge.outer, a) for a in angles]
    inner = [_at(wedge.inner, a) for a in angles[::-1]] if wedge.inner > 0.0 else [_at(0.0, 0.0)]
    whole = outer if wedge.end_deg - wedge.start_deg >= 360.0 else outer + inner
    return np.array(whole, np.float32)


def _at(share: float, angle_deg: float) -> tuple[float, float]:
    angle = math.radians(angle_deg)
    return CENTRE[0] + share * RADIUS_PX * math.cos(angle), CENTRE[1] - share * RADIUS_PX * math.sin(angle)


def _write_value(canvas: Canvas, wedge: Wedge, value: float | None) -> None:
    x, y = wedge.middle
    if value is None:
        drawing.cross(canvas, x, y, 9.0, drawing.BACKGROUND)
        return
    words = f"{value:.0f}"
    is_dark = sum(drawing.strain_colour(value)) < 420
    colour = drawing.TEXT if is_dark else drawing.BACKGROUND
    drawing.text(canvas, words, (round(x) - 5 * len(words), round(y) + 6), colour, 18, bold=1)


def _write_wall(canvas: Canvas, wall: str, angle_deg: float) -> None:
    x, y = _at(1.07, angle_deg)
    cosine = math.cos(math.radians(angle_deg))
    width = 8 * len(wall)
    left = x - width if cosine < -0.3 else x if cosine > 0.3 else x - width / 2
    drawing.text(canvas, wall, (round(left), round(y) + 5), drawing.MUTED, 14)


def _colour_bar(canvas: Canvas) -> None:
    """Strain by colour, at the right below the figures."""
    top, height = 420, 150
    for row in range(height):
        percent = float(np.interp(row, [0, height - 1], [SCALE[0], SCALE[-1]]))
        canvas[top + row, LEFT_PX : LEFT_PX + 18] = drawing.strain_colour(percent)
    for percent in SCALE:
        y = top + round((height - 1) * (percent - SCALE[0]) / (SCALE[-1] - SCALE[0]))
        drawing.text(canvas, f"{percent} %", (LEFT_PX + 26, y + 5), drawing.MUTED, 13)
