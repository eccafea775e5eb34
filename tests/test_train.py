"""Training runs: they end with a checkpoint, go on exactly where they stopped, and refuse what cannot work."""

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from specktrack.rt.errors import ConfigError, InputError
from specktrack.training.checkpoint import Checkpoint, load_checkpoint
from specktrack.training.clip_format import load_clip, save_clip
from specktrack.training.config import TrainConfig, load_train_config
from specktrack.training.data import Batch
from specktrack.training.losses import Losses
from specktrack.training.phantom import simulate_clip, standard_spec
from specktrack.training.simulate import to_training_clip
from specktrack.training.train import Trainer, main

STEPS = 6


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small phantom clips."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        clip = simulate_clip(standard_spec(seed=seed, size_px=96), n_frames=7, n_points=16)
        save_clip(folder / f"a4c-{seed}.npz", to_training_clip(f"a4c-{seed}", clip))
    return folder


def config_of(clips: Path, out: Path, **changes: object) -> TrainConfig:
    settings = {
        "data": (str(clips),),
        "out": str(out),
        "steps": STEPS,
        "batch": 2,
        "size": 64,
        "n_points": 6,
        "window_px": 11,
        "precision": "32-true",
        "checkpoint_every": 3,
    }
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]


class PowerCutError(RuntimeError):
    """Stands for a power cut."""


class DyingTrainer(Trainer):
    """A run that dies in step `last + 1`."""

    last = 4

    def _train_step(self, network: object, optimizer: object, batch: Batch) -> Losses:
        if self.step == self.last:
            raise PowerCutError
        return super()._train_step(network, optimizer, batch)


@pytest.fixture(scope="module")
def whole_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Checkpoint]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    config = config_of(clips, out)
    Trainer(config).run()
    return config, load_checkpoint(out / "last.pt")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_equal(first: object, second: object, where: str = "state") -> None:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert isinstance(second, list)
        for k, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal(a, b, f"{where}[{k}]")
    elif isinstance(first, torch.Tensor):
        assert isinstance(second, torch.Tensor)
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def test_a_run_ends_with_a_checkpoint_and_its_losses(whole_run: tuple[TrainConfig, Checkpoint]) -> None:
    config, checkpoint = whole_run
    assert (checkpoint.model, checkpoint.step) == ("specknet-s", STEPS)
    assert checkpoint.settings == config.model_dump(mode="json")
    rows = rows_of(Path(config.out) / "losses.csv")
    assert [row["step"] for row in rows] == [str(STEPS)]
    assert np.isfinite(float(rows[0]["total"]))


def test_training_moves_the_weights_and_the_schedule_reaches_its_end(
    whole_run: tuple[TrainConfig, Checkpoint],
) -> None:
    config, checkpoint = whole_run
    fresh = Trainer(config).network.state_dict()
    assert not torch.equal(fresh["stem.0.weight"], checkpoint.state["network"]["stem.0.weight"])
    assert checkpoint.state["schedule"]["last_epoch"] == STEPS
    assert float(rows_of(Path(config.out) / "losses.csv")[-1]["learning_rate"]) < 1e-4 * config.learning_rate


