"""A surface ECG that belongs to a rhythm: P, QRS and T waves, a wandering baseline, muscle and mains noise.

Waves are Gaussians, as in McSharry's model (IEEE Trans Biomed Eng 2003;50:289), placed by the phantom's own timing:
R at end-diastole, the end of T at aortic closure, P before the atrial kick.
"""

import numpy as np
from numpy.typing import NDArray

from specktrack.training.rhythm import ATRIAL_KICK_S, Rhythm

RATE_HZ = 250.0
QRS = ((-0.022, 0.010, -0.12), (0.0, 0.011, 1.0), (0.024, 0.010, -0.25))  # centre s, width s, height mV
T_WAVE = (0.045, 0.30)  # width s, height mV
P_WAVE = (0.02, 0.12)
BASELINE_MV, BASELINE_HZ = 0.25, 0.3
MUSCLE_MV = 0.03
MAINS_MV, MAINS_HZ = 0.02, 50.0


def ecg_of(rhythm: Rhythm, duration_s: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (K,) s and samples (K,) mV at RATE_HZ from 0 to the duration."""
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, duration_s, 1.0 / RATE_HZ)
    ecg = BASELINE_MV * np.sin(2 * np.pi * BASELINE_HZ * times + rng.uniform(0, 2 * np.pi))
    ecg += MAINS_MV * np.sin(2 * np.pi * MAINS_HZ * times) + rng.normal(0.0, MUSCLE_MV, len(times))
    for beat in range(len(rhythm.ed_s) - 1):
        r_s = rhythm.ed_s[beat]
        if not -1.0 < r_s < duration_s + 1.0:
            continue
        for centre, width, height in QRS:
            ecg += height * _bump(times, r_s + centre, width)
        width, height = T_WAVE
        ecg += height * _bump(times, rhythm.end_systole_s(beat) - 1.5 * width, width)
        if rhythm.has_kick:
            width, height = P_WAVE
            ecg += height * _bump(times, r_s - ATRIAL_KICK_S - 0.05, width)
    return times, ecg


def _bump(times: NDArray[np.float64], centre_s: float, width_s: float) -> NDArray[np.float64]:
    bump: NDArray[np.float64] = np.exp(-0.5 * ((times - centre_s) / width_s) ** 2)
    return bump
