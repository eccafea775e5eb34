"""Fine-tuning on clips without tracks: there and back again, and the same place one beat later.

Losses, beside labelled pairs in every step:
    cycle    points go from a frame to another (half of the time over a third one) and back; L1 to where they began
    closure  points must be at the same place one beat later; the shift common to all of them (breathing, the probe's
             hand) is not counted
A network that ignores its input would satisfy both, were the searched squares centred on the points: the soft argmax
of nothing is the middle. So every square is shifted at random. Distances are capped: a wall that left the plane does
not come back, and must not teach. Normalisation statistics stay those of the checkpoint.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specktrack.rt.geometry import FloatArray
from specktrack.training.augment import AffineRanges, random_affine, warp_frames
from specktrack.training.clip_format import TrainingClip
from specktrack.training.data import ExampleSettings
from specktrack.training.head import templates_at
from specktrack.training.specknet import SpeckNet
from specktrack.training.study_config import SelfSupervision, StudyConfig
from specktrack.training.study_loop import AFFINES, PairMatcher, draw_pairs, matcher_from, pair_loss

BRIGHT = 60.0  # percentile of the lit pixels: points are drawn among brighter ones, where there is tissue
SMOOTH_PX = 3.0
MARGIN = 0.12  # of the side: no points nearer to the border
PROBE_FRAMES = 4  # of labelled and of unlabelled clips, to watch the features on
RANGES = AffineRanges(zoom=(0.9, 1.4))


@dataclass(frozen=True)
class Unlabelled:
    """A clip without tracks, fitted into the crop."""

    name: str
    frames: NDArray[np.uint8]  # (T, S, S)
    beat_frames: int | None  # None: no second beat in it


@dataclass(frozen=True)
class FineTuned:
    """A network after fine-tuning, and why it stopped early (empty: it did not)."""

    matcher: PairMatcher
    stopped: str


def fine_tune(
    config: StudyConfig,
    settings: SelfSupervision,
    seed: int,
    labelled: Sequence[TrainingClip],
    unlabelled: Sequence[Unlabelled],
    on_step: Callable[[float], None],
) -> FineTuned:
    """Fine-tune the checkpoint of the settings; on collapse the weights of the last sound check are returned."""
    torch.manual_seed(seed)
    matcher = matcher_from(settings.weights).to(config.device)
    learnt = list(matcher.network.parameters())
    optimizer = torch.optim.AdamW(learnt, lr=settings.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    examples = ExampleSettings(settings.size, settings.n_points, (), AFFINES[config.affine])
    probe = _probe(config, settings, labelled, unlabelled)
    start, sound = feature_spread(matcher.network, probe), copy.deepcopy(matcher.state_dict())
    for step in range(settings.steps):
        batch = draw_pairs(seed, step, labelled, config.batch, examples)
        loss = pair_loss(matcher, batch, settings.search_px, config.likelihood)
        rng = np.random.default_rng([seed, step, 1])
        clip = unlabelled[int(rng.integers(len(unlabelled)))]
        if settings.cycle_weight:
            loss = loss + settings.cycle_weight * cycle_loss(matcher, *draw_path(rng, clip, settings), settings, rng)
        if settings.closure_weight and clip.beat_frames is not None:
            frames, points = draw_beat(rng, clip, clip.beat_frames, settings)
            loss = loss + settings.closure_weight * closure_loss(matcher, frames, points, settings, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        on_step((step + 1) / settings.steps)
        if (step + 1) % settings.check_every and step + 1 < settings.steps:
            continue
        kept = float((feature_spread(matcher.network, probe) / start).min())
        if not kept >= settings.least_spread:  # NaN is no better
            matcher.load_state_dict(sound)
            return FineTuned(
                matcher, f"collapsed at step {step + 1}: features keep {100 * kept:.0f} % of their variance"
            )
        sound = copy.deepcopy(matcher.state_dict())
    return FineTuned(matcher, "")


def cycle_loss(
    matcher: PairMatcher,
    frames: NDArray[np.uint8],
    points: FloatArray,
    settings: SelfSupervision,
    rng: np.random.Generator,
) -> Tensor:
    """How far points (N, 2) of the first frame are from themselves after a way through all frames and back."""
    maps, start = _maps(matcher, frames), _points(matcher, points)
    order = [*range(1, len(frames)), 0]
    here, at = 0, start
    for there in order:
        at = _follow(matcher, maps, here, there, at, settings, rng)
        here = there
    return _capped(at - start, settings.cap_px)


def closure_loss(
    matcher: PairMatcher,
    frames: NDArray[np.uint8],
    points: FloatArray,
    settings: SelfSupervision,
    rng: np.random.Generator,
) -> Tensor:
    """How far points (N, 2) of the first frame are from themselves in the second, one beat later."""
    start = _points(matcher, points)
    moved = _follow(matcher, _maps(matcher, frames), 0, 1, start, settings, rng) - start
    shared = moved.detach().median(1, keepdim=True).values
    return _capped(moved - shared, settings.cap_px)


def _maps(matcher: PairMatcher, frames: NDArray[np.uint8]) -> Sequence[Tensor]:
    images = torch.from_numpy(frames).to(matcher.log_gamma.device).float() / 255
    return matcher.network.raw_maps(images[:, None])


def _points(matcher: PairMatcher, points: FloatArray) -> Tensor:
    return torch.from_numpy(points).to(matcher.log_gamma.device)[None]


def _follow(
    matcher: PairMatcher,
    maps: Sequence[Tensor],
    here: int,
    there: int,
    at: Tensor,
    settings: SelfSupervision,
    rng: np.random.Generator,
) -> Tensor:
    """Points (1, N, 2) of one frame found in another, in squares that lie off them by a random shift."""
    shift = rng.uniform(-settings.jitter_px, settings.jitter_px, at.shape).astype(np.float32)
    centre = at.detach() + torch.from_numpy(shift).to(at.device)
    images = torch.tensor([here, there], device=at.device)
    templates = templates_at(maps, images[:1], at)
    return matcher.match(maps, images[1:], templates, centre, settings.search_px)[0]


def _capped(way: Tensor, cap_px: float) -> Tensor:
    """Mean L1 length of (1, N, 2), none counting more than the cap."""
    return way.abs().sum(-1).clamp(max=cap_px).mean()


def draw_path(
    rng: np.random.Generator, clip: Unlabelled, settings: SelfSupervision
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Two or three frames of a clip, turned alike, and points (N, 2) of the first."""
    chosen = rng.choice(len(clip.frames), int(rng.integers(2, 4)), replace=False)
    return _drawn(rng, clip.frames[chosen], settings)


