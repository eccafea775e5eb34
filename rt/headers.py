"""What the msgpack headers of the wire may say: one frozen model for each kind of message (docs/protocol.md)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL_VERSION: Literal[1] = 1
NOTICE = "Research use only. Not a medical device."

State = Literal["waiting", "live", "degraded", "stalled", "frozen", "lost"]
Stream = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}\z")]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what msgpack and numpy can carry
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]
MAX_ECG_SAMPLES = 65536


class Header(BaseModel):
    """Readers ignore keys they do not know, refuse wrong types and never see NaN or infinity."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Message(Header):
    """What every header of a stream begins with."""

    v: Literal[1] = PROTOCOL_VERSION
    stream: Stream


class EcgHeader(Header):
    """ECG samples since the last frame."""

    rate_hz: Positive
    t0_ns: Int64
    samples: Annotated[tuple[float, ...], Field(max_length=MAX_ECG_SAMPLES)]


class FrameHeader(Message):
    """Part 1 of a frame: what the pixels in part 2 are. The daemon's limits come on top of these bounds."""

    v: Literal[1]
    seq: Count
    t_acq_ns: Int64
    clock: Annotated[str, Field(min_length=1, max_length=64)]
    height: Annotated[int, Field(ge=16, le=8192)]
    width: Annotated[int, Field(ge=16, le=8192)]
    channels: Literal[1, 3]
    dtype: Literal["u1", "u2"]
    mm_per_px: tuple[Positive, Positive] | None = None
    frame_rate_hz: Positive | None = None
    ecg: EcgHeader | None = None
    r_waves_ns: Annotated[tuple[Int64, ...], Field(max_length=1024)] | None = None
    frozen: bool = False


class GroupHeader(Header):
    """A named run of points: `count` rows starting at `first`."""

    name: str
    kind: Literal["contour", "points"]
    first: Count
    count: Count
    segments: Count | None = None  # contours only


class PhaseHeader(Header):
    """Where in the beat the frame lies."""

    fraction: Annotated[float, Field(ge=0, lt=1)]
    label: Literal["systole", "early_filling", "diastasis", "atrial"]
    beat: Count
    heart_rate_bpm: float
    source: Literal["ecg", "trigger", "image"]
    locked: bool


class AnchorHeader(Header):
    """Which frame the appearance templates come from."""

    seq: Count
    age_s: float
    count: Count


class StrainHeader(Header):
    """Strain of one frame; null stands where there is no trustworthy number."""

    global_percent: float | None
    segments_percent: tuple[float | None, ...]
    rate_per_s: float | None = None
    since_ed_s: float | None = None
    provisional: bool = True


class TrackHeader(Message):
    """Part 1 of `track/<stream>`."""

    seq: Count
    t_acq_ns: Int64
    clock: str
    t_pub_ns: Int64
    latency_ms: dict[str, float]
    state: State
    n_points: Count
    groups: tuple[GroupHeader, ...]
    phase: PhaseHeader | None = None
    anchor: AnchorHeader | None = None
    strain: StrainHeader | None = None
    dropped: Count
    gaps: Count
    notice: str = NOTICE


class LayerHeader(Header):
    """End-systolic strain of one contour among several."""

    name: str
    gls_percent: float | None


class BeatHeader(Message):
    """Part 1 of `beat/<stream>`: one finished beat, drift closed."""

    beat: Count
    clock: str
    ed_seq: Count
    es_seq: Count
    next_ed_seq: Count
    diastasis_seq: Count | None = None
    ed_ns: Int64
    es_ns: Int64
    next_ed_ns: Int64
    diastasis_ns: Int64 | None = None
    heart_rate_bpm: float
    gls_percent: float | None
    peak_percent: float | None
    segments_percent: tuple[float | None, ...]
    strain_percent: tuple[float | None, ...]
    drift_percent: float | None
    mapse_mm: float | None
    quality: tuple[float, ...]
    accepted: bool
    why: str | None = None
    segments_why: tuple[str | None, ...] = ()
    segments_peak_percent: tuple[float | None, ...] = ()
    segments_post_systolic_index_percent: tuple[float | None, ...] = ()
    segments_time_to_peak_ms: tuple[float | None, ...] = ()
    time_to_peak_ms: float | None = None
    post_systolic_index_percent: float | None = None
    dispersion_ms: float | None = None
    rate_per_s: tuple[float | None, ...] = ()
    peak_rates_per_s: tuple[float | None, ...] = ()
    annulus_mm: tuple[float | None, ...] = ()
    layers: tuple[LayerHeader, ...] = ()
    retracked: bool = False
    groups: tuple[GroupHeader, ...] = ()
    notice: str = NOTICE


class LatencyHeader(Header):
    """Receipt to publishing over the last frames, ms; `seq` is the frame of `max`."""

    p50: float
    p95: float
    p99: float
    max: float
    seq: Count


class StatusHeader(Message):
    """Part 1 of `status/<stream>`, also the result of `stats`."""

    state: State
    model: str
    engine: str
    frames_in: Count
    frames_out: Count
    dropped: Count
    gaps: Count
    invalid: Count
    frame_rate_hz: float | None
    latency_ms: LatencyHeader | None
    points: Count
    uptime_s: float
    version: str
    message: str
    notice: str = NOTICE


class ControlRequest(Header):
    """One request; what `args` must hold depends on `cmd` and is checked there."""

    v: Literal[1]
    id: Int64 | Annotated[str, Field(max_length=256)]
    cmd: Annotated[str, Field(max_length=64)]
    args: dict[str, Any] = Field(default_factory=dict)


class ErrorBody(Header):
    """Why a request was not done: a short code for programs, a sentence with the remedy for people."""

    code: str
    message: str


class ControlReply(Header):
    """The answer to the request with the same `id`: `result` when ok, `error` when not."""

    v: Literal[1] = PROTOCOL_VERSION
    id: Int64 | str
    ok: bool
    result: dict[str, Any] | None = None
    error: ErrorBody | None = None
