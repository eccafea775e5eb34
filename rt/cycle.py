"""What is known about a heart cycle before it is measured, and how long its period is. Pure functions.

The heart-rate model of diastasis (docs: clinical reference): systole shortens little with the heart rate, early
filling and atrial contraction hardly at all, so diastasis takes all change of cycle length and is gone near 98 a
minute. A fixed share of the beat would hit it only at rest.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from specktrack.rt.config import PhaseConfig
from specktrack.rt.update import PhaseLabel

Signal = NDArray[np.float64]

GRID_S = 0.02  # signals are laid on an even grid for the autocorrelation only
RIVAL = 0.88  # the first peak this close to the best one is the period; the best may lie one beat further
MIN_DIASTASIS_S = 0.03  # a shorter window is none


@dataclass(frozen=True)
class Window:
    """The part of a beat in which the heart rests, as fractions of the cycle from ED to ED."""

    start: float
    end: float

    @property
    def is_open(self) -> bool:
        """False for a fast heart: filling runs straight into the atrial kick."""
        return self.end > self.start


@dataclass(frozen=True)
class Period:
    """The beat-to-beat time that a signal repeats with, and how well (1: exactly)."""

    seconds: float
    score: float


def systole_s(heart_rate_bpm: float, config: PhaseConfig) -> float:
    """Expected time from ED (R wave) to ES (aortic valve closure), s."""
    return float(usual_systole_s(heart_rate_bpm, config.q_to_r_ms))


@njit(cache=True)
def usual_systole_s(heart_rate_bpm: float, q_to_r_ms: float) -> float:
    """The same for compiled code."""
    return max(0.001 * (541.0 - 2.2 * heart_rate_bpm - q_to_r_ms), 0.12)


def diastasis_window(period_s: float, es_s: float, config: PhaseConfig) -> Window:
    """Where diastasis lies in a cycle of this length whose systole lasts es_s; not open when it is gone."""
    start = es_s + 0.001 * (config.relaxation_ms + config.early_filling_ms)
    end = period_s - 0.001 * config.atrial_ms
    if end - start < MIN_DIASTASIS_S:
        middle = min(max(0.5 * (start + end), es_s + 0.02), period_s)
        return Window(middle / period_s, middle / period_s)
    return Window(start / period_s, end / period_s)


def label_of(fraction: float, es_fraction: float, window: Window) -> PhaseLabel:
    """The name of a moment of the cycle."""
    if fraction < es_fraction:
        return "systole"
    if fraction < window.start:
        return "early_filling"
    return "diastasis" if fraction < window.end else "atrial"


def find_period(time_s: Signal, components: Signal, shortest_s: float, longest_s: float) -> Period | None:
    """The shortest time after which all components of a signal come back.

    time_s      (T,) increasing, need not be even: dropped frames only cost accuracy
    components  (T, K) without slow trends; each counts by its energy
    At least two periods must have been seen. None without a peak in the autocorrelation.
    """
    span = time_s[-1] - time_s[0] if len(time_s) > 8 else 0.0
    longest = min(int(longest_s / GRID_S), int(0.5 * span / GRID_S) + 1)
    if longest * GRID_S < shortest_s:
        return None
    grid = np.arange(time_s[0], time_s[-1], GRID_S)
    even = np.stack([np.interp(grid, time_s, column) for column in components.T])
    likeness = autocorrelation(even, longest + 2)
    peaks = [
        lag
        for lag in range(2, longest + 1)
        if likeness[lag - 1] < likeness[lag] >= likeness[lag + 1]
        and lag * GRID_S >= shortest_s - GRID_S
        and likeness[1:lag].min() < likeness[lag] - 0.2  # beyond the lobe of zero lag
    ]
    best = max((likeness[lag] for lag in peaks), default=0.0)
    if best <= 0.0:
        return None
    lag = next(lag for lag in peaks if likeness[lag] >= RIVAL * best)
    offset, height = parabola(likeness[lag - 1 : lag + 2])
    period_s = (lag + offset) * GRID_S
    return Period(period_s, height) if shortest_s <= period_s <= longest_s else None


def trend_basis(time_s: Signal) -> Signal:
    """Orthonormal slow curves (T, K): polynomials that hold breathing and probe motion, but no heart beat.

    Of a higher degree the more seconds there are: two seconds of a heart look much like a quartic.
    """
    span_s = float(time_s.max() - time_s.min())
    return slow_curves(time_s, min(max(int(0.8 * span_s), 1), 2))


@njit(cache=True)
def slow_curves(time_s: Signal, degree: int) -> Signal:
    """Orthonormal polynomials (T, degree + 1) over the times."""
    first, last = time_s.min(), time_s.max()
    powers = np.ones((len(time_s), degree + 1))
    for k in range(degree):
        powers[:, k + 1] = powers[:, k] * (2.0 * time_s - first - last) / max(last - first, 1e-9)
    return orthonormal(powers)[0]


@njit(cache=True)
def orthonormal(columns: Signal) -> tuple[Signal, Signal]:
    """Columns (T, K) made orthonormal one after the other, and what length (K,) was left of each; twice, for precision.

    What np.linalg.qr gives, with a positive diagonal, without its overhead for a few short columns.
    """
    basis, lengths = columns.T.copy(), np.zeros(columns.shape[1])
    for k in range(len(basis)):
        for _ in range(2):
            for j in range(k):
                basis[k] -= (basis[j] * basis[k]).sum() * basis[j]
        lengths[k] = math.sqrt((basis[k] ** 2).sum())
        basis[k] /= max(lengths[k], 1e-30)
    return np.ascontiguousarray(basis.T), lengths


def without_trend(time_s: Signal, signal: Signal) -> Signal:
    """Signal (T,) less its slow part."""
    basis = trend_basis(time_s)
    return signal - basis @ (basis.T @ signal)


@njit(cache=True)
def autocorrelation(even: Signal, lags: int) -> Signal:
    """Correlation (lags,) of a signal (K, T) with itself, shifted by 0, 1, ... samples, all components together."""
    n_components, n_samples = even.shape
    likeness = np.zeros(lags)
    for lag in range(min(lags, n_samples - 1)):
        product, early, late = 0.0, 0.0, 0.0
        for k in range(n_components):
            for i in range(n_samples - lag):
                product += even[k, i] * even[k, i + lag]
                early += even[k, i] * even[k, i]
                late += even[k, i + lag] * even[k, i + lag]
        norm = math.sqrt(early * late)
        likeness[lag] = product / norm if norm > 0.0 else 0.0
    return likeness


def autocorrelation_numpy(even: Signal, lags: int) -> Signal:
    """Slow twin of `autocorrelation`."""
    likeness = np.zeros(lags)
    for lag in range(min(lags, even.shape[1] - 1)):
        early, late = even[:, : even.shape[1] - lag], even[:, lag:]
        norm = math.sqrt(float((early * early).sum()) * float((late * late).sum()))
        likeness[lag] = float((early * late).sum()) / norm if norm > 0.0 else 0.0
    return likeness


def parabola(three: Signal) -> tuple[float, float]:
    """Offset in samples (-0.5..0.5) and height of the extremum through three even samples."""
    left, middle, right = (float(v) for v in three)
    bend = left - 2.0 * middle + right
    offset = 0.5 * (left - right) / bend if bend != 0.0 else 0.0
    offset = min(max(offset, -0.5), 0.5)
    return offset, middle - 0.25 * (left - right) * offset


def amplitude_of(signal: Signal) -> float:
    """Robust peak-to-peak range."""
    ordered = np.sort(signal)  # a tenth of the cost of np.percentile
    margin = int(0.04 * len(ordered))
    return float(ordered[-1 - margin] - ordered[margin])


def quietest(time_s: Signal, energy: Signal, start_s: float, end_s: float, calm_below: float) -> float | None:
    """Time of the least motion energy between two times, or None when even that is not calm."""
    inside = np.flatnonzero((time_s >= start_s) & (time_s <= end_s) & np.isfinite(energy))
    if not len(inside):
        return None
    calm = int(inside[energy[inside].argmin()])
    return float(time_s[calm]) if energy[calm] <= calm_below else None
