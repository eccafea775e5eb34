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
class LayerStrain:
    """End-systolic strain of one contour among several: a layer of the wall."""

    name: str  # of the group
    gls_percent: float | None


@dataclass(frozen=True, kw_only=True)
class BeatMeasures:
    """What is measured of the contour of one finished beat of T frames; None and NaN where nothing is known."""

    gls_percent: float | None = None  # at end-systole
    peak_percent: float | None = None  # most negative of the whole beat
    segments_percent: tuple[float | None, ...] = ()  # (S,) at end-systole; None: rejected, as in all of segments_*
    strain_percent: FloatArray  # (T,)
    drift_percent: float | None = None  # that was taken out
    mapse_mm: float | None = None  # mean of annulus_mm
    quality: tuple[float, ...] = ()  # (S,) 0..1
    why: str | None = None  # the beat is not accepted
    segments_why: tuple[str | None, ...] = ()  # (S,) why a segment is rejected
    segments_peak_percent: tuple[float | None, ...] = ()
    segments_post_systolic_index_percent: tuple[float | None, ...] = ()
    segments_time_to_peak_ms: tuple[float | None, ...] = ()  # since end-diastole
    time_to_peak_ms: float | None = None
    post_systolic_index_percent: float | None = None
    dispersion_ms: float | None = None  # SD of the segments' times to peak
    rate_per_s: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))  # (T,) Lagrangian strain rate
    peak_rates_per_s: tuple[float | None, ...] = (None, None, None)  # systolic (SRs), early (SRe), atrial (SRa)
    annulus_mm: tuple[float | None, float | None] = (None, None)  # excursion of the first and of the last base


@dataclass(frozen=True, kw_only=True)
class SettledBeat(BeatMeasures):
    """One finished beat after its drift was closed (protocol.md, `beat/<stream>`)."""

    beat: int
    seq: NDArray[np.int64]  # (T,)
    t_acq_ns: NDArray[np.int64]  # (T,)
    tracks: FloatArray  # (T, N, 3): x, y in source pixels, confidence
    ed_index: int  # indices into the T frames
    es_index: int
    next_ed_index: int
    diastasis_index: int | None
    heart_rate_bpm: float  # NaN where the next end-diastole is not known
    accepted: bool
    layers: tuple[LayerStrain, ...] = ()  # of every contour, when there are several
    is_retracked: bool = False  # followed a second time from its diastasis
    is_closed: bool = True  # the next end-diastole is known, drift was closed there


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
    events: BeatEvents | None = None  # of the beat whose end became certain with this frame, settled or not
    stage_ms: dict[str, float] = field(default_factory=dict)  # preprocess, encode, match, analyse
    is_new_epoch: bool = False  # geometry changed or the clock jumped: points were lost
    message: str = ""
