"""`train-tracker CONFIG`: train a network on clips, with progress, checkpoints and resume.

Recipe of arXiv 2507.10127: affine augmentation of frames and tracks together, appearance augmentation, weighted L1,
AdamW, one-cycle learning rate. Anchor and recent templates are sought around places that are wrong as the stream's are,
each point alone and pooled with its neighbours, because that is what runs in the stream. How the stream weighs them is
learned after that, on whole sequences: train_fusion.py.

On several devices each process draws its own batches and gradients are averaged; the first process writes the files,
its own losses and its own batch statistics among them.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import typer
from lightning_fabric import Fabric
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from specktrack.rt import console
from specktrack.rt.errors import InputError, SpeckError
from specktrack.training.average import WeightAverage, mean_of_two
from specktrack.training.checkpoint import Checkpoint, initial_weights, load_checkpoint, save_checkpoint
from specktrack.training.config import TrainConfig, load_train_config
from specktrack.training.data import Batch, ExampleSettings
from specktrack.training.journal import Journal
from specktrack.training.loader import Plan, batches
from specktrack.training.losses import StreamNoise, stream_losses
from specktrack.training.point_tracker import TRACKERS
from specktrack.training.sources import ClipPool
from specktrack.training.specknet import build

# Settings that change no number of a run, so that it may go on with others.
FREE_ON_RESUME = {"workers", "cache_mb", "checkpoint_every", "data_note", "kept"}
NOISE_STREAM = 2**32 - 1  # beside the streams of the examples, which count from 0

app = console.new_app()


class StepLosses(Protocol):
    """Losses of one step."""

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        ...

    def values(self) -> list[float]:
        """What is written down, the total first."""
        ...


class DivergedError(SpeckError):
    """The loss is no longer a number."""


class Trainer:
    """Network, optimiser and schedule of one run; `run()` goes from where the checkpoint stands to the end."""

    figures: tuple[str, ...] = ("total", "single_px", "fused_px", "nll")
    headline = "fused_px"
    clip_norm = 1.0  # of gradients

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.fabric = _fabric(config)
        self.network = self._build().to(self.fabric.device)
        self.average = WeightAverage({"network": self.network}, config.ema)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.08, cycle_momentum=False
        )
        self.step = 0
        self.pending: list[list[float]] = []  # of the journal
        self.out = Path(config.out)

    def _build(self) -> nn.Module:
        network = build(self.config.model)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def initialise(self) -> None:
        """Weights of another run, if the settings name one; everything else starts afresh."""
        if self.config.init_from:
            self.network.load_state_dict(initial_weights(self.config.init_from, self.config.model))
            self.average.restart()

    def restore(self) -> None:
        """Continue from the last checkpoint of the run."""
        checkpoint = load_checkpoint(self.out / "last.pt")
        _refuse_other_settings(self.out / "last.pt", checkpoint.settings, self.config)
        state = checkpoint.state
        if not state.keys() >= {"average", "optimizer", "schedule", "precision", "pending"}:
            raise InputError(f"{self.out}/last.pt holds weights only; start from it with init_from in another `out`")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["precision"]:
            self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.pending = state["pending"]
        self.step = checkpoint.step

    def save(self) -> None:
        """Write `last.pt`, to go on from, and `network.pt`, the averaged weights, to export and fine-tune from."""
        if not self.fabric.is_global_zero:
            return
        settings = self.config.model_dump(mode="json")
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
            "pending": self.pending,
        }
        save_checkpoint(self.out / "last.pt", Checkpoint(self.config.model, self.step, state, settings))
        mean = dict(self.average.state_dict())
        if self.config.kept > 0.0:
            begun = initial_weights(self.config.init_from, self.config.model)
            mean["network"] = mean_of_two(begun, mean["network"], 1.0 - self.config.kept)
        save_checkpoint(self.out / "network.pt", Checkpoint(self.config.model, self.step, mean, settings))

    def run(self) -> None:
        """Train to the last step.

        Raises InputError for a malformed clip before the first step, DivergedError on a loss that is not finite,
        with the batch saved.
        """
        config, is_first = self.config, self.fabric.is_global_zero
        ClipPool(config.data).check(self.plan().examples.span, quiet=not is_first)
        if not self.step:
            self.initialise()
        network, optimizer = self._set_up()
        network.train()
        made = batches(self.plan(), self.step, config.steps, config.workers, config.cache_mb)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not is_first) as progress, self._journal() as journal:
            task = progress.add_task("training", total=config.steps, completed=self.step)
            for batch in made:
                rate = float(self.schedule.get_last_lr()[0])
                losses = self._train_step(network, optimizer, batch)
                self.step += 1
                self.average.update(self.step)
                journal.add(self.step, losses.values(), rate)
                newest = journal.means[self.figures.index(self.headline)]
                progress.update(task, completed=self.step, description=f"{self.headline} {newest:.2f}")
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self.save()

    def plan(self) -> Plan:
        """What the batches of this process are made of."""
        config = self.config
        examples = ExampleSettings(
            config.size, config.n_points, config.recent_lags, config.affine, config.appearance, config.query
        )
        return Plan(config.seed, config.batch, config.data, examples, self.fabric.global_rank)

    def _set_up(self) -> tuple[Any, Any]:
        """Network and optimiser on their devices."""
        network, optimizer = self.fabric.setup(self.network, self.optimizer, _reapply_compile=False)
        network.mark_forward_method("raw_maps")
        return network, optimizer

    def _journal(self) -> Journal:
        folder = self.out if self.fabric.is_global_zero else None
        return Journal(folder, self.step, self.config.steps, self.config.log_every, self.pending, self.figures)

    def _losses(self, network: Any, frames: Tensor, points: Tensor, visible: Tensor) -> StepLosses:
        """Of frames (B, F, H, W) in [0, 1], points (B, F, N, 2) in pixels, visible (B, F, N)."""
        images = frames.flatten(0, 1)[:, None].contiguous(memory_format=torch.channels_last)
        with self.fabric.autocast():  # Fabric does so for `forward` alone
            maps = [features.float() for features in network.raw_maps(images)]
        with torch.autocast(self.fabric.device.type, enabled=False):
            return stream_losses(maps, points, visible, StreamNoise(), self.config.window_px, self._noise_of_step())

    def _train_step(self, network: Any, optimizer: Any, batch: Batch) -> StepLosses:
        frames, points, visible = _tensors(batch, self.fabric.device)
        losses = self._losses(network, frames, points, visible)
        if not torch.isfinite(losses.total):
            raise DivergedError(self._save_bad_batch(frames, points, visible))
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(losses.total)
        self.fabric.clip_gradients(network, optimizer, max_norm=self.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        self.schedule.step()
        return losses

    def _noise_of_step(self) -> torch.Generator:
        """Random numbers of a step, as its batch from seed, step and rank alone: nothing to remember for a resume."""
        stream = np.random.SeedSequence([self.config.seed, self.step, self.fabric.global_rank, NOISE_STREAM])
        return torch.Generator().manual_seed(int(stream.generate_state(1)[0]))

    def _save_bad_batch(self, frames: Tensor, points: Tensor, visible: Tensor) -> str:
        rank = self.fabric.global_rank
        path = self.out / (f"bad_batch_{rank}.pt" if rank else "bad_batch.pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"frames": frames, "points": points, "visible": visible}, path)
        return f"step {self.step}: the loss is not finite; the batch is in {path}; a lower learning_rate may help"


def _fabric(config: TrainConfig) -> Fabric:
    """Devices and precision; raises InputError when torchrun started another number of processes."""
    started, wanted = int(os.environ.get("WORLD_SIZE", "1")), config.devices * config.num_nodes
    if "TORCHELASTIC_RUN_ID" in os.environ and started != wanted:
        raise InputError(
            f"devices: {config.devices} on num_nodes {config.num_nodes}, but torchrun started {started} processes; "
            "set devices to its --nproc-per-node and num_nodes to its --nnodes"
        )
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=_precision(config),
    )
    fabric.launch()
    return fabric


def _precision(config: TrainConfig) -> Any:
    """What `auto` means here: a processor without units for bf16 works it out seven times slower than fp32."""
    if config.precision != "auto":
        return config.precision
    on_gpu = config.accelerator == "cuda" or (config.accelerator == "auto" and torch.cuda.is_available())
    has_units = on_gpu or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if has_units else "32-true"


def _refuse_other_settings(path: Path, found: dict[str, Any], config: TrainConfig) -> None:
    """Raises InputError that names the settings in which a checkpoint differs; new settings count as their defaults."""
    try:
        then = TrainConfig.model_validate(found, strict=False).model_dump()
    except ValidationError as error:
        raise InputError(f"{path} was made by another version of specktrack; choose another `out`") from error
    differing = [key for key, value in config.model_dump().items() if value != then[key] and key not in FREE_ON_RESUME]
    if differing:
        raise InputError(
            f"{path} was made with other settings ({', '.join(differing)}); choose another `out` or drop --resume"
        )


def _tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    frames = torch.from_numpy(batch.frames).to(device).float() / 255
    return frames, torch.from_numpy(batch.points).to(device), torch.from_numpy(batch.visible).to(device)


def trainer_of(config: TrainConfig) -> Trainer:
    """The run that trains the network of the settings, ours or a tracker of others."""
    if config.model not in TRACKERS:
        return Trainer(config)
    from specktrack.training.train_baseline import BaselineTrainer  # it is a Trainer, so it cannot come first

    return BaselineTrainer(config)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, for example configs/train/specknet_s.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
) -> None:
    """Train a tracker on clips. Research use only."""
    settings = load_train_config(config, set_ or [])
    trainer = trainer_of(settings)
    if resume:
        trainer.restore()
    elif (trainer.out / "last.pt").exists():
        raise InputError(f"{trainer.out}: holds a run already; add --resume to go on with it, or choose another out")
    trainer.run()
    if trainer.fabric.is_global_zero:
        typer.echo(f"Trained to step {trainer.step}; checkpoint: {trainer.out / 'last.pt'}")


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