def test_a_stopped_and_resumed_run_equals_one_that_was_never_stopped(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    config = config_of(clips, tmp_path)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    assert load_checkpoint(tmp_path / "last.pt").step == 3
    resumed = Trainer(config)
    resumed.restore()
    resumed.run()
    state = load_checkpoint(tmp_path / "last.pt").state
    assert_equal(state, whole_run[1].state)


def test_resuming_a_finished_run_changes_nothing(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    config = config_of(clips, tmp_path)
    Trainer(config).run()
    again = Trainer(config)
    again.restore()
    again.run()
    assert_equal(load_checkpoint(tmp_path / "last.pt").state, whole_run[1].state)
    assert len(rows_of(tmp_path / "losses.csv")) == 1


def test_losses_after_the_resumed_step_are_cut_off(clips: Path, tmp_path: Path) -> None:
    config = config_of(clips, tmp_path)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    log = tmp_path / "losses.csv"
    header = log.read_text().splitlines()[0]
    log.write_text(f"{header}\n2,1,1,1,1,1,1\n\n5,9,9,9,9,9,9\n")
    resumed = Trainer(config)
    resumed.restore()
    resumed.run()
    assert [row["step"] for row in rows_of(log)] == ["2", str(STEPS)]


def test_resuming_with_other_settings_is_refused_in_one_sentence(
    clips: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    out = Path(whole_run[0].out)
    with pytest.raises(InputError, match="made with other settings; choose another `out`") as failure:
        Trainer(config_of(clips, out, learning_rate=1e-3)).restore()
    assert "\n" not in str(failure.value)


def test_resuming_what_never_ran_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        Trainer(config_of(clips, tmp_path)).restore()


def test_an_unknown_network_is_refused_with_the_names_known(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="specknet-x: unknown network; known are specknet-s"):
        Trainer(config_of(clips, tmp_path, model="specknet-x"))


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="simulate-echo"):
        Trainer(config_of(tmp_path, tmp_path / "out")).run()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(clips: Path, tmp_path: Path) -> None:
    trainer = Trainer(config_of(clips, tmp_path))
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"bad_batch\.pt"):
        trainer.run()
    batch = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert batch["frames"].shape == (2, 4, 64, 64)
    assert not (tmp_path / "last.pt").exists()


def test_hidden_points_without_a_position_do_not_harm_training(clips: Path, tmp_path: Path) -> None:
    clip = load_clip(next(clips.glob("*.npz")))
    tracks, visible = clip.tracks.copy(), clip.visible.copy()
    tracks[::3], visible[::3] = np.nan, False
    save_clip(tmp_path / "holes.npz", type(clip)(**{**vars(clip), "tracks": tracks, "visible": visible}))
    Trainer(config_of(tmp_path, tmp_path / "out", steps=2)).run()
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == 2


def test_half_precision_training_runs_on_a_cpu(clips: Path, tmp_path: Path) -> None:
    Trainer(config_of(clips, tmp_path, steps=1, precision="bf16-mixed")).run()
    network = load_checkpoint(tmp_path / "last.pt").state["network"]
    assert all(tensor.isfinite().all() for tensor in network.values())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_training_and_resuming_run_on_a_gpu(clips: Path, tmp_path: Path, precision: str) -> None:
    if not torch.cuda.is_available() and os.environ.get("SPECKTRACK_REQUIRE_GPU") != "1":
        pytest.skip("no NVIDIA GPU here")
    config = config_of(clips, tmp_path, accelerator="cuda", precision=precision)
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    resumed = Trainer(config)
    resumed.restore()
    resumed.run()
    assert load_checkpoint(tmp_path / "last.pt").step == STEPS


@pytest.mark.parametrize("lags", ["[1, 4]", "[4, 4]", "[1, 0]", "[-1]"])
def test_lags_that_do_not_fall_are_refused(tmp_path: Path, lags: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 5\n")
    with pytest.raises(ConfigError, match=r"recent_lags: .*must fall"):
        load_train_config(path, [f"recent_lags={lags}"])


def test_a_misspelt_setting_is_refused_with_the_near_name(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("bach: 4\n")
    with pytest.raises(ConfigError, match="did you mean 'batch'"):
        load_train_config(path)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `train-tracker` as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["train-tracker", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_command_trains_from_a_file_with_overrides(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    settings = config_of(clips, tmp_path / "out").model_dump(mode="json")
    path.write_text(yaml.safe_dump(settings))
    assert command(monkeypatch, str(path), "--set", "steps=1") == 0
    assert "Trained to step 1" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == 1


def test_the_command_refuses_an_unknown_network_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: specknet-x\n")
    assert command(monkeypatch, str(path)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: model: specknet-x")
    assert said.count("\n") == 1
