"""`train-fusion CONFIG`: teach the stream how to weigh what each frame says, on whole sequences.

In rounds: the tracker of the stream runs over augmented clips with the fusion learned so far, everything it measures
is recorded (record.py), then the fusion is unrolled over all records and trained on the positions it arrives at
(fusion.py). Each round the tracker goes where the better fusion leads it, so it learns on its own mistakes (DAgger,
Ross 2011). Finished rounds are kept on disk: a stopped run goes on where it was.
"""

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
import typer
from pydantic import Field, model_validator
from rich.progress import track
from torch import Tensor

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.rt.fusion import N_VECTORS, FusionNet
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FAR_UNITS
from specktrack.rt.settings import Section, load_settings
from specktrack.training.average import mean_of_two
from specktrack.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.clip_format import clip_files, load_clip
from specktrack.training.encoder import TorchEncoder
from specktrack.training.fusion import FusionModel, Sequences, uneven_walls
from specktrack.training.record import Record, record_sequence, stacked
from specktrack.training.specknet import build

NEAR_PX = 4.0  # confidence is the probability of lying within this, units
app = console.new_app()


class FusionConfig(Section):
    """What `train-fusion` is told."""

    checkpoint: str = "specknet-s"  # of train-tracker, or a shipped name
    init_from: str = ""  # tracker.pt of another run, or a shipped name, whose fusion to begin with
    data: tuple[str, ...] = ("runs/data/train",)  # folders of clips
    out: str = "runs/fusion-s"
    seed: int = 1
    rounds: int = Field(default=3, ge=0)  # 0: the fusion of init_from as it is
    sequences: int = Field(default=400, ge=1)  # recorded in each round
    n_points: int = Field(default=80, ge=4)
    max_frames: int = Field(default=60, ge=4)
    steps: int = Field(default=1500, ge=1)  # of training in each round
    batch: int = Field(default=12, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    gains: Literal["fixed", "learned"] = "fixed"  # fixed: only confidence is learned (docs/accuracy.md says why)
    between: float = Field(default=0.0, ge=0)  # weight of errors between neighbours: strain is made of them
    uneven: float = Field(default=0.5, ge=0)  # largest departure of walls from affine motion, share of the motion
    believed: float = Field(default=1.0, ge=0, le=1)  # share of the learned gains in what is written, rest: fixed ones
    kept: float = Field(
        default=0.0, ge=0, le=1
    )  # share of init_from's fusion in a mean of weights with the learned one
    size: int = Field(default=256, ge=64, multiple_of=8)
    jobs: int = Field(default=2, ge=1)  # processes that record

    @model_validator(mode="after")
    def _something_is_learned_or_taken(self) -> "FusionConfig":
        if not self.rounds and not self.init_from:
            raise ValueError("rounds: 0 learns nothing; name the fusion to take as init_from, or give rounds")
        if self.kept > 0.0 and not self.init_from:
            raise ValueError("kept: there is nothing to keep; name the fusion to begin with as init_from")
        return self


@app.command()
def train_fusion(
    config: Annotated[Path | None, typer.Argument(help="YAML file, for example configs/train/fusion_s.yaml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: key=value, repeatable.")] = None,
) -> None:
    """Train how the tracker weighs flow, anchors and recent frames. Research use only."""
    settings = load_settings(FusionConfig, config, set_ or [])
    out = Path(settings.out)
    network = load_checkpoint(find_checkpoint(settings.checkpoint))
    model, records = _first_model(settings), list[Record]()
    _check_same_run(out, settings)
    for number in range(settings.rounds):
        done = out / f"round-{number}.pt"
        records += _records_of_round(settings, number, model)
        if done.exists():
            model.load_state_dict(torch.load(done, weights_only=True))
            continue
        error_px = fit(model, records, settings, number)
        _save_whole(done, model.state_dict())
        typer.echo(f"round {number + 1}: {len(records)} sequences, mean error {error_px:.2f} px of 256")
    fusion = model.believed(settings.believed) if settings.rounds else model.state_dict()
    if settings.kept > 0.0:
        fusion = mean_of_two(_first_model(settings).state_dict(), fusion, 1.0 - settings.kept)
    state = {"network": network.state["network"], "fusion": fusion}
    save_checkpoint(out / "tracker.pt", Checkpoint(network.model, network.step, state, network.settings))
    typer.echo(f"Written: {out / 'tracker.pt'}; next: export-trt {out / 'tracker.pt'} --out models --onnx-only")


def _first_model(settings: FusionConfig) -> FusionModel:
    """What the first round records with; raises InputError where init_from holds no fusion."""
    model = FusionModel(settings.seed)
    if settings.init_from:
        fusion = load_checkpoint(find_checkpoint(settings.init_from)).state.get("fusion")
        if fusion is None:
            raise InputError(f"init_from: {settings.init_from} holds no fusion; give the tracker.pt of a train-fusion")
        model.load_state_dict(fusion)
    return model


def _check_same_run(out: Path, settings: FusionConfig) -> None:
    """A folder goes on only with the settings it was begun with; raises InputError."""
    out.mkdir(parents=True, exist_ok=True)
    told = settings.model_dump(mode="json", exclude={"jobs", "believed", "kept"})
    path, text = out / "fusion.json", json.dumps(told, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{out}: holds a run with other settings; choose another out, or remove the folder")
    path.write_text(text, encoding="utf-8")


def _records_of_round(settings: FusionConfig, number: int, model: FusionModel) -> list[Record]:
    """Record, or read what an earlier run of the same settings recorded."""
    path = Path(settings.out) / f"records-{number}.pt"
    if not path.exists():
        files = [file for folder in settings.data for file in clip_files(Path(folder))]
        tasks = [(settings, str(files[k % len(files)]), number, k) for k in _order(settings, number)]
        arrays = model.arrays()
        kept = [asdict(record) for record in _recorded(settings, arrays, tasks, number) if record is not None]
        if not kept:
            raise InputError(f"{', '.join(settings.data)}: no clip shows {settings.n_points} points; lower n_points")
        _save_whole(path, [{key: torch.from_numpy(np.asarray(v)) for key, v in record.items()} for record in kept])
    saved = torch.load(path, weights_only=True)
    return [Record(**{key: value.numpy() for key, value in record.items()}) for record in saved]


def _save_whole(path: Path, value: object) -> None:
    """Write to a file beside it, then rename: a stopped run leaves no half file behind."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def _order(settings: FusionConfig, number: int) -> list[int]:
    return np.random.default_rng([settings.seed, number]).permutation(settings.sequences).tolist()


_engine: TorchEncoder | None = None  # of a recording process


def _open(settings: FusionConfig, arrays: dict[str, FloatArray]) -> None:
    global _engine
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(find_checkpoint(settings.checkpoint))
    network = build(checkpoint.model)
    network.load_state_dict(checkpoint.state["network"])
    _engine = TorchEncoder(network, checkpoint.model, FusionNet(arrays), (settings.size, settings.size))


def _record(task: tuple[FusionConfig, str, int, int]) -> Record | None:
    settings, file, number, k = task
    assert _engine is not None
    rng = np.random.default_rng([settings.seed, number, k])
    return record_sequence(_engine, load_clip(Path(file)), rng, settings.n_points, settings.max_frames)


def _recorded(
    settings: FusionConfig,
    arrays: dict[str, FloatArray],
    tasks: list[tuple[FusionConfig, str, int, int]],
    number: int,
) -> Iterator[Record | None]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(settings.jobs, _open, (settings, arrays)) as pool:
        found = pool.imap(_record, tasks)
        yield from track(found, description=f"round {number + 1}: recording", total=len(tasks))


def fit(model: FusionModel, records: list[Record], settings: FusionConfig, number: int) -> float:
    """Train on records; the mean distance from the truth over the last tenth of the steps, units."""
    rng = np.random.default_rng([settings.seed, number, 7])
    if settings.gains == "fixed":
        hold_gains(model)
    generator = torch.Generator().manual_seed(settings.seed * 1000 + number)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.1, cycle_momentum=False
    )
    errors = []
    for _ in track(range(settings.steps), description=f"round {number + 1}: training"):
        batch = stacked([records[k] for k in rng.integers(len(records), size=settings.batch)])
        loss, error = fusion_loss(model, batch, uneven_walls(batch.near, settings.uneven, generator), settings.between)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        errors.append(error)
    return float(np.mean(errors[-max(len(errors) // 10, 1) :]))


def hold_gains(model: FusionModel) -> None:
    """Let nothing but the confidence learn: gains and certainties stay as they are."""

    def only_confidence(gradient: Tensor) -> Tensor:
        held = gradient.clone()
        held[..., : N_VECTORS + 1] = 0.0
        return held

    for name in ("out", "out_bias"):
        model.get_parameter(name).register_hook(only_confidence)  # type: ignore[no-untyped-call]


def fusion_loss(
    model: FusionModel, batch: Sequences, uneven: Tensor | None = None, between: float = 0.0
) -> tuple[Tensor, float]:
    """Loss of a batch and the mean distance from the truth, units.

    The weighted L1 of positions is L1 plus its logarithm: half a pixel less counts most where one is nearly right,
    as it does in the share of points within 1, 2, 4, ... pixels. Confidence is trained by cross-entropy.
    between  weight of the mean difference between the errors of neighbours, beside the errors themselves
    """
    unrolled = model.unroll(batch, uneven)
    counts = batch.counts.clone()
    counts[:, 0] = False
    distance = ((unrolled.points - batch.truth).square().sum(-1) + 1e-6).sqrt()
    is_near = (distance.detach() < NEAR_PX).float()
    honesty = F.binary_cross_entropy_with_logits(unrolled.confidence_logit, is_near, reduction="none")
    cost = distance + 2.0 * torch.log1p(distance) + 0.3 * honesty
    total = counts.sum().clamp(min=1)
    loss = (cost * counts).sum() / total
    if between > 0.0:
        loss = loss + between * apart(unrolled.points - batch.truth, counts, batch.truth[:, 0])
    return loss, float((distance.detach() * counts).sum() / total)


def apart(error: Tensor, counts: Tensor, start: Tensor) -> Tensor:
    """Mean length of the difference between errors (B, T, N, 2) of two points, near ones counting most, units."""
    near = torch.exp(-0.5 * (start[:, :, None] - start[:, None]).square().sum(-1) / FAR_UNITS**2)
    near = near * (1.0 - torch.eye(near.shape[1], device=near.device))
    both = near[:, None] * (counts[:, :, :, None] & counts[:, :, None]).float()
    difference = ((error[:, :, :, None] - error[:, :, None]).square().sum(-1) + 1e-6).sqrt()
    return (difference * both).sum() / both.sum().clamp(min=1.0)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
