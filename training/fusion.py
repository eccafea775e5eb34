"""The torch twin of rt/fusion.py, for training: the same numbers, with gradients, over batches of sequences.

Letters: B sequences, T frames, N points, M measurements. Lengths in units (pixels of 256 across).
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from specktrack.rt.fusion import LARGEST_CORRECTION, N_VECTORS, OLDEST, PAIRS, SHAPES, STATE, UNIT_PX, steady_weights
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FAR_UNITS, FOLLOWS_POINT
from specktrack.rt.wall_shape import AGREEMENT, DOUBT, FAR_WALL, LEVEL

EPSILON = 1e-6  # under square roots, whose slope at zero is infinite


@dataclass(frozen=True)
class Sequences:
    """Recorded measurements of B sequences, padded to T frames; frame 0 is the query frame."""

    points: Tensor  # (B, T, N, 2) where the recorded tracker had them
    step: Tensor  # (B, T, N, 2) optical flow from the frame before
    half_difference: Tensor  # (B, T, N, 2) of the two flows
    offset: Tensor  # (B, T, M, N, 2) from points of the frame before + step
    spread: Tensor  # (B, T, M, N)
    share_own: Tensor  # (B, T, N)
    share_near: Tensor  # (B, T, N)
    near: Tensor  # (B, N, N)
    crowd_far: Tensor  # (B, N)
    truth: Tensor  # (B, T, N, 2)
    counts: Tensor  # (B, T, N) bool

    def to(self, device: torch.device) -> "Sequences":
        """The same on a device."""
        return Sequences(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class Unrolled:
    """What the tracker would have done."""

    points: Tensor  # (B, T, N, 2)
    confidence_logit: Tensor  # (B, T, N)


class FusionModel(nn.Module):
    """Weights named and shaped as rt/fusion.py says."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        start = steady_weights()
        for key, shape in SHAPES.items():
            value = torch.from_numpy(start[key]).clone()
            if len(shape) == 2 and key != "out":
                value = torch.randn(shape, generator=generator) / shape[0] ** 0.5
            self.register_parameter(key, nn.Parameter(value))

    def arrays(self) -> dict[str, FloatArray]:
        """For rt.fusion.FusionNet."""
        return {key: self.get_parameter(key).detach().cpu().numpy().astype(np.float32) for key in SHAPES}

    def believed(self, share: float) -> dict[str, Tensor]:
        """The state with gains between the fixed (share 0) and the learned ones (1); certainty and confidence stay."""
        state = {key: value.detach().clone() for key, value in self.state_dict().items()}
        fixed = torch.from_numpy(steady_weights()["out_bias"])[:N_VECTORS]
        state["out"][:, :N_VECTORS] *= share
        state["out_bias"][:N_VECTORS] = share * state["out_bias"][:N_VECTORS] + (1.0 - share) * fixed
        return state

    def step(self, vectors: Tensor, scalars: Tensor, state: Tensor, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corrections (B, N, 2), confidence logits (B, N), states; vectors (B, M, N, 2), scalars (B, N, F)."""
        w = self.get_parameter
        hidden = torch.relu(scalars @ w("a") + w("a_bias"))
        given, kept = hidden @ w("gates_in") + w("gates_bias"), state @ w("gates_state")
        reset, update = (torch.sigmoid(given[..., s] + kept[..., s]) for s in (slice(STATE), slice(STATE, 2 * STATE)))
        candidate = torch.tanh(given[..., 2 * STATE :] + reset * kept[..., 2 * STATE :])
        state = (1 - update) * candidate + update * state
        top = torch.relu(torch.cat((hidden, state), -1) @ w("b") + w("b_bias"))
        out = top @ w("out") + w("out_bias")
        own = torch.einsum("bnm,bmnx->bnx", out[..., :N_VECTORS], vectors)
        own = own / (_length(own) / LARGEST_CORRECTION).clamp(min=1.0)[..., None]
        weight = near * out[..., N_VECTORS].clamp(-6.0, 6.0).exp()[:, None]
        return weight @ own / weight.sum(-1, keepdim=True).clamp(min=1e-9), out[..., N_VECTORS + 1], state

    def unroll(self, recorded: Sequences, uneven: Tensor | None = None) -> Unrolled:
        """Run through the sequences as the tracker would, from the true points of frame 0.

        uneven (B, N, 2, 2), of uneven_walls, makes what neighbours say err in proportion to the motion.

        What anchors say is absolute: as the points go elsewhere than the recorded ones did, their offsets change by
        the difference. What flow and recent templates say is relative to the point and stays.
        """
        n_frames = recorded.points.shape[1]
        points = recorded.truth[:, 0]
        state = points.new_zeros(*points.shape[:2], STATE)
        start, sure = points, torch.ones_like(points[..., 0])
        far = torch.exp(-0.5 * (start[:, :, None] - start[:, None]).square().sum(-1) / FAR_UNITS**2)
        moves = torch.from_numpy(FOLLOWS_POINT).to(points.device)[None, :, None, None]
        crowd = torch.stack((recorded.near.sum(-1), recorded.crowd_far), -1).clamp(min=1.0).log() / 2.0
        places, logits = [points], [torch.zeros_like(points[..., 0])]
        for t in range(1, n_frames):
            away = (points - recorded.points[:, t - 1])[:, None]
            evidence = recorded.offset[:, t] - torch.where(moves, torch.zeros_like(away), away)
            half, expected = recorded.half_difference[:, t], points + recorded.step[:, t]
            around = _neighbours_say(start, recorded.step[:, t], half, expected - start, sure, far)
            if uneven is not None:
                moved = torch.stack((recorded.step[:, t], expected - start), 1)
                around = around + torch.einsum("bnij,bmnj->bmni", uneven, moved)
            vectors = torch.cat((evidence, half[:, None], around), 1)
            scalars = _scalars(vectors, recorded, t, crowd)
            correction, logit, state = self.step(vectors, scalars, state, recorded.near)
            points, sure = expected + correction, torch.sigmoid(logit)
            places.append(points)
            logits.append(logit)
        return Unrolled(torch.stack(places, 1), torch.stack(logits, 1))


def uneven_walls(near: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """(B, N, 2, 2): how far the wall around each point departs from an affine motion, as a share of the motion.

    Alike within the reach of near (B, N, N), with no direction of its own; the standard deviation of each sequence is
    uniform from nothing to largest. Phantom walls move more smoothly than real ones (docs/accuracy.md).
    """
    raw = torch.randn(*near.shape[:2], 4, generator=generator)
    smooth = near @ raw / near.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-6)
    level = largest * torch.rand(len(near), 1, 1, generator=generator)
    return (level * smooth).reshape(*near.shape[:2], 2, 2)


def _neighbours_say(start: Tensor, step: Tensor, half: Tensor, moved: Tensor, sure: Tensor, far: Tensor) -> Tensor:
    """rt.wall_shape.neighbours_say for a batch: (B, 2, N, 2)."""
    agree = 1.0 / (AGREEMENT + _length(half)) ** 2
    motion = _local_fit(start, step, far * agree[:, None]) - step
    shape = _local_fit(start, moved, far * (DOUBT + sure)[:, None]) - moved
    return torch.stack((motion, shape), 1)


def _local_fit(points: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """rt.wall_shape.local_fit for a batch: (B, N, 2)."""
    x = (points[:, None] - points[:, :, None]) / FAR_WALL.reach
    basis = torch.cat((torch.ones_like(x[..., :1]), x), -1)
    weighted = (weight[..., None] * basis).transpose(2, 3)
    stiff = torch.diag(torch.tensor([LEVEL, FAR_WALL.stiffness, FAR_WALL.stiffness], device=points.device))
    found = torch.linalg.solve(weighted @ basis + stiff, weighted @ (values[:, None] - values[:, :, None]))
    return values + found[:, :, 0]


def _length(vectors: Tensor) -> Tensor:
    return (vectors.square().sum(-1) + EPSILON).sqrt()


def _scalars(vectors: Tensor, recorded: Sequences, t: int, crowd: Tensor) -> Tensor:
    """rt.fusion.scalars for a batch: (B, N, N_SCALARS)."""
    length = _length(vectors)
    columns = list(recorded.spread[:, t].clamp(min=0.05).log().unbind(1))
    columns += [n.clamp(max=4.0 * UNIT_PX) / UNIT_PX for n in length.unbind(1)]
    for a, b in PAIRS:
        dot = (vectors[:, a] * vectors[:, b]).sum(-1)
        columns.append(dot / (length[:, a] * length[:, b] + 0.25))
    speed = _length(recorded.step[:, t]).clamp(max=4.0 * UNIT_PX) / UNIT_PX
    age = torch.full_like(speed, float(np.log1p(min(t, OLDEST))) / 4.0)
    columns += [recorded.share_own[:, t], recorded.share_near[:, t], speed, age, *crowd.unbind(-1)]
    return torch.stack(columns, -1)