def draw_beat(
    rng: np.random.Generator, clip: Unlabelled, beat_frames: int, settings: SelfSupervision
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Two frames one beat apart, turned alike, and points (N, 2) of the first."""
    first = int(rng.integers(len(clip.frames) - beat_frames))
    return _drawn(rng, clip.frames[[first, first + beat_frames]], settings)


def _drawn(
    rng: np.random.Generator, frames: NDArray[np.uint8], settings: SelfSupervision
) -> tuple[NDArray[np.uint8], FloatArray]:
    middle = np.full(2, (settings.size - 1) / 2, np.float32)
    matrix = random_affine(rng, (settings.size, settings.size), settings.size, middle, RANGES)
    turned = warp_frames(frames, matrix, settings.size)
    return turned, bright_points(rng, turned[0], settings.n_points)


def bright_points(rng: np.random.Generator, frame: NDArray[np.uint8], count: int) -> FloatArray:
    """Random points (count, 2) x, y among the brighter lit pixels of a frame, away from its border."""
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), SMOOTH_PX)
    margin = round(MARGIN * len(frame))
    inner = smooth[margin:-margin, margin:-margin]
    lit = inner[inner > 1.0]
    bright = np.argwhere(inner >= (np.percentile(lit, BRIGHT) if len(lit) else 0.0))
    chosen = bright[rng.integers(len(bright), size=count)]
    return (chosen[:, ::-1] + margin + rng.uniform(-0.5, 0.5, (count, 2))).astype(np.float32)


@torch.inference_mode()
def feature_spread(network: SpeckNet, frames: Tensor) -> Tensor:
    """Total variance (3,) of the unit features of each scale over frames (F, 1, S, S): 0 when all are the same."""
    return torch.stack([1.0 - features.mean((0, 2, 3)).square().sum() for features in network(frames)])


def _probe(
    config: StudyConfig,
    settings: SelfSupervision,
    labelled: Sequence[TrainingClip],
    unlabelled: Sequence[Unlabelled],
) -> Tensor:
    """A few frames (F, 1, S, S) of both kinds, always the same."""
    examples = ExampleSettings(settings.size, 1, (), None, appearance=False)
    known = draw_pairs(0, 0, labelled, PROBE_FRAMES, examples).frames[:, 0]
    unknown = np.stack([unlabelled[k % len(unlabelled)].frames[0] for k in range(PROBE_FRAMES)])
    frames = torch.from_numpy(np.concatenate((known, unknown))).to(config.device)
    return frames[:, None].float() / 255
