"""How fast a heart deforms, and when: strain rate, its peaks, time to peak. Pure functions of one beat's curve."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Curve = NDArray[np.float64]
RATE_SPAN_S = 0.08  # a rate is the slope over this much time: 4-5 frames at 55 per second


def strain_rate_per_s(time_s: Curve, strain_percent: Curve, span_s: float = RATE_SPAN_S) -> Curve:
    """Lagrangian strain rate (T,), 1/s: the slope of a curve (T,) over span_s around each of its own, uneven times."""
    return local_slopes(
        np.ascontiguousarray(time_s, np.float64), np.ascontiguousarray(strain_percent / 100.0, np.float64), span_s
    )


@njit(cache=True)
def local_slopes(time: Curve, values: Curve, span: float) -> Curve:
    """Slope (T,) by least squares through the values within half a span, the neighbours at least; NaN is skipped."""
    count = time.shape[0]
    slopes = np.full(count, np.nan)
    for k in range(count):
        n, t_sum, v_sum, tt, tv = 0, 0.0, 0.0, 0.0, 0.0
        for i in range(count):
            is_near = abs(i - k) <= 1 or abs(time[i] - time[k]) <= 0.5 * span
            if is_near and not math.isnan(values[i]):
                t = time[i] - time[k]
                n += 1
                t_sum += t
                v_sum += values[i]
                tt += t * t
                tv += t * values[i]
        spread = tt - t_sum * t_sum / n if n > 1 else 0.0
        if spread > 0.0:
            slopes[k] = (tv - t_sum * v_sum / n) / spread
    return slopes


def local_slopes_numpy(time: Curve, values: Curve, span: float) -> Curve:
    """Slow twin of `local_slopes`."""
    slopes = np.full(len(time), np.nan)
    order = np.arange(len(time))
    for k in order:
        near = ((abs(order - k) <= 1) | (abs(time - time[k]) <= 0.5 * span)) & np.isfinite(values)
        if np.count_nonzero(near) > 1:
            slopes[k] = np.polyfit(time[near] - time[k], values[near], 1)[0]
    return slopes


def peak_rates(rate_per_s: Curve, es: int, rest: int | None) -> tuple[float, float, float]:
    """Peaks of a beat's strain rate (T,): systolic (most negative), early filling, atrial (most positive); NaN unknown.

    es    frame of end-systole
    rest  a frame of diastasis, which parts the two waves of filling; None: they are one, called early
    """
    parts = (rate_per_s[: es + 1], rate_per_s[es : rest if rest is not None and rest > es else None])
    last = rate_per_s[rest:] if rest is not None and rest > es else rate_per_s[:0]
    systolic = -_largest(-parts[0])
    return systolic, _largest(parts[1]), _largest(last)


def _largest(values: Curve) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan


def time_to_peak_ms(time_s: Curve, strain_percent: Curve) -> float:
    """Time from the beginning of a beat's curve (T,) to its most negative value, ms; NaN when nothing is known."""
    if not np.isfinite(strain_percent).any():
        return math.nan
    return 1e3 * float(time_s[np.nanargmin(strain_percent)] - time_s[0])


def warm_up() -> None:
    """Compile or load the kernel before the first beat is over."""
    local_slopes(np.arange(3.0), np.zeros(3), RATE_SPAN_S)
