"""What is known about a heart cycle before it is measured, and how its events show in a signal. Pure functions.

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
LEFT = 0.12  # an extremum counts once the signal has left it by this share of its amplitude
FLANK = 0.05  # of the amplitude, see `turning_time`
ED_REACH_S = 0.06  # the atrial kick is short, a diastasis at the same height before it is not part of the event
ES_REACH_S = 0.15
NEAR = 0.3  # of a period: an event must be the extremum of its neighbourhood this far to both sides
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
    return max(0.001 * (541.0 - 2.2 * heart_rate_bpm - config.q_to_r_ms), 0.12)


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
    centred = time_s - 0.5 * (time_s.max() + time_s.min())
    degree = min(max(int(0.8 * span_s), 1), 2)
    basis: Signal = np.linalg.qr(np.vander(2.0 * centred / max(span_s, 1e-9), degree + 1))[0]
    return basis


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


def smooth3(signal: Signal) -> Signal:
    """Lightly smoothed (T,): 1-2-1, ends kept."""
    out = signal.copy()
    out[1:-1] = 0.25 * signal[:-2] + 0.5 * signal[1:-1] + 0.25 * signal[2:]
    return out


def amplitude_of(signal: Signal) -> float:
    """Robust peak-to-peak range."""
    ordered = np.sort(signal)  # a tenth of the cost of np.percentile
    margin = int(0.04 * len(ordered))
    return float(ordered[-1 - margin] - ordered[margin])


def turning_time(time_s: Signal, signal: Signal, index: int, height: float, reach_s: float) -> float:
    """When a signal (T,) turns: the middle between rising to and falling from `height` below its peak at an index.

    Around its extremum a signal is flat, and one taken from images need not even peak there; the flanks are steep.
    Neither is sought farther than reach_s from the peak.
    """
    level = signal[index] - height
    earlier, later = np.flatnonzero(signal[:index] < level), np.flatnonzero(signal[index:] < level)
    if not len(earlier) or not len(later):
        return float(time_s[index])
    i, j = int(earlier[-1]), index + int(later[0])
    rose = time_s[i] + (time_s[i + 1] - time_s[i]) * (level - signal[i]) / (signal[i + 1] - signal[i])
    fell = time_s[j] - (time_s[j] - time_s[j - 1]) * (level - signal[j]) / (signal[j - 1] - signal[j])
    return float(0.5 * (max(rose, time_s[index] - reach_s) + min(fell, time_s[index] + reach_s)))


def end_diastoles(time_s: Signal, length: Signal, period_s: float, after_s: float) -> list[float]:
    """Confirmed end-diastoles later than after_s: maxima of a length-like signal (T,) from which it has fallen.

    A maximum counts when nothing within 0.3 periods after it is larger and nothing before it much larger, when it is
    a third of the amplitude above what came in the 0.7 periods before it, and left by 12 % of the amplitude since.
    The last maximum before that fall is taken: the atrial kick, not a diastasis that drift has lifted above it.
    """
    amplitude = amplitude_of(length)
    inner = length[1:-1]
    peaks = 1 + np.flatnonzero((inner > length[:-2]) & (inner >= length[2:]) & (time_s[1:-1] > after_s))
    found: list[float] = []
    for i in peaks:
        apart = time_s - time_s[i]
        before = length[(apart < 0.0) & (apart >= -0.7 * period_s)]
        if not len(before) or length[i] - before.min() < amplitude / 3.0:
            continue
        near_before = length[(apart <= 0.0) & (apart >= -NEAR * period_s)].max()
        near_after = length[(apart >= 0.0) & (apart <= NEAR * period_s)]
        fallen = np.flatnonzero(near_after < length[i] - LEFT * amplitude)
        if not len(fallen) or near_after.max() > length[i] or near_before > length[i] + LEFT * amplitude:
            continue
        last = int(peaks[(peaks >= i) & (peaks < i + fallen[0])][-1])
        found.append(turning_time(time_s, length, last, FLANK * amplitude, ED_REACH_S))
    return sorted(set(found))


def end_systole(time_s: Signal, length: Signal, ed_s: float, period_s: float) -> float | None:
    """Time of the smallest length after an end-diastole; None while the signal has not risen from it again.

    It is looked for 0.12 to 0.65 periods after ED.
    """
    inside = np.flatnonzero((time_s > ed_s + 0.12 * period_s) & (time_s < ed_s + 0.65 * period_s))
    if not len(inside):
        return None
    lowest = int(inside[length[inside].argmin()])
    amplitude = amplitude_of(length)
    if length[lowest:].max() - length[lowest] < LEFT * amplitude:
        return None
    return turning_time(time_s, -length, lowest, FLANK * amplitude, ES_REACH_S)


def systolic_sign(time_s: Signal, component: Signal, period_s: float) -> float:
    """Which way a component of unknown sign goes in systole: > 0 upwards, < 0 downwards, near 0: cannot say.

    Systole is shorter than diastole below about 100 beats a minute, and the heart fills faster than it empties.
    """
    recent = time_s >= time_s[-1] - max(1, int((time_s[-1] - time_s[0]) / period_s)) * period_s
    y = smooth3(component[recent])
    ordered = np.sort(y)
    edge = len(ordered) // 20
    share_high = float((y > 0.5 * (ordered[edge] + ordered[-1 - edge])).mean())
    slope = np.sort(np.diff(y) / np.maximum(np.diff(time_s[recent]), 1e-3))
    edge = len(slope) // 33
    up, down = float(slope[-1 - edge]), -float(slope[edge])
    fastest = (down - up) / (down + up) if down + up > 0.0 else 0.0
    return 2.0 * (0.5 - share_high) + 0.5 * fastest


def distance_from_systole(components: Signal) -> Signal:
    """Length-like signal (T,) of a picture's movements (T, K), the first of which is largest in systole.

    How far each frame is from the mean end-systolic one, all movements together: large motion saturates the first
    movement, but not the distance.
    """
    strongest = np.sort(components[:, 0])[-1 - len(components) // 10]
    systolic = components[components[:, 0] >= strongest].mean(axis=0)
    distance: Signal = np.sqrt(((components - systolic) ** 2).sum(axis=1))
    return distance


def quietest(time_s: Signal, energy: Signal, start_s: float, end_s: float, calm_below: float) -> float | None:
    """Time of the least motion energy between two times, or None when even that is not calm."""
    inside = np.flatnonzero((time_s >= start_s) & (time_s <= end_s) & np.isfinite(energy))
    if not len(inside):
        return None
    calm = int(inside[energy[inside].argmin()])
    return float(time_s[calm]) if energy[calm] <= calm_below else None
