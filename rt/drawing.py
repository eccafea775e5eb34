"""Text, colours and lines for pictures made with OpenCV; colours are (blue, green, red)."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

Canvas = NDArray[np.uint8]  # (H, W, 3) BGR
Colour = tuple[int, int, int]

BACKGROUND: Colour = (24, 18, 16)
PANEL: Colour = (36, 28, 25)
GRID: Colour = (66, 54, 48)
TEXT: Colour = (238, 233, 230)
MUTED: Colour = (158, 148, 140)
GREY: Colour = (150, 150, 150)
GREEN: Colour = (120, 205, 90)
AMBER: Colour = (60, 180, 250)
RED: Colour = (80, 80, 240)
BLUE: Colour = (240, 170, 90)

STATE_COLOURS: dict[str, Colour] = {
    "live": GREEN,
    "waiting": BLUE,
    "degraded": AMBER,
    "stalled": RED,
    "frozen": BLUE,
    "lost": RED,
    "recorded": BLUE,
}

# strain in percent -> colour; deep red shortens well, pale hardly, blue lengthens
_STRAIN_STOPS = np.array([-25.0, -18.0, -12.0, -6.0, 0.0, 8.0])
_STRAIN_COLOURS = np.array(
    [(48, 30, 190), (60, 60, 240), (70, 140, 255), (140, 215, 255), (235, 235, 235), (250, 150, 70)], float
)

_SHIFT = 4  # OpenCV's fixed-point bits: lines are drawn to a sixteenth of a pixel
_FONT: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None  # OpenCV 5 brings outline fonts


def strain_colour(percent: float | None) -> Colour:
    """Colour of a strain value; None (rejected or unknown) is grey."""
    if percent is None or not np.isfinite(percent):
        return GREY
    blue, green, red = (float(np.interp(percent, _STRAIN_STOPS, _STRAIN_COLOURS[:, c])) for c in range(3))
    return int(blue), int(green), int(red)


def text(canvas: Canvas, words: str, at: tuple[int, int], colour: Colour = TEXT, size: int = 16, bold: int = 0) -> int:
    """Write words with their baseline starting at (x, y), `size` pixels high; returns the x where they end."""
    if _FONT is not None:
        end, _ = cv2.putText(canvas, words, at, colour, _FONT, size, 700 if bold else 420)
        return int(end[0])
    plain = words.encode("ascii", "replace").decode()
    scale, weight = size / 30, 2 if bold else 1
    cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, weight, cv2.LINE_AA)
    return at[0] + int(cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)[0][0])


def badge(canvas: Canvas, words: str, at: tuple[int, int], colour: Colour, size: int = 15) -> None:
    """Words on a filled plate whose top-left corner is at (x, y)."""
    x, y = at
    probe = np.empty((1, 1, 3), np.uint8)  # text is measured by writing it where nobody sees it
    width = text(probe, words, (0, 0), size=size, bold=1)
    cv2.rectangle(canvas, (x, y), (x + width + 16, y + size + 9), colour, cv2.FILLED)
    text(canvas, words, (x + 8, y + size + 2), BACKGROUND, size, bold=1)


def line(canvas: Canvas, points: FloatArray, colour: Colour, width: int = 2) -> None:
    """A smooth line through points (N, 2) in canvas pixels, interrupted where a point is NaN."""
    for run in finite_runs(points):
        fixed = np.round(run * (1 << _SHIFT)).astype(np.int32)[:, None]
        cv2.polylines(
            canvas, [fixed], isClosed=False, color=colour, thickness=width, lineType=cv2.LINE_AA, shift=_SHIFT
        )


def dot(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    """A filled disc at (x, y) in canvas pixels."""
    unit = 1 << _SHIFT
    centre = (round(x * unit), round(y * unit))
    cv2.circle(canvas, centre, round(radius * unit), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def cross(canvas: Canvas, x: float, y: float, reach: float, colour: Colour) -> None:
    """The mark of a rejected segment."""
    for sign in (-1.0, 1.0):
        stroke = np.array([[x - reach, y - sign * reach], [x + reach, y + sign * reach]], np.float32)
        line(canvas, stroke, colour, 3)


def finite_runs(points: FloatArray) -> Sequence[FloatArray]:
    """The runs of points (N, 2) without a NaN, each of two points or more."""
    breaks = np.flatnonzero(~np.isfinite(points).all(axis=1))
    runs = np.split(points, breaks)
    whole = [run if i == 0 else run[1:] for i, run in enumerate(runs)]
    return [run for run in whole if len(run) > 1]


def shade(colour: Colour, brightness: float) -> Colour:
    """The colour made darker, brightness 0..1."""
    blue, green, red = (round(c * min(max(brightness, 0.0), 1.0)) for c in colour)
    return blue, green, red
