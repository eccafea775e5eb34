"""Settings of `eval-phase`: which hearts are recorded, how they beat, and how their streams are played."""

from typing import Literal

from pydantic import Field

from specktrack.rt.config import BeatConfig, SessionConfig
from specktrack.rt.settings import Section

RhythmKind = Literal["sinus", "fibrillation", "step", "still"]
Playing = Literal["image", "picture", "drops", "trigger", "ecg"]  # see play.py


class Group(Section):
    """Hearts that beat alike. One recording for each rate and heart."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    rhythm: RhythmKind = "sinus"  # step: the first rate for half the time, then step_to_bpm; still: an endless pause
    rates_bpm: tuple[float, ...] = Field(default=(70.0,), min_length=1)
    step_to_bpm: float = Field(default=100.0, gt=0)
    hearts: int = Field(default=1, ge=1)
    seconds: float = Field(default=8.0, gt=0)
    rr_sd: float = Field(default=0.03, ge=0)  # of the beats, share of their mean
    ectopic_share: float = Field(default=0.0, ge=0, le=1)
    frame_rate_hz: float = Field(default=55.0, gt=0)
    playings: tuple[Playing, ...] = ("image",)


class PhaseEvalConfig(Section):
    """What `eval-phase` records, plays and reports."""

    groups: tuple[Group, ...] = (Group(name="ordinary"),)
    views: tuple[str, ...] = ("a4c", "a2c", "a3c")  # in turn
    model: str = "specknet-s"
    threads: int = Field(default=1, ge=0)
    size_px: int = Field(default=256, ge=64)
    dropped_share: float = Field(default=0.2, ge=0, lt=1)  # of the frames, at random, in `drops`
    session: SessionConfig = SessionConfig(beat=BeatConfig(retrack=False))  # settling again is not judged here
    seed: int = 1000  # 0 is what the estimator was tuned on
    recordings: str = "runs/phase/recordings"  # rendered once, used again
    out: str = "runs/phase/report"
