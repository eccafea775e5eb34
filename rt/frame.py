"""One frame of a stream as every stage sees it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import Geometry


@dataclass(frozen=True)
class EcgChunk:
    """The ECG since the last frame, on the clock of the frame."""

    rate_hz: float
    t0_ns: int
    samples: NDArray[np.float32]  # (K,), any unit


@dataclass(frozen=True)
class Frame:
    """What the scanner sent, decoded: `pixels` is read-only and may share memory with the socket's message."""

    stream: str
    seq: int
    t_acq_ns: int
    clock: str
    pixels: NDArray[np.uint8] | NDArray[np.uint16]  # (H, W) grey or (H, W, 3) RGB
    geometry: Geometry
    frame_rate_hz: float | None = None
    ecg: EcgChunk | None = None
    r_waves_ns: tuple[int, ...] | None = None
    is_frozen: bool = False

    @property
    def time_s(self) -> float:
        """Acquisition time in seconds on the sender's clock."""
        return self.t_acq_ns * 1e-9
