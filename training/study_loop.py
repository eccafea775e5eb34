"""The small training loop of the studies: pairs of frames, a wide search, nothing of the stream.

An anchor frame, a target frame, a square around the query point: no motion prior, no recent templates. So the network
is seen alone, as in the paper. A finished run is kept on disk under a name made of everything that shaped it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from specktrack.training.augment import AffineRanges
from specktrack.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.clip_format import TrainingClip
from specktrack.training.combination import Combination, Kind
from specktrack.training.data import Batch, ExampleSettings, QueryShares, draw_example, stack
from specktrack.training.head import GAMMA, inside, positions_around, scale_logs, soft_argmax, templates_at
from specktrack.training.losses import cross_entropy
from specktrack.training.specknet import STRIDES, build
from specktrack.training.study_config import AffineName, StudyConfig

WARM_UP = 0.08  # share of the one-cycle schedule, as in train-tracker

AFFINES: dict[AffineName, AffineRanges | None] = {
    "none": None,
    "zoom": AffineRanges(rotation_deg=0.0, shear=0.0, flip=False),
    "flips": AffineRanges(rotation_deg=0.0, shear=0.0),
    "30": AffineRanges(rotation_deg=30.0),
    "60": AffineRanges(rotation_deg=60.0),
    "120": AffineRanges(rotation_deg=120.0),
}


@dataclass(frozen=True)
class PairRun:
    """Everything that shapes a training of the studies; equal runs are trained once."""

    model: str
    size: int
    steps: int
    batch: int
    n_points: int
    search_px: int
    learning_rate: float
    weight_decay: float
    likelihood: float
    affine: AffineName
    seed: int
    data: str  # fingerprint of the clips
    gamma: float
    query: tuple[float, float, float]  # shares of anchors in diastasis, in the first frame, in any frame
    is_gamma_learned: bool = False
    kind: Kind = "product"
    scales: tuple[int, ...] = (0, 1, 2)

    @property
    def key(self) -> str:
        """File name of the run."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_of(config: StudyConfig, seed: int, data: str) -> PairRun:
    """The run all studies start from; they replace what they vary."""
    return PairRun(
        config.model,
        config.size,
        config.steps,
        config.batch,
        config.n_points,
        config.search_px,
        config.learning_rate,
        config.weight_decay,
        config.likelihood,
        config.affine,
        seed,
        data,
        config.gamma,
        (config.query.diastasis, config.query.first, config.query.random),
    )


