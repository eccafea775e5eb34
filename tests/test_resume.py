"""Stopped runs go on exactly where they stopped, also after a power cut."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import STEPS, assert_equal, config_of, losses_of, save_four_clips, settings_of

from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.config import TrainConfig
from specktrack.training.data import Batch
from specktrack.training.losses import Losses
from specktrack.training.train import Trainer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_four_clips(tmp_path_factory.mktemp("clips"))


class PowerCutError(RuntimeError):
    """Stands for a power cut."""


class DyingTrainer(Trainer):
    """A run that dies in step `last + 1`."""

    last = 5

    def _train_step(self, learner: object, optimizer: object, batch: Batch) -> Losses:
        if self.step == self.last:
            raise PowerCutError
        return super()._train_step(learner, optimizer, batch)


def resume(config: TrainConfig) -> Checkpoint:
    trainer = Trainer(config)
    trainer.restore()
    trainer.run()
    return load_checkpoint(trainer.out / "last.pt")


@pytest.fixture(scope="module")
def whole_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Checkpoint]:
    out = tmp_path_factory.mktemp("whole")
    config = config_of(clips, out)
    Trainer(config).run()
    return config, load_checkpoint(out / "last.pt")


def test_a_stopped_and_resumed_run_equals_one_that_was_never_stopped(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    """The checkpoint at step 3 falls between two rows of losses."""
    config = config_of(clips, tmp_path)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    assert load_checkpoint(tmp_path / "last.pt").step == 3
    assert losses_of(tmp_path)[-1][0] == "4"
    assert_equal(resume(config).state, whole_run[1].state)
    assert losses_of(tmp_path) == losses_of(Path(whole_run[0].out))
    small, expected = (load_checkpoint(out / "network.pt").state for out in (tmp_path, Path(whole_run[0].out)))
    assert_equal(small, expected)


def test_a_run_killed_without_warning_resumes_with_the_same_loss_curve(clips: Path, tmp_path: Path) -> None:
    steps = {"steps": 80, "checkpoint_every": 7, "log_every": 3}
    Trainer(config_of(clips, tmp_path / "whole", **steps)).run()
    killed = tmp_path / "killed"
    (tmp_path / "run.yaml").touch()
    command = [sys.executable, "-m", "specktrack.training.train", str(tmp_path / "run.yaml")]
    command += settings_of(clips, killed, **steps)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
        while not (killed / "last.pt").exists() or len(losses_of(killed)) < 6:
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"ended by itself with {run.wait(timeout=0.01)}")
        run.send_signal(signal.SIGKILL)
    assert 7 <= load_checkpoint(killed / "last.pt").step < 80
    resume(config_of(clips, killed, **steps))
    assert losses_of(killed) == losses_of(tmp_path / "whole")
    assert_equal(load_checkpoint(killed / "last.pt").state, load_checkpoint(tmp_path / "whole" / "last.pt").state)


def test_resuming_a_finished_run_changes_nothing(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    config = config_of(clips, tmp_path)
    Trainer(config).run()
    assert_equal(resume(config).state, whole_run[1].state)
    assert losses_of(tmp_path) == losses_of(Path(whole_run[0].out))


def test_losses_after_the_resumed_step_are_cut_off(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    config = config_of(clips, tmp_path)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    with (tmp_path / "losses.csv").open("a") as log:
        log.write("\n4,9,9,9,9,9,9\nhalf a ro")
    resume(config)
    assert losses_of(tmp_path) == losses_of(Path(whole_run[0].out))


def test_resuming_with_other_settings_is_refused_with_their_names(
    clips: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    out = Path(whole_run[0].out)
    with pytest.raises(InputError, match=r"with other settings \(seed, learning_rate\); choose another") as failure:
        Trainer(config_of(clips, out, learning_rate=1e-3, seed=2)).restore()
    assert "\n" not in str(failure.value)


def test_settings_that_change_no_number_may_differ_on_resume(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    with pytest.raises(PowerCutError):
        DyingTrainer(config_of(clips, tmp_path)).run()
    assert_equal(resume(config_of(clips, tmp_path, workers=1, cache_mb=10.0)).state, whole_run[1].state)


def test_a_checkpoint_from_before_a_setting_existed_counts_as_its_default(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    checkpoint = whole_run[1]
    older = {key: value for key, value in checkpoint.settings.items() if key not in ("ema", "query")}
    save_checkpoint(tmp_path / "last.pt", replace(checkpoint, settings={**older, "out": str(tmp_path)}))
    trainer = Trainer(config_of(clips, tmp_path))
    trainer.restore()
    assert trainer.step == STEPS


def test_a_checkpoint_of_another_version_is_refused(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    strange = replace(whole_run[1], settings={"colour": "blue"})
    save_checkpoint(tmp_path / "last.pt", strange)
    with pytest.raises(InputError, match="made by another version"):
        Trainer(config_of(clips, tmp_path)).restore()


def test_the_small_file_cannot_be_resumed_from(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    small = load_checkpoint(Path(whole_run[0].out) / "network.pt")
    save_checkpoint(tmp_path / "last.pt", replace(small, settings={**small.settings, "out": str(tmp_path)}))
    with pytest.raises(InputError, match="holds weights only"):
        Trainer(config_of(clips, tmp_path)).restore()


def test_resuming_what_never_ran_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        Trainer(config_of(clips, tmp_path)).restore()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_stopped_run_goes_on_to_its_end_on_a_gpu(clips: Path, tmp_path: Path, precision: str) -> None:
    if not torch.cuda.is_available() and os.environ.get("SPECKTRACK_REQUIRE_GPU") != "1":
        pytest.skip("no NVIDIA GPU here")
    config = config_of(clips, tmp_path, accelerator="cuda", precision=precision)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    assert resume(config).step == STEPS
