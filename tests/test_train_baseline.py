"""Trackers of others are fine-tuned like our own: the error falls, runs go on where they stopped, the result opens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rule_weights import save_rule_weights
from tiny_clips import moving_dots
from tiny_runs import assert_equal, command, config_of, losses_of, settings_of

from specktrack.rt.errors import InputError
from specktrack.training.baseline_losses import Answer, track_losses
from specktrack.training.checkpoint import load_checkpoint
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.config import TrainConfig
from specktrack.training.data import Batch, ExampleSettings, draw_example
from specktrack.training.loader import make_batch
from specktrack.training.phantom import simulate_clip, standard_spec
from specktrack.training.point_tracker import open_tracker
from specktrack.training.sources import ClipPool
from specktrack.training.train import StepLosses, Trainer, trainer_of
from specktrack.training.train_baseline import BaselineTrainer, Follow

FRAMES = 6
UNSEEN = 10_000  # a step whose batch no run draws
TINY = {
    "steps": 6,
    "batch": 1,
    "size": 64,
    "n_points": 5,
    "window_frames": FRAMES,
    "iterations": 1,
    "learning_rate": 1e-4,
    "weight_decay": 1e-6,
    "checkpoint_every": 2,
    "ema": 0.0,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One beating phantom."""
    folder = tmp_path_factory.mktemp("phantom")
    made = simulate_clip(standard_spec(rate_bpm=70, size_px=96), FRAMES + 2, n_points=24)
    clip = TrainingClip("beat", made.frames, made.tracks, made.visible, made.frame_rate_hz, made.mm_per_px)
    save_clip(folder / "beat.npz", clip)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of EchoTracker."""
    return save_rule_weights("echotracker", tmp_path_factory.mktemp("weights"))


def tiny(clips: Path, out: Path, weights: Path, name: str, **changes: object) -> TrainConfig:
    return config_of(clips, out, **{**TINY, "model": name, "init_from": str(weights), **changes})


def drifting(name: str, folder: Path) -> Path:
    """A checkpoint whose points drift off by a cell: something to unlearn in few steps."""
    path = save_rule_weights(name, folder)
    stored = torch.load(path, weights_only=True)
    for key, value in stored["model_state_dict"].items():
        if key.endswith(("flow_head.bias", "dense.bias")):
            value += 1.0
    torch.save(stored, path)
    return path


def error_px(trainer: Trainer) -> float:
    """Of the answer, on examples that no run has seen."""
    plan = trainer.plan()
    batch = make_batch(plan, UNSEEN, ClipPool(plan.sources))
    network = Follow(trainer.network, trainer.config.iterations)
    frames, points, visible = (torch.from_numpy(a) for a in (batch.frames, batch.points, batch.visible))
    with torch.no_grad():
        return trainer._losses(network, frames.float() / 255, points, visible).values()[2]


@pytest.fixture(scope="module")
def whole_run(clips: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    torch.set_num_threads(1)
    config = tiny(clips, tmp_path_factory.mktemp("whole"), weights, "echotracker")
    trainer_of(config).run()
    return config


def test_a_run_brings_echotracker_nearer_to_where_points_of_a_heart_went(whole_run: TrainConfig) -> None:
    before, after = trainer_of(whole_run), trainer_of(whole_run)
    before.initialise()
    after.restore()
    assert error_px(after) < 0.9 * error_px(before)
    header, *rows = losses_of(Path(whole_run.out))
    assert header == ["step", "total", "first_px", "last_px", "likelihood", "learning_rate"]
    assert [row[0] for row in rows] == ["2", "4", "6"]


@pytest.mark.parametrize(("name", "size"), [("pips", 128), ("cotracker3", 64)])
def test_a_run_brings_the_others_nearer_too(name: str, size: int, clips: Path, tmp_path: Path) -> None:
    config = tiny(clips, tmp_path / "out", drifting(name, tmp_path), name, size=size, steps=4, checkpoint_every=4)
    trainer = trainer_of(config)
    trainer.initialise()
    before = error_px(trainer)
    trainer.run()
    assert error_px(trainer) < 0.95 * before
    assert open_tracker(name, tmp_path / "out" / "network.pt").name == name


def test_what_comes_out_opens_as_the_tracker_it_was_trained_for_and_no_other(whole_run: TrainConfig) -> None:
    path = Path(whole_run.out) / "network.pt"
    trained = load_checkpoint(path).state["network"]
    tracker = open_tracker("echotracker", path)
    assert_equal(dict(tracker._network.state_dict()), dict(trained))  # type: ignore[attr-defined]
    frames = np.zeros((FRAMES, 96, 96), np.uint8)
    assert np.isfinite(tracker.track(frames, np.array([[2, 40, 50]], np.float32)).tracks).all()
    with pytest.raises(InputError, match=r"network.pt: holds echotracker, not echotracker-ptecho"):
        open_tracker("echotracker-ptecho", path)


class PowerCutError(RuntimeError):
    """Stands for a power cut."""


class DyingTrainer(BaselineTrainer):
    """A run that dies in its fourth step."""

    def _train_step(self, network: object, optimizer: object, batch: Batch) -> StepLosses:
        if self.step == 3:
            raise PowerCutError
        return super()._train_step(network, optimizer, batch)


def test_a_stopped_run_goes_on_to_the_same_weights(
    clips: Path, weights: Path, whole_run: TrainConfig, tmp_path: Path
) -> None:
    config = tiny(clips, tmp_path, weights, "echotracker")
    with pytest.raises(PowerCutError):
        DyingTrainer(config).run()
    again = trainer_of(config)
    again.restore()
    assert again.step == 2
    again.run()
    states = [load_checkpoint(out / "last.pt").state for out in (tmp_path, Path(whole_run.out))]
    assert_equal(*states)
    assert losses_of(tmp_path) == losses_of(Path(whole_run.out))


def test_the_command_refuses_weights_of_another_tracker_in_one_sentence(
    clips: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.yaml").touch()
    settings = settings_of(clips, tmp_path / "out", **{**TINY, "model": "pips", "init_from": weights})
    assert command(monkeypatch, str(tmp_path / "run.yaml"), *settings) == 2
    said = capsys.readouterr().err
    assert "is this the checkpoint of the model you named?" in said
    assert said.count("\n") == 1


def test_a_window_is_frames_in_a_row_in_either_direction() -> None:
    clip = moving_dots(n_frames=9, n_points=4, height=96, width=96)
    settings = ExampleSettings(96, 4, affine=None, appearance=False, window=FRAMES)
    directions, firsts = set(), set()
    for seed in range(40):
        example = draw_example(np.random.default_rng(seed), clip, settings)
        assert len(example.frames) == FRAMES
        shown = [int(np.abs(clip.frames.astype(int) - frame).sum((1, 2)).argmin()) for frame in example.frames]
        steps = set(np.diff(shown).tolist())
        assert steps in ({1}, {-1})
        directions |= steps
        firsts.add(shown[0])
    assert directions == {1, -1}
    assert len(firsts) > 4


def test_a_clip_shorter_than_a_window_is_refused(tmp_path: Path, weights: Path) -> None:
    save_clip(tmp_path / "short.npz", moving_dots(n_frames=FRAMES))
    with pytest.raises(InputError, match=r"short\.npz: 6 frames, but training needs 7; .*window_frames"):
        trainer_of(tiny(tmp_path, tmp_path / "out", weights, "echotracker", window_frames=7)).run()


def test_hidden_points_have_no_say_and_later_refinements_count_more() -> None:
    truth, visible = torch.zeros(1, 2, 4, 2), torch.ones(1, 2, 4, dtype=torch.bool)
    visible[:, 1] = False
    wrong = torch.zeros(3, 2, 4, 2)
    wrong[:, 1] = 100.0
    assert track_losses([Answer(wrong)], truth, visible).total == 0
    early, late = torch.zeros(3, 2, 4, 2), torch.zeros(3, 2, 4, 2)
    early[0], late[2] = 1.0, 1.0
    of_early, of_late = (track_losses([Answer(p)], truth, visible) for p in (early, late))
    assert of_early.total == pytest.approx(0.64 * float(of_late.total))
    assert (of_late.first_px, of_late.last_px) == (0.0, 1.0)


def test_saying_rightly_that_a_point_is_seen_costs_less_than_saying_it_is_not() -> None:
    truth, visible = torch.zeros(1, 2, 4, 2), torch.ones(1, 2, 4, dtype=torch.bool)
    sure = torch.full((1, 2, 4), 3.0)
    right = track_losses([Answer(torch.zeros(1, 2, 4, 2), sure, sure)], truth, visible)
    wrong = track_losses([Answer(torch.zeros(1, 2, 4, 2), -sure, sure)], truth, visible)
    assert right.likelihood < 0.2 < wrong.likelihood
    assert right.total < wrong.total
