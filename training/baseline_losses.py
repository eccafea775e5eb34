"""What fine-tuning of trackers of others minimises: weighted L1 of positions, later refinements counting more.

The published losses agree in this (EchoTracker, PIPs++: L1 of visible points, each prediction weighted by 0.8 to the
power of how many follow it). CoTracker3 also says whether a point is visible and whether its position is right within
twelve pixels: binary cross-entropy of both, weighted alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

DECAY = 0.8
RIGHT_WITHIN_PX = 12.0
LIKELIHOOD_PX = 1.0  # what a nat of visibility or confidence weighs


class Answer(NamedTuple):
    """What K predictions of a tracker say of N points in T frames."""

    positions: Tensor  # (K, N, T, 2) pixels
    visibility: Tensor | None = None  # (K, N, T) logits
    confidence: Tensor | None = None  # (K, N, T) logits


@dataclass(frozen=True)
class TrackLosses:
    """Terms and figures of one step."""

    total: Tensor
    first_px: float  # mean L1 of the first prediction
    last_px: float  # and of the answer
    likelihood: float

    def values(self) -> list[float]:
        """What a run writes down: total, first_px, last_px, likelihood."""
        return [self.total.item(), self.first_px, self.last_px, self.likelihood]


def track_losses(answers: Sequence[Answer], truth: Tensor, visible: Tensor) -> TrackLosses:
    """Losses of a batch of B answers.

    truth (B, N, T, 2) pixels, finite also where not visible; visible (B, N, T): the others have no say in positions.
    """
    positions = torch.stack([_errors_px(answer, *of) for answer, *of in zip(answers, truth, visible, strict=True)])
    said = torch.stack([_surprise(answer, *of) for answer, *of in zip(answers, truth, visible, strict=True)])
    weights = DECAY ** torch.arange(positions.shape[1] - 1, -1, -1, device=positions.device)
    total = ((positions + LIKELIHOOD_PX * said) * weights).mean()
    by_prediction = positions.detach().mean(0)
    return TrackLosses(total, float(by_prediction[0]), float(by_prediction[-1]), float(said.detach().mean()))


def _errors_px(answer: Answer, truth: Tensor, visible: Tensor) -> Tensor:
    """Mean L1 distance (K,) over the visible points, per coordinate."""
    far = (answer.positions - truth).abs().mean(-1) * visible
    return far.sum((-2, -1)) / visible.sum().clamp(min=1)


def _surprise(answer: Answer, truth: Tensor, visible: Tensor) -> Tensor:
    """Mean cross-entropy (K,) of visibility and confidence; zero where the tracker has neither."""
    if answer.visibility is None or answer.confidence is None:
        return answer.positions.new_zeros(len(answer.positions))
    far = torch.linalg.vector_norm(answer.positions.detach() - truth, dim=-1)
    is_right = (far < RIGHT_WITHIN_PX).float()
    seen = F.binary_cross_entropy_with_logits(
        answer.visibility, visible.float().expand_as(answer.visibility), reduction="none"
    ).mean((-2, -1))
    right = F.binary_cross_entropy_with_logits(answer.confidence, is_right, reduction="none") * visible
    return seen + right.sum((-2, -1)) / visible.sum().clamp(min=1)
