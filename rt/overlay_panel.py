"""The strip below the picture: strain over the last seconds, where in the beat we are, and the figures."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from specktrack.rt import drawing
from specktrack.rt.drawing import Canvas
from specktrack.rt.update import PhaseEstimate, StrainSample

PANEL_HEIGHT_PX = 186
_FIGURES_PX = 214  # the column of figures at the right
_LEFT_PX = 50  # room for the axis labels
_CURVE_TOP_PX, _CURVE_BOTTOM_PX = 16, 116
_BAR_TOP_PX, _BAR_BOTTOM_PX = 128, 138
_SPAN_S = 4.0
_LABELS = {"systole": "systole", "early_filling": "early filling", "diastasis": "diastasis", "atrial": "atrial kick"}
_LABEL_COLOURS = {
    "systole": (70, 80, 235),
    "early_filling": (230, 170, 80),
    "diastasis": (120, 190, 100),
    "atrial": (60, 180, 245),
}


@dataclass(frozen=True)
class _Sample:
    time_s: float
    percent: float  # NaN: unknown


@dataclass(frozen=True)
class _Mark:
    time_s: float
    words: str  # ED or ES


class StrainPanel:
    """Remembers a few seconds of strain and of cardiac events, and draws them."""

    def __init__(self, width_px: int) -> None:
        self._right_px = width_px - _FIGURES_PX
        self._samples: deque[_Sample] = deque()
        self._marks: deque[_Mark] = deque()
        self._phase: PhaseEstimate | None = None
        self._strain: StrainSample | None = None

    def reset(self) -> None:
        """Forget the curve and the events."""
        self._samples.clear()
        self._marks.clear()
        self._phase = self._strain = None

    def update(self, panel: Canvas, time_s: float, phase: PhaseEstimate | None, strain: StrainSample | None) -> None:
        """Add one frame and draw curve and phase bar onto an empty panel (PANEL_HEIGHT_PX, W, 3)."""
        if self._samples and not 0 <= time_s - self._samples[-1].time_s < _SPAN_S:
            self.reset()  # the stream started anew
        self._add_marks(time_s, phase)
        self._phase, self._strain = phase, strain
        self._samples.append(_Sample(time_s, strain.global_percent if strain else float("nan")))
        while self._samples[0].time_s < time_s - _SPAN_S:
            self._samples.popleft()
        while self._marks and self._marks[0].time_s < time_s - _SPAN_S:
            self._marks.popleft()
        self._draw_curve(panel, time_s)
        self._draw_phase(panel)

    def draw_figures(self, panel: Canvas, gls_percent: float | None, latency_ms: float | None, notice: str) -> None:
        """The column of figures, and the notice that is always there."""
        x = self._right_px + 18
        live = self._strain.global_percent if self._strain else float("nan")
        is_known = bool(np.isfinite(live))
        drawing.text(panel, "STRAIN", (x, 24), drawing.MUTED, 12)
        colour = drawing.strain_colour(live) if is_known else drawing.MUTED
        drawing.text(panel, f"{live:.1f} %" if is_known else "--", (x, 56), colour, 30, bold=1)
        _figure(panel, x, 84, "GLS, last beat", f"{gls_percent:.1f} %" if gls_percent is not None else "--")
        phase = self._phase
        _figure(panel, x, 106, "heart rate", f"{phase.heart_rate_bpm:.0f} /min" if phase else "--")
        _figure(panel, x, 128, "phase from", f"{phase.source}{'' if phase.is_locked else ' ?'}" if phase else "--")
        if latency_ms is not None:
            _figure(panel, x, 150, "latency", f"{latency_ms:.1f} ms")
        drawing.text(panel, notice, (_LEFT_PX, PANEL_HEIGHT_PX - 8), drawing.MUTED, 12)

    def _add_marks(self, time_s: float, phase: PhaseEstimate | None) -> None:
        """A wrap of the phase is end-diastole; the end of systole is end-systole."""
        before = self._phase
        if before is None or phase is None:
            return
        if phase.fraction < before.fraction - 0.5:
            # a beat is noticed some frames after it began; its phase says how long ago that was
            self._marks.append(_Mark(time_s - phase.fraction * 60.0 / phase.heart_rate_bpm, "ED"))
        if before.label == "systole" and phase.label == "early_filling":
            self._marks.append(_Mark(time_s, "ES"))

    def _x(self, time_s: float, now_s: float) -> float:
        width = self._right_px - _LEFT_PX
        return _LEFT_PX + width * (1 - (now_s - time_s) / _SPAN_S)

    def _draw_curve(self, panel: Canvas, now_s: float) -> None:
        values = np.array([sample.percent for sample in self._samples])
        known = values[np.isfinite(values)]
        low = min(-25.0, float(known.min()) - 2) if known.size else -25.0
        high = max(5.0, float(known.max()) + 2) if known.size else 5.0

        def y_of(percent: float) -> float:
            return _CURVE_TOP_PX + (high - percent) / (high - low) * (_CURVE_BOTTOM_PX - _CURVE_TOP_PX)

        for level in (0, -10, -20):
            y = round(y_of(level))
            cv2.line(panel, (_LEFT_PX, y), (self._right_px, y), drawing.GRID, 1)
            drawing.text(panel, f"{level} %", (10, y + 4), drawing.MUTED, 11)
        for mark in self._marks:
            x = round(self._x(mark.time_s, now_s))
            cv2.line(panel, (x, _CURVE_TOP_PX), (x, _CURVE_BOTTOM_PX), (110, 90, 80), 1, cv2.LINE_AA)
            if x + 22 < self._right_px:
                drawing.text(panel, mark.words, (x + 3, _CURVE_TOP_PX + 8), drawing.MUTED, 11)
        curve = np.array([(self._x(s.time_s, now_s), y_of(s.percent)) for s in self._samples], np.float32)
        drawing.line(panel, curve, (110, 200, 255), 2)
        if np.isfinite(curve[-1]).all():
            drawing.dot(panel, float(curve[-1, 0]), float(curve[-1, 1]), 4.0, drawing.TEXT)

    def _draw_phase(self, panel: Canvas) -> None:
        left, right = _LEFT_PX, self._right_px
        cv2.rectangle(panel, (left, _BAR_TOP_PX), (right, _BAR_BOTTOM_PX), drawing.GRID, cv2.FILLED)
        phase = self._phase
        if phase is None:
            drawing.text(panel, "no cardiac phase yet", (left, _BAR_BOTTOM_PX + 17), drawing.MUTED, 13)
            return
        colour = _LABEL_COLOURS[phase.label]
        x = round(left + phase.fraction * (right - left))
        cv2.rectangle(panel, (left, _BAR_TOP_PX), (x, _BAR_BOTTOM_PX), colour, cv2.FILLED)
        words = f"{_LABELS[phase.label]}   {100 * phase.fraction:.0f} % of beat {phase.beat}"
        drawing.text(panel, words, (left, _BAR_BOTTOM_PX + 17), drawing.TEXT, 13)


def _figure(panel: Canvas, x: int, y: int, name: str, value: str) -> None:
    drawing.text(panel, name, (x, y), drawing.MUTED, 13)
    drawing.text(panel, value, (x + 104, y), drawing.TEXT, 14)
