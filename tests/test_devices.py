"""One run in several processes: the same weights in each, other batches in each, files from the first."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_runs import STEPS, config_of, losses_of, save_four_clips

from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import load_checkpoint
from specktrack.training.train import Trainer

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(*arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_four_clips(tmp_path_factory.mktemp("clips"))


def test_two_processes_end_with_the_same_weights(clips: Path, tmp_path: Path) -> None:
    both, alone = tmp_path / "both", tmp_path / "alone"
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_of(clips, both, devices=2).model_dump(mode="json")))
    start(*TORCHRUN, str(Path(__file__).parent / "two_processes.py"), str(path))
    first, second = (torch.load(both / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    checkpoint = load_checkpoint(both / "last.pt")
    assert checkpoint.step == STEPS
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    for name, value in checkpoint.state["network"].items():
        assert torch.equal(value, first.get(name, value)), name
    assert np.isfinite([float(row[1]) for row in losses_of(both)[1:]]).all()
    Trainer(config_of(clips, alone)).run()  # the batches of the second process have made a difference
    lone = load_checkpoint(alone / "last.pt").state
    assert not torch.equal(lone["network"]["stem.0.weight"], first["stem.0.weight"])


def test_the_command_starts_as_many_processes_as_there_are_devices(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_of(clips, tmp_path / "out", devices=2, steps=2).model_dump(mode="json")))
    start("-m", "specktrack.training.train", str(path))
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == 2


def test_processes_of_torchrun_that_the_settings_do_not_know_of_are_refused(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r"devices: 1 on num_nodes 2, but torchrun started 4 processes; set devices"):
        Trainer(config_of(clips, tmp_path, num_nodes=2))
