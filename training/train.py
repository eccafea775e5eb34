"""`train-tracker CONFIG`: train a network on clips, with progress, checkpoints and resume.

Recipe of arXiv 2507.10127: affine augmentation of frames and tracks together, appearance augmentation, weighted L1,
AdamW, one-cycle learning rate. Beside pairs, the product of anchor and recent templates under a noisy motion prior is
trained, because that is what runs in the stream.
"""

import csv
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from lightning_fabric import Fabric
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.config import TrainConfig, load_train_config
from specktrack.training.data import Batch, ClipPool, ExampleSettings, prefetch
from specktrack.training.losses import FactorWeights, Losses, StreamNoise, stream_losses
from specktrack.training.specknet import build

app = console.new_app()


class Trainer:
    """Network, optimiser and schedule of one run; `run()` goes from where the checkpoint stands to the end."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)
        self.network = build(config.model).to(self.fabric.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.examples = ExampleSettings(config.size, config.n_points, config.recent_lags)
        self.weights = FactorWeights(1 + len(config.recent_lags)).to(self.fabric.device)
        parameters = [*self.network.parameters(), *self.weights.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.08, cycle_momentum=False
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.out = Path(config.out)

    def restore(self) -> None:
        """Continue from the last checkpoint of the run."""
        checkpoint = load_checkpoint(self.out / "last.pt")
        if checkpoint.settings != self.config.model_dump(mode="json"):
            raise InputError(f"{self.out}/last.pt was made with other settings; choose another `out` or drop --resume")
        state = checkpoint.state
        self.network.load_state_dict(state["network"])
        self.weights.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        if state.get("precision"):
            self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = checkpoint.step

    def save(self) -> None:
        """Write `last.pt`, to go on from, and `network.pt`, a tenth of its size, to export and fine-tune from."""
        settings = self.config.model_dump(mode="json")
        network = {"network": self.network.state_dict(), "weights": self.weights.state_dict()}
        state = {
            **network,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
        }
        save_checkpoint(self.out / "last.pt", Checkpoint(self.config.model, self.step, state, settings))
        save_checkpoint(self.out / "network.pt", Checkpoint(self.config.model, self.step, network, settings))

    def run(self) -> None:
        """Train to the last step; raises FloatingPointError on a loss that is not finite, with the batch saved."""
        config = self.config
        pool = ClipPool([Path(folder) for folder in config.data])
        network, optimizer = self.fabric.setup(self.network, self.optimizer, _reapply_compile=False)
        network.mark_forward_method("raw_maps")
        network.train()
        batches = prefetch(config.seed, self.step, config.steps, pool, config.batch, self.examples)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress, _Log(self.out / "losses.csv", self.step, config.steps) as log:
            task = progress.add_task("training", total=config.steps, completed=self.step)
            for batch in batches:
                rate = float(self.schedule.get_last_lr()[0])
                losses = self._train_step(network, optimizer, batch)
                self.step += 1
                log.add(self.step, losses, rate)
                progress.update(task, completed=self.step, description=f"fused {log.fused_px:.2f} px")
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self.save()

    def _train_step(self, network: Any, optimizer: Any, batch: Batch) -> Losses:
        frames, points, visible = _tensors(batch, self.fabric.device)
        maps = network.raw_maps(frames.flatten(0, 1)[:, None].contiguous(memory_format=torch.channels_last))
        with torch.autocast(self.fabric.device.type, enabled=False):
            losses = stream_losses(
                maps,
                points,
                visible,
                self.weights(),
                StreamNoise(),
                self.config.window_px,
                self.generator,
            )
        if not torch.isfinite(losses.total):
            torch.save({"frames": frames, "points": points, "visible": visible}, self.out / "bad_batch.pt")
            raise FloatingPointError(
                f"step {self.step}: the loss is not finite; batch saved to {self.out}/bad_batch.pt"
            )
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(losses.total)
        self.fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        self.schedule.step()
        return losses


class _Log:
    """losses.csv, one row for every 20 steps and for the last; rows after the resumed step are cut off."""

    EVERY = 20

    def __init__(self, path: Path, step: int, last: int) -> None:
        self._last = last
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if step and path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= step]
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["step", "total", "single_px", "fused_px", "nll", "learning_rate", "elapsed_s"])
        self._writer.writerows(kept)
        self._rows: list[tuple[float, float, float, float]] = []
        self._start = time.monotonic()
        self.fused_px = float("nan")

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, step: int, losses: Losses, rate: float) -> None:
        self._rows.append((losses.total.item(), losses.single_px, losses.fused_px, losses.likelihood))
        if step % self.EVERY and step != self._last:
            return
        means = [sum(column) / len(column) for column in zip(*self._rows, strict=True)]
        self.fused_px = means[2]
        elapsed = time.monotonic() - self._start
        self._writer.writerow([step, *(f"{m:.5f}" for m in means), f"{rate:.3e}", f"{elapsed:.1f}"])
        self._file.flush()
        self._rows.clear()


def _tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    frames = torch.from_numpy(batch.frames).to(device).float() / 255
    return frames, torch.from_numpy(batch.points).to(device), torch.from_numpy(batch.visible).to(device)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file, for example configs/train/specknet_s.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
) -> None:
    """Train a tracker on clips. Research use only."""
    settings = load_train_config(config, set_ or [])
    trainer = Trainer(settings)
    if resume:
        trainer.restore()
    elif (trainer.out / "last.pt").exists():
        raise InputError(f"{trainer.out}: holds a run already; add --resume to go on with it, or choose another out")
    trainer.run()
    typer.echo(f"Trained to step {trainer.step}; checkpoint: {trainer.out / 'last.pt'}")


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
