"""Tiny training runs for tests: four clips of moving dots, a few steps on one core."""

import csv
import sys
from pathlib import Path

import pytest
import torch
from tiny_clips import moving_dots

from specktrack.training.clip_format import save_clip
from specktrack.training.config import TrainConfig
from specktrack.training.train import main

STEPS = 6
TINY = {
    "steps": STEPS,
    "batch": 2,
    "size": 64,
    "n_points": 6,
    "window_px": 11,
    "precision": "32-true",
    "threads": 1,
    "log_every": 2,
    "checkpoint_every": 3,
}


def save_four_clips(folder: Path) -> Path:
    """What a user brings."""
    folder.mkdir(exist_ok=True)
    for seed in range(4):
        clip = moving_dots(n_frames=7, n_points=16, height=80, width=96, seed=seed)
        save_clip(folder / f"patient-{seed}.npz", clip)
    return folder


def config_of(clips: Path, out: Path, **changes: object) -> TrainConfig:
    return TrainConfig(**{"data": (str(clips),), "out": str(out), **TINY, **changes})  # type: ignore[arg-type]


def settings_of(clips: Path, out: Path, **changes: object) -> list[str]:
    """The same as `--set key=value` arguments."""
    settings = {"data": f"[{clips}]", "out": out, **TINY, **changes}
    return [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `train-tracker` as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["train-tracker", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def losses_of(out: Path) -> list[list[str]]:
    """Rows of losses.csv without the time they took."""
    with (out / "losses.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def assert_equal(first: object, second: object, where: str = "state") -> None:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert isinstance(second, list)
        assert len(first) == len(second), where
        for k, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal(a, b, f"{where}[{k}]")
    elif isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        assert torch.equal(first, second), where
    else:
        assert first == second, where
