"""What the signals of a beating heart look like, and how badly given events explain those measured.

Shortening rises from end-diastole to end-systole, stands still while the ventricle relaxes, and goes back in three
parts: early filling, a slow diastasis, the atrial kick. When each happens follows from the events and the heart rate
(cycle.py); how much of it a signal shows, and with which sign, is fitted to every signal on its own, beside a slow
trend (breathing, the probe). Whatever moves with the beat can therefore be used: a length, movements of the picture.
How large the three parts are is either free for every signal, or given: then the events of a beat cannot be mistaken
for one another.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Signal = NDArray[np.float64]

ONSET_S = 0.015  # from end-diastole to the first shortening
SHORTEST_FILLING_S = 0.05
TREND_DEGREE = 2
SLOW_SHARE = 0.06  # of the shortening returns during diastasis
N_SHAPES = 3
FREE = np.eye(N_SHAPES)  # mixing (3, M) of the shapes: each on its own
RIDGE = 1e-6  # keeps shapes apart that a short window does not tell apart


@dataclass(frozen=True)
class Timing:
    """Durations, s, that hardly change with the heart rate."""

    relaxation_s: float  # end-systole to mitral opening
    early_s: float  # early filling
    atrial_s: float  # atrial kick before end-diastole

    def as_array(self) -> Signal:
        """As the kernels take it."""
        return np.array([self.relaxation_s, self.early_s, self.atrial_s])


def shares(early: float) -> Signal:
    """Mixing (3, 1) for signals in proportion to the shortening: so much of it returns by early filling."""
    return np.array([[1.0], [early], [SLOW_SHARE]])


@njit(cache=True)
def _rise(t: float, start: float, duration: float) -> float:
    """Raised cosine from 0 to 1."""
    u = (t - start) / duration
    if u <= 0.0:
        return 0.0
    return 1.0 if u >= 1.0 else 0.5 - 0.5 * math.cos(math.pi * u)


@njit(cache=True)
def _shapes_at(t: float, ed: float, es: float, next_ed: float, timing: Signal, out: Signal) -> None:
    """Three shapes that begin and end a beat at 0: shortening undone by kick, early filling or slow diastasis."""
    opening = es + timing[0]
    filling = max(next_ed - opening, SHORTEST_FILLING_S)
    systole = _rise(t, ed + ONSET_S, es - ed - ONSET_S)
    early = _rise(t, opening, min(timing[1], filling))
    kick_s = min(timing[2], 0.5 * filling)
    kick = _rise(t, next_ed - kick_s, kick_s)
    slow = min(max((t - opening) / filling, 0.0), 1.0)
    out[0] = systole - kick
    out[1] = kick - early
    out[2] = kick - slow


@njit(cache=True)
def misfit(
    time_s: Signal,
    signals: Signal,
    floor: Signal,
    ed_s: Signal,
    es_s: Signal,
    timing: Signal,
    mixing: Signal,
    first_falls: bool,
) -> Signal:
    """Negative log likelihood (K,) of signals (T, K) when beats begin at ed_s (B + 1,) and systoles end at es_s (B,).

    Noise of unknown size in each signal, at least of variance floor (K,). With first_falls the first signal is a
    length: events at which it would grow in systole are as bad as no beat at all.
    """
    n_frames, n_signals = signals.shape
    n_mixed = mixing.shape[1]
    n = n_mixed + 1 + TREND_DEGREE
    normal, right = np.zeros((n, n)), np.zeros((n, n_signals))
    squares, row, shapes = np.zeros(n_signals), np.zeros(n), np.zeros(N_SHAPES)
    middle, half = 0.5 * (time_s[0] + time_s[-1]), 0.5 * max(time_s[-1] - time_s[0], 1e-3)
    beat = 0
    for i in range(n_frames):
        while beat < len(es_s) - 1 and time_s[i] >= ed_s[beat + 1]:
            beat += 1
        _shapes_at(time_s[i], ed_s[beat], es_s[beat], ed_s[beat + 1], timing, shapes)
        for p in range(n_mixed):
            row[p] = 0.0
            for q in range(N_SHAPES):
                row[p] += shapes[q] * mixing[q, p]
        row[n_mixed] = 1.0
        for d in range(TREND_DEGREE):
            row[n_mixed + 1 + d] = row[n_mixed + d] * (time_s[i] - middle) / half
        for p in range(n):
            for q in range(p + 1):
                normal[p, q] += row[p] * row[q]
            for k in range(n_signals):
                right[p, k] += row[p] * signals[i, k]
        for k in range(n_signals):
            squares[k] += signals[i, k] * signals[i, k]
    _solve_lower(normal, right, RIDGE * n_frames)
    negative = np.zeros(n_signals)
    for k in range(n_signals):
        rest = squares[k]
        for p in range(n):
            rest -= right[p, k] * right[p, k]
        if k == 0 and first_falls and _first_shape(normal, right) >= 0.0:
            rest = squares[0]
        negative[k] = 0.5 * n_frames * math.log(max(rest, 0.0) / n_frames + floor[k])
    return negative


@njit(cache=True)
def _solve_lower(normal: Signal, right: Signal, ridge: float) -> None:
    """In place: the lower Cholesky factor of normal (its lower half is read), and its inverse times right."""
    n, n_signals = right.shape
    for p in range(n):
        normal[p, p] += ridge
        for q in range(p + 1):
            left = normal[p, q]
            for r in range(q):
                left -= normal[p, r] * normal[q, r]
            normal[p, q] = math.sqrt(max(left, 1e-12)) if p == q else left / normal[q, q]
        for k in range(n_signals):
            left = right[p, k]
            for r in range(p):
                left -= normal[p, r] * right[r, k]
            right[p, k] = left / normal[p, p]


@njit(cache=True)
def _first_shape(lower: Signal, right: Signal) -> float:
    """How much of the first shape the first signal shows, by back substitution."""
    n = len(lower)
    solution = np.zeros(n)
    for p in range(n - 1, -1, -1):
        left = right[p, 0]
        for r in range(p + 1, n):
            left -= lower[r, p] * solution[r]
        solution[p] = left / lower[p, p]
    return float(solution[0])


def misfit_numpy(
    time_s: Signal,
    signals: Signal,
    floor: Signal,
    ed_s: Signal,
    es_s: Signal,
    timing: Signal,
    mixing: Signal,
    first_falls: bool,
) -> Signal:
    """Slow twin of `misfit`."""
    shapes = np.zeros((len(time_s), N_SHAPES))
    for i, t in enumerate(time_s):
        beat = int(np.clip(np.searchsorted(ed_s, t, side="right") - 1, 0, len(es_s) - 1))
        _shapes_at.py_func(float(t), ed_s[beat], es_s[beat], ed_s[beat + 1], timing, shapes[i])
    middle, half = 0.5 * (time_s[0] + time_s[-1]), 0.5 * max(time_s[-1] - time_s[0], 1e-3)
    design = np.column_stack((shapes @ mixing, np.vander((time_s - middle) / half, TREND_DEGREE + 1, increasing=True)))
    normal = design.T @ design + RIDGE * len(time_s) * np.eye(design.shape[1])
    right = design.T @ signals
    solution = np.linalg.solve(normal, right)
    rest = (signals**2).sum(0) - (right * solution).sum(0)
    if first_falls and solution[0, 0] >= 0.0:
        rest[0] = (signals[:, 0] ** 2).sum()
    negative: Signal = 0.5 * len(time_s) * np.log(np.maximum(rest, 0.0) / len(time_s) + floor)
    return negative


def warm_up() -> None:
    """Compile or load the kernel (0.3 s) before the first frame."""
    times = np.arange(8.0)
    misfit(times, np.zeros((8, 1)), np.ones(1), np.array([0.0, 8.0]), np.array([3.0]), np.ones(3), FREE, True)
    misfit(times, np.zeros((8, 1)), np.ones(1), np.array([0.0, 8.0]), np.array([3.0]), np.ones(3), shares(0.7), True)