class PairMatcher(nn.Module):
    """A network with its exponent and its way to combine scales."""

    def __init__(self, run: PairRun) -> None:
        super().__init__()
        self.network = build(run.model)
        self.combination = Combination(run.kind, run.scales)
        self.log_gamma = nn.Parameter(torch.tensor(math.log(run.gamma)), requires_grad=run.is_gamma_learned)

    @property
    def gamma(self) -> float:
        """The exponent now."""
        return math.exp(float(self.log_gamma.detach()))

    def set_gamma(self, gamma: float) -> None:
        """Another exponent for the same network."""
        with torch.no_grad():
            self.log_gamma.fill_(math.log(gamma))

    def logs(
        self, maps: Sequence[Tensor], images: Tensor, templates: Sequence[Tensor], centre: Tensor, side: int
    ) -> Tensor:
        """log C_i (B, N, 3, S, S) around centre (B, N, 2); templates per scale (B, N, C_i), images (B,) of the maps."""
        gamma = self.log_gamma.exp() if self.log_gamma.requires_grad else self.gamma
        single = [template[:, :, None] for template in templates]
        scales = [log_c[:, :, 0] for log_c in scale_logs(maps, images, single, centre, side, gamma)]
        return torch.stack(scales, 2)

    def weigh(self, logs: Tensor, cells: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """log C_final (B, N, S, S) at the cells (B, N, S, S, 2); nothing outside the image."""
        height, width = (n * STRIDES[0] for n in maps[0].shape[-2:])
        weight: Tensor = self.combination(logs)
        return weight.masked_fill(~inside(cells, height, width), -1e4)

    def match(
        self, maps: Sequence[Tensor], images: Tensor, templates: Sequence[Tensor], centre: Tensor, side: int
    ) -> tuple[Tensor, Tensor]:
        """Positions (B, N, 2) and log C_final (B, N, S, S); arguments as in `logs`."""
        cells = positions_around(centre, side)
        weight = self.weigh(self.logs(maps, images, templates, centre, side), cells, maps)
        return soft_argmax(weight, cells)[0], weight


def trained_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """States of `network` and of what fuses its matches: the averaged ones where the checkpoint has them."""
    state: dict[str, Any] = checkpoint.state.get("average", checkpoint.state)
    return state


def matcher_from(weights: str) -> PairMatcher:
    """A shipped network or a checkpoint of train-tracker, with the product and exponent it was trained with."""
    checkpoint = load_checkpoint(find_checkpoint(weights))
    run = replace(run_of(StudyConfig(), 0, weights), model=checkpoint.model, gamma=GAMMA)
    matcher = PairMatcher(run)
    matcher.network.load_state_dict(trained_state(checkpoint)["network"])
    return matcher.eval()


def pair_loss(matcher: PairMatcher, batch: Batch, side: int, likelihood: float) -> Tensor:
    """L1 distance in pixels, and the likelihood's share, over points seen in both frames and within the square."""
    device = matcher.log_gamma.device
    frames = torch.from_numpy(batch.frames).to(device).float() / 255
    points = torch.from_numpy(batch.points).to(device)
    visible = torch.from_numpy(batch.visible).to(device)
    maps = matcher.network.raw_maps(frames.flatten(0, 1)[:, None])
    anchors = torch.arange(len(frames), device=device) * frames.shape[1]
    query, truth = points[:, 0], points[:, -1]
    targets = anchors + frames.shape[1] - 1
    found, weight = matcher.match(maps, targets, templates_at(maps, anchors, query), query, side)
    counts = visible[:, 0] & visible[:, -1] & ((truth - query).abs().amax(-1) < side // 2 - 1)
    n = counts.sum().clamp(min=1)
    l1 = ((found - truth).abs().sum(-1) * counts).sum() / n
    if not likelihood:
        return l1
    return l1 + likelihood * (cross_entropy(weight, query, truth) * counts).sum() / n


def draw_pairs(seed: int, step: int, clips: Sequence[TrainingClip], batch: int, settings: ExampleSettings) -> Batch:
    """The pairs of a step: the same for every arm of a study with the same seed."""
    rng = np.random.default_rng([seed, step])
    return stack([draw_example(rng, clips[int(rng.integers(len(clips)))], settings) for _ in range(batch)])


def train_run(
    run: PairRun, clips: Sequence[TrainingClip], folder: Path, device: str, on_step: Callable[[float], None]
) -> PairMatcher:
    """The trained matcher, ready to answer; from disk when this run was finished before.

    on_step is told the share of the run that is done.
    """
    path = folder / f"{run.key}.pt"
    torch.manual_seed(run.seed)
    matcher = PairMatcher(run).to(device)
    if path.exists():
        matcher.load_state_dict(load_checkpoint(path).state["matcher"])
        on_step(1.0)
        return matcher.eval()
    learnt = [p for p in matcher.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=run.learning_rate, weight_decay=run.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=run.learning_rate, total_steps=run.steps, pct_start=WARM_UP, cycle_momentum=False
    )
    diastasis, first, anywhere = run.query
    query = QueryShares(diastasis=diastasis, first=first, random=anywhere)
    examples = ExampleSettings(run.size, run.n_points, (), AFFINES[run.affine], query=query)
    matcher.train()
    for step in range(run.steps):
        batch = draw_pairs(run.seed, step, clips, run.batch, examples)
        loss = pair_loss(matcher, batch, run.search_px, run.likelihood)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step} of study run {run}: the loss is not finite")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        on_step((step + 1) / run.steps)
    save_checkpoint(path, Checkpoint(run.model, run.steps, {"matcher": matcher.state_dict()}, asdict(run)))
    return matcher.eval()
