"""Training runs: they end with a checkpoint and their losses, and refuse what cannot work."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import STEPS, command, config_of, losses_of, save_four_clips

from specktrack.rt.errors import ConfigError, InputError
from specktrack.training.augment import AffineRanges
from specktrack.training.checkpoint import Checkpoint, load_checkpoint
from specktrack.training.clip_format import load_clip, save_clip
from specktrack.training.config import TrainConfig, load_train_config
from specktrack.training.train import DivergedError, Trainer

CONFIGS = Path(__file__).parents[1] / "configs" / "train"
SHIPPED = sorted(set(CONFIGS.glob("*.yaml")) - set(CONFIGS.glob("fusion*.yaml")))  # those are train-fusion's


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_four_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def whole_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Checkpoint]:
    out = tmp_path_factory.mktemp("whole")
    config = config_of(clips, out)
    Trainer(config).run()
    return config, load_checkpoint(out / "last.pt")


def test_a_run_ends_with_a_checkpoint_and_its_losses(whole_run: tuple[TrainConfig, Checkpoint]) -> None:
    config, checkpoint = whole_run
    assert (checkpoint.model, checkpoint.step) == ("specknet-s", STEPS)
    assert checkpoint.settings == config.model_dump(mode="json")
    header, *rows = losses_of(Path(config.out))
    assert header == ["step", "total", "single_px", "fused_px", "nll", "learning_rate"]
    assert [row[0] for row in rows] == ["2", "4", "6"]
    assert all(np.isfinite(float(row[1])) for row in rows)


def test_tensorboard_shows_the_numbers_of_the_table(whole_run: tuple[TrainConfig, Checkpoint]) -> None:
    out = Path(whole_run[0].out)
    events = EventAccumulator(str(out / "tensorboard")).Reload().Scalars("train/total")
    rows = losses_of(out)[1:]
    assert [event.step for event in events] == [int(row[0]) for row in rows]
    assert [event.value for event in events] == pytest.approx([float(row[1]) for row in rows], abs=1e-4)


def test_training_moves_the_weights_and_the_schedule_reaches_its_end(
    whole_run: tuple[TrainConfig, Checkpoint],
) -> None:
    config, checkpoint = whole_run
    fresh = Trainer(config)
    state = checkpoint.state
    assert not torch.equal(fresh.network.state_dict()["stem.0.weight"], state["network"]["stem.0.weight"])
    assert state["schedule"]["last_epoch"] == STEPS
    assert float(losses_of(Path(config.out))[-1][-1]) < 1e-4 * config.learning_rate


def test_the_small_file_holds_the_averaged_weights(whole_run: tuple[TrainConfig, Checkpoint]) -> None:
    config, checkpoint = whole_run
    small = load_checkpoint(Path(config.out) / "network.pt")
    assert small.step == STEPS
    assert small.state.keys() == {"network"}
    mean, last = small.state["network"]["stem.0.weight"], checkpoint.state["network"]["stem.0.weight"]
    assert torch.equal(mean, checkpoint.state["average"]["network"]["stem.0.weight"])
    assert not torch.equal(mean, last)


def test_without_averaging_the_small_file_holds_the_last_weights(clips: Path, tmp_path: Path) -> None:
    Trainer(config_of(clips, tmp_path, steps=2, ema=0.0)).run()
    small, last = (load_checkpoint(tmp_path / name).state for name in ("network.pt", "last.pt"))
    for key, value in last["network"].items():
        assert torch.equal(small["network"][key], value), key


def test_a_run_can_be_had_again_from_its_seed_with_any_number_of_workers(
    clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]
) -> None:
    Trainer(config_of(clips, tmp_path, workers=2)).run()
    assert losses_of(tmp_path) == losses_of(Path(whole_run[0].out))


def test_another_seed_is_another_run(clips: Path, tmp_path: Path, whole_run: tuple[TrainConfig, Checkpoint]) -> None:
    Trainer(config_of(clips, tmp_path, seed=2)).run()
    assert losses_of(tmp_path) != losses_of(Path(whole_run[0].out))


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
    with pytest.raises(DivergedError, match=r"step 0: the loss is not finite; the batch is in .*bad_batch\.pt"):
        trainer.run()
    batch = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert batch["frames"].shape == (2, 4, 64, 64)
    assert batch["visible"].shape == batch["points"].shape[:-1] == (2, 4, 6)
    assert not (tmp_path / "last.pt").exists()


def test_the_weights_it_began_with_stay_in_the_network_by_the_share_that_is_kept(
    clips: Path, whole_run: tuple[TrainConfig, Checkpoint], tmp_path: Path
) -> None:
    begun = Path(whole_run[0].out) / "network.pt"
    learned, kept = (
        Trainer(config_of(clips, tmp_path / str(share), init_from=str(begun), kept=share)) for share in (0.0, 0.75)
    )
    learned.run()
    kept.run()
    key = "stem.0.weight"
    first, last, mean = (
        load_checkpoint(path).state["network"][key]
        for path in (begun, learned.out / "network.pt", kept.out / "network.pt")
    )
    assert not torch.equal(first, last)
    torch.testing.assert_close(mean, 0.75 * first + 0.25 * last)
    with pytest.raises(ValueError, match="nothing to keep"):
        config_of(clips, tmp_path, kept=0.5)


def test_hidden_points_without_a_position_do_not_harm_training(clips: Path, tmp_path: Path) -> None:
    clip = load_clip(next(clips.glob("*.npz")))
    tracks, visible = clip.tracks.copy(), clip.visible.copy()
    tracks[::3], visible[::3] = np.nan, False
    save_clip(tmp_path / "holes.npz", type(clip)(**{**vars(clip), "tracks": tracks, "visible": visible}))
    Trainer(config_of(tmp_path, tmp_path / "out", steps=2)).run()
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == 2


@pytest.mark.parametrize(("precision", "expected"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)])
def test_convolutions_are_trained_in_the_precision_that_is_asked_for(
    clips: Path, tmp_path: Path, precision: str, expected: torch.dtype
) -> None:
    trainer, seen = Trainer(config_of(clips, tmp_path, steps=1, precision=precision)), []
    trainer.network.stem[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    trainer.run()
    assert set(seen) == {expected}
    network = load_checkpoint(tmp_path / "last.pt").state["network"]
    assert all(tensor.isfinite().all() for tensor in network.values())


def test_bf16_is_chosen_where_the_processor_has_units_for_it(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has_units, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_units=has_units: has_units)
        trainer = Trainer(config_of(clips, tmp_path / expected, steps=1, precision="auto"))
        assert trainer.fabric.strategy.precision.precision == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("recent_lags=[1, 4]", r"recent_lags: .*must fall"),
        ("recent_lags=[4, 4]", r"recent_lags: .*must fall"),
        ("recent_lags=[1, 0]", r"recent_lags: .*must fall"),
        ("recent_lags=[-1]", r"recent_lags: .*must fall"),
        ("bach=4", "did you mean 'batch'"),
        ("data=clips", "must be a list of folders"),
        ("data=[]", "must be a list of folders"),
        ("data=[{folder: clips, weight: 0}]", r"data\.0\.weight: .*greater than 0"),
        ("data=[{folder: clips, weigth: 2}]", r"data\.0\.weigth: "),
        ("query.diastasis=-1", r"query\.diastasis: "),
        ("query={diastasis: 0, first: 0, random: 0}", "give one of them a share"),
        ("affine.zoom=[2, 1]", r"affine\.zoom: .*smallest and a largest factor"),
        ("affine.rotation=5", "did you mean 'rotation_deg'"),
        ("ema=1", "ema: "),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(tmp_path: Path, setting: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 5\n")
    with pytest.raises(ConfigError, match=expected) as failure:
        load_train_config(path, [setting])
    assert "\n" not in str(failure.value)


def test_folders_may_be_plain_or_have_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: [phantom, {folder: own, weight: 3}]\n")
    config = load_train_config(path)
    assert [(source.folder, source.weight) for source in config.data] == [("phantom", 1.0), ("own", 3.0)]
    assert config.model_dump()["data"] == ["phantom", {"folder": "own", "weight": 3.0}]
    assert TrainConfig.model_validate(config.model_dump(mode="json"), strict=False) == config


def test_augmentation_can_be_switched_off_by_parts(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("affine: {rotation_deg: 0, shear: 0, flip: false}\nappearance: false\n")
    config = load_train_config(path)
    examples = Trainer(config).plan().examples
    assert (examples.affine, examples.appearance) == (AffineRanges(rotation_deg=0, shear=0, flip=False), False)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    load_train_config(path)


def test_the_command_trains_from_a_file_with_overrides(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_of(clips, tmp_path / "out").model_dump(mode="json")))
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
