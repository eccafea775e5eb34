"""R waves in a stream of ECG samples, online: where the electrical beat begins.

After Pan and Tompkins (IEEE Trans Biomed Eng 1985;32:230): band-pass, energy over the width of a QRS, thresholds that
follow signal and noise, a refractory time, a second look when a beat seems missed. The band-pass is symmetric, so the
time of an R wave is that of the sample itself; it is known about 0.15 s later.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.frame import EcgChunk

Samples = NDArray[np.float64]

NARROW_S, WIDE_S = 0.008, 0.025  # the band-pass is a difference of two Gaussians of these SDs: 5 to 25 Hz
REACH_S = 0.075  # half length of it
QRS_S = 0.08  # energy is summed over so much
LEARN_S = 1.8  # of signal before the first decision, which then looks back to its start: one slow beat
KEEP_S = 4.0
REFRACTORY_S = 0.25
T_WAVE_S = 0.36  # so soon after an R wave a weaker bump is its T wave
T_SHARE = 0.5
THRESHOLD = 0.25  # between noise and signal
LEARNING_RATE, FIRST_RATE = 0.125, 0.5  # of the usual energies; the first few R waves teach faster
FEW_BEATS = 4
SILENCE_S = 4.0  # without an R wave the usual energies are wrong: learn again
MISSED = 1.6  # usual intervals without an R wave: look again for a weaker one
MAX_GAP_S = 0.1  # missing samples up to here are bridged by a line, a longer gap starts again
LOUDEST = 3.0  # times the usual: a knock on an electrode does not raise the threshold for long
LEAST_CONTRAST = 12.0  # of energy peaks to the median: below it there is no QRS, only noise (which reaches 8)


@dataclass(frozen=True)
class _Bump:
    """A local maximum of QRS energy."""

    time_s: float  # of the largest deflection in it
    energy: float


class RWaveDetector:
    """Finds R waves in chunks of samples of any length; what does not continue the stream starts it anew."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the signal: another lead, a long gap, another clock."""
        self._rate_hz = 0.0
        self._times: Samples = np.zeros(0)
        self._samples: Samples = np.zeros(0)
        self._decided_s = -math.inf  # bumps up to here have been judged
        self._signal = self._noise = 0.0  # usual energies
        self._learned_s = -math.inf
        self._last: _Bump | None = None  # the latest R wave
        self._doubtful: list[_Bump] = []  # bumps since then
        self._intervals: deque[float] = deque(maxlen=8)  # s

    def update(self, chunk: EcgChunk) -> list[float]:
        """Take in the next samples; times of the R waves they made certain, s on the chunk's clock, ascending."""
        self._append(chunk)
        if not len(self._times) or self._times[-1] - self._times[0] < LEARN_S:
            return []
        deflection = self._band_passed()
        energy = _moving_mean(deflection**2, max(round(QRS_S * self._rate_hz), 1))
        if self._is_deaf() and not self._learn(energy):
            return []
        found = [r for bump in self._new_bumps(np.abs(deflection), energy) for r in self._judge(bump)]
        self._forget()
        return found

    def _append(self, chunk: EcgChunk) -> None:
        """Samples on the end of those kept, gaps bridged, what is there already left out."""
        times = chunk.t0_ns * 1e-9 + np.arange(len(chunk.samples)) / chunk.rate_hz
        samples = np.nan_to_num(chunk.samples.astype(np.float64))
        if chunk.rate_hz != self._rate_hz:
            self.reset()
            self._rate_hz = chunk.rate_hz
        if len(self._times):
            step, end_s = 1.0 / self._rate_hz, float(self._times[-1])
            if len(times) and not end_s - KEEP_S < times[0] < end_s + MAX_GAP_S:
                self.reset()
                self._rate_hz = chunk.rate_hz
            else:
                new = times > end_s + 0.5 * step
                times, samples = times[new], samples[new]
                n_missing = round((times[0] - end_s) / step) - 1 if len(times) else 0
                if n_missing > 0:
                    bridge = np.linspace(self._samples[-1], samples[0], n_missing + 2)[1:-1]
                    samples = np.r_[bridge, samples]
                    times = np.r_[end_s + step * np.arange(1, n_missing + 1), times]
        self._times, self._samples = np.r_[self._times, times], np.r_[self._samples, samples]

    def _band_passed(self) -> Samples:
        """Deflections (K,); the last REACH_S of them are not final yet."""
        half = max(round(REACH_S * self._rate_hz), 1)
        at = np.arange(-half, half + 1) / self._rate_hz
        narrow, wide = (np.exp(-0.5 * (at / sd) ** 2) for sd in (NARROW_S, WIDE_S))
        padded = np.pad(self._samples, half, mode="edge")
        return np.convolve(padded, narrow / narrow.sum() - wide / wide.sum(), mode="valid")

    def _is_deaf(self) -> bool:
        """Nothing was learned yet, or what was learned finds nothing any more."""
        heard_s = self._last.time_s if self._last else -math.inf
        return self._signal == 0.0 or float(self._times[-1]) - max(heard_s, self._learned_s) > SILENCE_S

    def _learn(self, energy: Samples) -> bool:
        """First guess of signal and noise; False while nothing stands out."""
        highest, usual = float(energy.max()), float(np.median(energy))
        if highest <= LEAST_CONTRAST * usual:
            return False
        self._signal, self._noise = 0.7 * highest, usual
        self._learned_s = float(self._times[-1])
        return True

    def _new_bumps(self, size: Samples, energy: Samples) -> list[_Bump]:
        """Maxima of energy that are over and not judged yet."""
        half = round(0.5 * QRS_S * self._rate_hz)
        last = len(energy) - 1 - round(REACH_S * self._rate_hz) - half
        inner = energy[1:-1]
        tops = 1 + np.flatnonzero((inner > energy[:-2]) & (inner >= energy[2:]))
        bumps = []
        for i in tops[(self._times[tops] > self._decided_s) & (tops <= last)]:
            near = energy[max(i - 2 * half, 0) : min(i + 2 * half, last) + 1]
            if energy[i] < near.max():
                continue  # a shoulder of a higher one
            if i + 2 * half > last and energy[i : last + 1].min() > 0.5 * energy[i]:
                break  # not over
            self._decided_s = float(self._times[i])
            bumps.append(_Bump(self._peak_time(size, i - half, i + half), float(energy[i])))
        return bumps

    def _peak_time(self, size: Samples, first: int, last: int) -> float:
        """When the deflection is largest between two samples, to a fraction of a sample."""
        first = max(first, 0)
        i = first + int(size[first : last + 1].argmax())
        if not 0 < i < len(size) - 1:
            return float(self._times[i])
        left, middle, right = size[i - 1 : i + 2]
        bend = left - 2.0 * middle + right
        return float(self._times[i] + (0.5 * (left - right) / bend if bend else 0.0) / self._rate_hz)

    def _judge(self, bump: _Bump) -> list[float]:
        """The R waves known after this bump: itself, and one before it that was too weak at first."""
        missed = self._missed(bump.time_s)
        found = [missed] if missed else []
        if missed:
            self._take(missed)
        if self._is_r_wave(bump):
            self._take(bump)
            found.append(bump)
        else:
            self._noise += LEARNING_RATE * (min(bump.energy, self._signal) - self._noise)
            self._doubtful.append(bump)
        return [r.time_s for r in found]

    def _is_r_wave(self, bump: _Bump) -> bool:
        if bump.energy < self._noise + THRESHOLD * (self._signal - self._noise):
            return False
        if self._last is None:
            return True
        apart = bump.time_s - self._last.time_s
        return apart > T_WAVE_S or (apart > REFRACTORY_S and bump.energy > T_SHARE * self._last.energy)

    def _missed(self, time_s: float) -> _Bump | None:
        """The strongest bump since the last R wave, when one was due long ago and half the threshold is reached."""
        if self._last is None or len(self._intervals) < 2:
            return None
        if time_s - self._last.time_s < MISSED * median(self._intervals):
            return None
        since = [bump for bump in self._doubtful if bump.time_s > self._last.time_s + T_WAVE_S]
        strongest = max(since, key=lambda bump: bump.energy, default=None)
        least = self._noise + 0.5 * THRESHOLD * (self._signal - self._noise)
        return strongest if strongest and strongest.energy > least else None

    def _take(self, bump: _Bump) -> None:
        if self._last is not None:
            self._intervals.append(bump.time_s - self._last.time_s)
        self._last = bump
        self._doubtful = [other for other in self._doubtful if other.time_s > bump.time_s]
        is_new = len(self._intervals) < FEW_BEATS
        most = math.inf if is_new else LOUDEST * self._signal
        self._signal += (FIRST_RATE if is_new else LEARNING_RATE) * (min(bump.energy, most) - self._signal)

    def _forget(self) -> None:
        old = int(np.searchsorted(self._times, self._times[-1] - KEEP_S))
        self._times, self._samples = self._times[old:], self._samples[old:]


def _moving_mean(signal: Samples, width: int) -> Samples:
    """Mean (K,) over `width` samples around each."""
    padded = np.pad(signal, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
