"""Settings of a training run: defaults here, YAML files only override."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from specktrack.rt.settings import Section, load_settings
from specktrack.training.augment import AffineRanges
from specktrack.training.data import QueryShares
from specktrack.training.sources import Source


class TrainConfig(Section):
    """What `train-tracker` is told."""

    model: str = "specknet-s"
    init_from: str = ""  # a checkpoint or a shipped name to start from: weights only
    data: tuple[Source, ...] = (Source(folder="runs/data/train"),)  # or plain folders
    data_note: str = ""  # what the clips are, for the model card
    out: str = "runs/specknet-s"
    seed: int = 1
    steps: int = Field(default=20000, ge=1)
    batch: int = Field(default=6, ge=1)  # examples; each has an anchor, recent frames and a target
    size: int = Field(default=256, ge=64, multiple_of=8)
    n_points: int = Field(default=48, ge=1)
    recent_lags: tuple[int, ...] = (4, 1)  # falling
    query: QueryShares = QueryShares()  # where the anchor lies in the beat
    affine: AffineRanges = AffineRanges()  # of frames and tracks together
    appearance: bool = True  # gain, noise, shadows and the like on the frames
    window_px: int = Field(default=21, ge=5)  # side of the searched square
    window_frames: int = Field(default=24, ge=6)  # trackers of others: frames in a row, in place of recent_lags
    iterations: int = Field(default=4, ge=1)  # trackers of others: refinements
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)  # averaging of the weights in network.pt; 0 switches it off
    kept: float = Field(default=0.0, ge=0, lt=1)  # share of the weights it began with, in network.pt
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"  # bf16 where the machine has units for it
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"
    devices: int = Field(default=1, ge=1)  # on each machine; the batch is that of one device
    num_nodes: int = Field(default=1, ge=1)  # machines, started by torchrun
    threads: int = Field(default=0, ge=0)  # of torch; 0: as many as torch thinks best
    workers: int = Field(default=0, ge=0)  # processes that make examples, for each device; 0: a thread
    cache_mb: float = Field(default=2048.0, gt=0)  # decoded clips kept in memory, for each device
    log_every: int = Field(default=20, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)

    @field_validator("data", mode="before")
    @classmethod
    def _a_plain_folder_has_weight_one(cls, data: Any) -> Any:
        if isinstance(data, str) or not isinstance(data, Sequence) or not data:
            raise ValueError("must be a list of folders, for example [my/clips]")
        return tuple(Source(folder=entry) if isinstance(entry, str) else entry for entry in data)

    @field_serializer("data")
    def _weight_one_is_a_plain_folder(self, data: tuple[Source, ...]) -> list[str | dict[str, Any]]:
        return [
            source.folder if source == Source(folder=source.folder) else source.model_dump(exclude_defaults=True)
            for source in data
        ]

    @model_validator(mode="after")
    def _has_weights_to_keep(self) -> "TrainConfig":
        if self.kept > 0.0 and not self.init_from:
            raise ValueError("kept: there is nothing to keep; name the weights to begin with as init_from")
        return self

    @field_validator("recent_lags")
    @classmethod
    def _falls_to_one_or_more(cls, lags: tuple[int, ...]) -> tuple[int, ...]:
        if list(lags) != sorted(set(lags), reverse=True) or any(lag < 1 for lag in lags):
            raise ValueError("must fall and be 1 or more, for example [4, 1]")
        return lags


def load_train_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """YAML overrides, then `key=value` strings; raises ConfigError with one line for each wrong setting."""
    return load_settings(TrainConfig, path, overrides)
