"""What every study works with: its clips, its trained networks and how they are scored."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import FloatArray
from specktrack.training.clip_format import TrainingClip, load_clip
from specktrack.training.head import positions_around, soft_argmax, templates_at
from specktrack.training.metrics import Accuracy, accuracy, mean_accuracy
from specktrack.training.study_clips import HeldOut, clip_paths, fingerprint, hold_out, view_of
from specktrack.training.study_config import StudyConfig
from specktrack.training.study_loop import PairMatcher, PairRun, run_of, train_run

FRAMES_AT_ONCE = 8  # of a clip that is tracked: bounds memory

Item = TypeVar("Item")
Maps = list[Tensor]  # per scale (T, C_i, h_i, w_i), unit features
Disturb = Callable[[Tensor, Tensor, Tensor], Tensor]  # logs (F, N, 3, S, S), centre and truth (F, N, 2) to logs


def progress_bar() -> Progress:
    """One bar for the study, one for the run under way."""
    return Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


class StudyBench:
    """Clips and trained networks of one call of `study-tracker`; both are made when first asked for."""

    def __init__(self, config: StudyConfig, progress: Progress) -> None:
        self.config = config
        self._progress = progress
        self._cache = Path(config.out) / "networks"
        if config.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: cuda: no NVIDIA GPU is visible to torch; use device: cpu")
        if config.threads:
            torch.set_num_threads(config.threads)

    @cached_property
    def _paths(self) -> list[Path]:
        return clip_paths(self.config.train, self.config.train_views, self.config.clips)

    @cached_property
    def train_clips(self) -> list[TrainingClip]:
        """The training clips, all in memory."""
        return [load_clip(path) for path in self._paths]

    @property
    def data(self) -> str:
        """Fingerprint of the training clips."""
        return fingerprint(self._paths)

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[[float], None]]:
        """A bar, gone afterwards; what it gives is told the share that is done."""
        task = self._progress.add_task(label, total=1.0)
        try:
            yield lambda share: self._progress.update(task, completed=share)
        finally:
            self._progress.remove_task(task)

    def run(self, seed: int, **changes: Any) -> PairRun:
        """The run all studies share, with what this study varies."""
        return replace(run_of(self.config, seed, self.data), **changes)

    def trained(self, run: PairRun, label: str) -> PairMatcher:
        """The network of a run, trained now or found on disk."""
        with self.bar(f"train {label}, seed {run.seed}") as advance:
            return train_run(run, self.train_clips, self._cache, self.config.device, advance)

    def each(self, items: Sequence[Item], label: str) -> Iterator[Item]:
        """Iterate with a bar that is gone afterwards."""
        with self.bar(label) as advance:
            for done, item in enumerate(items):
                yield item
                advance((done + 1) / len(items))

    def held_out(self, views: Sequence[str], size: int = 0, turned_deg: float = 0.0) -> list[HeldOut]:
        """Held-out clips of these views, fitted into the crop of the study (or of `size`)."""
        config = self.config
        paths = clip_paths(config.held_out, views, config.held_out_clips)
        return [
            hold_out(load_clip(path), view_of(path), size or config.size, config.n_points, turned_deg) for path in paths
        ]

    def score(
        self, matcher: PairMatcher, cases: Sequence[HeldOut], label: str, disturb: Sequence[Disturb] = ()
    ) -> Accuracy:
        """Mean accuracy over clips, errors at 256 x 256; disturb, if given, for each clip its own."""
        side = self.config.search_px
        parts = []
        for k, case in enumerate(self.each(cases, label)):
            tracks = track(matcher, case, case.query_frame, side, disturb[k] if disturb else None)
            parts.append(accuracy_of(case, tracks))
        return mean_accuracy(parts)


def accuracy_of(case: HeldOut, tracks: FloatArray) -> Accuracy:
    """Figures of one clip."""
    return accuracy(tracks, case.truth, case.visible, case.query_frame, case.extent_px)


@torch.inference_mode()
def encode(matcher: PairMatcher, case: HeldOut) -> Maps:
    """Feature maps of all frames of a clip."""
    frames = torch.from_numpy(case.frames).to(matcher.log_gamma.device)
    parts = [matcher.network(part[:, None].float() / 255) for part in torch.split(frames, FRAMES_AT_ONCE)]
    return [torch.cat([part[scale] for part in parts]) for scale in range(len(parts[0]))]


@torch.inference_mode()
def track(
    matcher: PairMatcher,
    case: HeldOut,
    query_frame: int,
    side: int,
    disturb: Disturb | None = None,
    maps: Maps | None = None,
) -> FloatArray:
    """Tracks (N, T, 2) in crop pixels: every frame asked on its own, around where the points were set.

    maps  of `encode`, when the clip is tracked more than once
    """
    maps = encode(matcher, case) if maps is None else maps
    device, n_frames = matcher.log_gamma.device, len(case.frames)
    truth = torch.from_numpy(case.truth).to(device).transpose(0, 1)  # (T, N, 2)
    query = truth[query_frame][None]
    templates = templates_at(maps, torch.tensor([query_frame], device=device), query)
    found = []
    for images in torch.split(torch.arange(n_frames, device=device), FRAMES_AT_ONCE):
        centre = query.expand(len(images), -1, -1)
        each = [t.expand(len(images), -1, -1) for t in templates]
        logs = matcher.logs(maps, images, each, centre, side)
        if disturb is not None:
            logs = disturb(logs, centre, truth[images])
        cells = positions_around(centre, side)
        found.append(soft_argmax(matcher.weigh(logs, cells, maps), cells)[0])
    return torch.cat(found).transpose(0, 1).cpu().numpy()


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Over seeds; the SD of a single one is NaN."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return float(np.mean(values)), sd
