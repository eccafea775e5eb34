"""Settings of a training run: defaults here, YAML files only override."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from specktrack.rt.settings import Section, load_settings


class TrainConfig(Section):
    """What `train-tracker` is told."""

    model: str = "specknet-s"
    data: tuple[str, ...] = ("runs/data/train",)  # folders of clips
    data_note: str = ""  # what the clips are, for the model card
    out: str = "runs/specknet-s"
    seed: int = 1
    steps: int = Field(default=20000, ge=1)
    batch: int = Field(default=6, ge=1)  # examples; each has an anchor, recent frames and a target
    size: int = Field(default=256, ge=64, multiple_of=8)
    n_points: int = Field(default=48, ge=1)
    recent_lags: tuple[int, ...] = (4, 1)  # falling
    window_px: int = Field(default=21, ge=5)  # side of the searched square
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"
    threads: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=500, ge=1)

    @field_validator("recent_lags")
    @classmethod
    def _falls_to_one_or_more(cls, lags: tuple[int, ...]) -> tuple[int, ...]:
        if list(lags) != sorted(set(lags), reverse=True) or any(lag < 1 for lag in lags):
            raise ValueError("must fall and be 1 or more, for example [4, 1]")
        return lags


def load_train_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """YAML overrides, then `key=value` strings; raises ConfigError with one line for each wrong setting."""
    return load_settings(TrainConfig, path, overrides)
