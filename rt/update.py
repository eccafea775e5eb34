"""What a session says about one frame, and about one finished beat: the values that leave the room."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.geometry import FloatArray

GroupKind = Literal["contour", "points"]
PhaseLabel = Literal["systole", "early_filling", "diastasis", "atrial"]
PhaseSource = Literal["ecg", "trigger", "image"]


@dataclass(frozen=True)
class Group:
    """A named run of query points: `count` points starting at `first` in every points array."""

    name: str
    kind: GroupKind
    first: int
    count: int
    segments: int | None = None  # contours only

    @property
    def slice(self) -> slice:
        """Where the group lies on the point axis."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True)
class PhaseEstimate:
    """Where in the beat a frame lies."""

    fraction: float  # [0, 1) from ED to ED
    label: PhaseLabel
    beat: int  # counts from 0 within an epoch
    heart_rate_bpm: float
    source: PhaseSource
    is_locked: bool


@dataclass(frozen=True)
class BeatEvents:
    """The events of one finished beat; times in seconds on the sender's clock."""

    beat: int
    ed_s: float
    es_s: float
    next_ed_s: float
    diastasis_s: float | None
    heart_rate_bpm: float


@dataclass(frozen=True)
class AnchorInfo:
    """Which frame the appearance templates come from."""

    seq: int
    age_s: float
    count: int  # re-anchorings so far


@dataclass(frozen=True)
class StrainSample:
    """Lagrangian strain of one frame, percent, negative when shortening."""

    global_percent: float
    segments_percent: tuple[float | None, ...]  # None: segment rejected
    rate_per_s: float | None
    since_ed_s: float | None
    provisional: bool = True


@dataclass(frozen=True)
class SettledBeat:
    """One finished beat after its drift was closed (protocol.md, `beat/<stream>`)."""

    beat: int
    seq: NDArray[np.int64]  # (T,)
    t_acq_ns: NDArray[np.int64]  # (T,)
    tracks: FloatArray  # (T, N, 3): x, y in source pixels, confidence
    ed_index: int  # indices into the T frames
    es_index: int
    next_ed_index: int
    diastasis_index: int | None
    heart_rate_bpm: float
    gls_percent: float | None  # at end-systole; None without a contour
    peak_percent: float | None
    segments_percent: tuple[float | None, ...]
    strain_percent: FloatArray  # (T,); NaN where unknown
    drift_percent: float | None
    mapse_mm: float | None
    quality: tuple[float, ...]  # per segment, 0..1
    accepted: bool
    why: str | None = None


@dataclass(frozen=True)
class Update:
    """The answer to one frame."""

    seq: int
    t_acq_ns: int
    clock: str
    points: FloatArray  # (N, 3): x, y in source pixels, confidence 0..1; a lost point is NaN, NaN, 0
    groups: tuple[Group, ...]
    phase: PhaseEstimate | None
    anchor: AnchorInfo | None
    strain: StrainSample | None
    beats: tuple[SettledBeat, ...] = ()  # beats that this frame finished
    stage_ms: dict[str, float] = field(default_factory=dict)  # preprocess, encode, match, analyse
    is_new_epoch: bool = False  # geometry changed or the clock jumped: points were lost
    message: str = ""
