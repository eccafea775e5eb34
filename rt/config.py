"""All settings of the runtime with their defaults; YAML files and `--set key=value` only override them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from specktrack.rt.settings import Section, load_settings


class FramesConfig(Section):
    """Where frames come from."""

    endpoint: str = "tcp://127.0.0.1:5555"
    mode: Literal["pull", "sub"] = "pull"  # pull: we bind; sub: we connect to a publishing scanner
    queue: int = Field(default=4, ge=1, le=256)  # frames waiting at most; the oldest is dropped and counted


class ResultsConfig(Section):
    """Where results are published."""

    endpoint: str = "tcp://127.0.0.1:5556"
    high_water_mark: int = Field(default=64, ge=1)  # messages per subscriber before PUB drops


class ControlConfig(Section):
    """Where control requests are answered."""

    endpoint: str = "tcp://127.0.0.1:5557"


class RecordConfig(Section):
    """Recordings that clients ask for."""

    folder: str = "recordings"  # none is written outside it; made when the first one begins
    max_gib: float = Field(default=64.0, gt=0)  # a recording ends there
    waiting_mib: float = Field(default=128.0, gt=0)  # for a slow disk; beyond, messages are left out and counted


class SecurityConfig(Section):
    """CURVE on all three sockets (security.py)."""

    curve: bool = False
    server_key: str = ""  # secret certificate of the server
    allow: str = ""  # folder with the public certificates of the clients that may connect
    scanner_key: str = ""  # public certificate of a scanner that publishes, for frames.mode sub


class MetricsConfig(Section):
    """Figures for a monitoring system (metrics.py)."""

    port: int | None = Field(default=None, ge=0, le=65535)  # on loopback; null: off, 0: any free one


class LimitsConfig(Section):
    """Largest message accepted; anything over is invalid."""

    max_side_px: int = Field(default=2048, ge=64, le=8192)
    max_points: int = Field(default=1024, ge=1)
    max_streams: int = Field(default=4, ge=1)


class ModelConfig(Section):
    """Which network or matcher follows the speckle, and what runs it."""

    name: str = "specknet-s"  # a shipped name, a path to a model file, "block", or a windowed model (docs/baselines.md)
    weights: str = ""  # checkpoint of a windowed model
    window: int = Field(default=24, ge=6, le=128)  # frames such a model sees together; cotracker3 has its own
    engine: Literal["auto", "tensorrt", "torch", "onnxruntime", "openvino", "block"] = "auto"
    threads: int = Field(default=0, ge=0)  # 0: all cores but one, which flow and sockets need


class WindowConfig(Section):
    """How much of the recent past is kept, with its features."""

    frames: int = Field(default=128, ge=8)
    max_gap_ms: float = Field(default=1000.0, gt=0)  # a longer silence empties the window


class MatchConfig(Section):
    """How templates and motion prior are fused; lengths in pixels of a 256-pixel image."""

    still_sigma_px: float = Field(default=5.0, gt=0)  # of the prior around the last position, engines without flow
    loop_sigma_px: float = Field(default=5.0, gt=0)  # of the prior when the identity template is asked for the drift
    loop_rate: float = Field(default=0.25, gt=0, le=1)  # share of the drift taken out per frame
    lost_sigma_px: float = Field(default=8.0, gt=0)  # of the prior after missing frames
    trust_rate: float = Field(default=0.2, gt=0, le=1)  # share of a new frame in a point's averaged confidence
    lost_below: float = Field(default=0.1, ge=0, le=1)  # averaged confidence under which a point is lost
    still_share: float = Field(default=0.3, ge=0, lt=1)  # of the pattern that does not move, taken out
    identity_share: float = Field(default=0.5, ge=0, le=1)  # of the anchor weight; the rest is the latest diastasis'
    steady: bool = True  # publish points where their surer neighbours have the wall; false: as they are followed


class PhaseConfig(Section):
    """Cardiac phase."""

    min_rate_bpm: float = Field(default=35.0, gt=0)
    max_rate_bpm: float = Field(default=180.0, gt=0)
    r_to_ed_ms: float = 0.0  # R peak to end-diastole; depends on the lead and the site
    q_to_r_ms: float = Field(default=40.0, ge=0)  # heart-rate model of diastasis: start of QRS to the R peak
    relaxation_ms: float = Field(default=75.0, ge=0)  # end-systole to mitral opening
    early_filling_ms: float = Field(default=150.0, ge=0)  # mitral opening to the end of the early filling wave
    atrial_ms: float = Field(default=100.0, ge=0)  # onset of the atrial wave before the R peak


class AnchorConfig(Section):
    """Re-anchoring."""

    enabled: bool = True


class StrainConfig(Section):
    """Strain of contours."""

    query_points: int = Field(default=61, ge=7, le=401)  # evenly spaced along a contour
    knots: int = Field(default=13, ge=4)
    segments: int = Field(default=6, ge=1, le=18)
    min_confidence: float = Field(default=0.3, ge=0, le=1)  # live: median of a segment below it: segment rejected
    min_beat_confidence: float = Field(default=0.9, ge=0, le=1)  # settled: the same over all frames of the beat
    min_event_confidence: float = Field(default=0.75, ge=0, le=1)  # settled: the same at end-diastole and end-systole
    # Below these a segment has no value of its own, but the line still runs through it:
    min_end_confidence: float = Field(default=0.95, ge=0, le=1)  # mean over the beat at either end
    min_value_confidence: float = Field(default=0.985, ge=0, le=1)  # median over the beat
    min_value_event_confidence: float = Field(default=0.9, ge=0, le=1)  # median at end-diastole and end-systole
    max_loop_mm: float = Field(default=2.0, gt=0)  # median drift of a segment over one beat above it: rejected
    max_forward_backward_mm: float = Field(default=2.0, gt=0)  # between two ways through the beat: segment rejected
    max_roughness_mm: float = Field(default=2.0, gt=0)  # of points from their smooth curve: segment rejected
    max_drift_percent: float = Field(default=3.0, gt=0)  # strain points of drift over one beat: beat not accepted


class BeatConfig(Section):
    """Settling of finished beats."""

    retrack: bool = True  # follow each beat once more from its diastasis
    frames_per_frame: float = Field(default=1.5, gt=0)  # frames of that for each frame of the stream


class HealthConfig(Section):
    """When a stream counts as degraded, stalled or lost."""

    stalled_after_ms: float = Field(default=500.0, gt=0)
    lost_after_s: float = Field(default=10.0, gt=0)
    status_interval_s: float = Field(default=1.0, gt=0)


class SessionConfig(Section):
    """What one stream's session needs."""

    window: WindowConfig = WindowConfig()
    match: MatchConfig = MatchConfig()
    phase: PhaseConfig = PhaseConfig()
    anchor: AnchorConfig = AnchorConfig()
    strain: StrainConfig = StrainConfig()
    beat: BeatConfig = BeatConfig()


class DaemonConfig(Section):
    """Everything `rt-serve` can be told."""

    frames: FramesConfig = FramesConfig()
    results: ResultsConfig = ResultsConfig()
    control: ControlConfig = ControlConfig()
    record: RecordConfig = RecordConfig()
    security: SecurityConfig = SecurityConfig()
    metrics: MetricsConfig = MetricsConfig()
    limits: LimitsConfig = LimitsConfig()
    model: ModelConfig = ModelConfig()
    session: SessionConfig = SessionConfig()
    health: HealthConfig = HealthConfig()


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> DaemonConfig:
    """Read YAML overrides and `section.key=value` strings; raises ConfigError with one line for each wrong setting."""
    return load_settings(DaemonConfig, path, overrides)
