"""Other trackers by name: how each is cut, how long its window is, how its file is driven."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from specktrack.export.baseline_follow import (
    Runner,
    file_cotracker,
    file_cotracker_online,
    file_echotracker,
    file_pips,
    file_ptecho,
    net_cotracker,
    net_cotracker_online,
    net_echotracker,
    net_pips,
)
from specktrack.export.baseline_stages import (
    Stages,
    Window,
    cut_cotracker,
    cut_cotracker_online,
    cut_echotracker,
    cut_pips,
)
from specktrack.rt.geometry import FloatArray
from specktrack.training.cotracker import OFFLINE_WINDOW, ONLINE_WINDOW, CoTracker
from specktrack.training.echotracker import EchoTracker
from specktrack.training.pips import Pips

NON_COMMERCIAL = "of the public weights: CC BY-NC 4.0, no commercial use"
QueryFrames = Literal["first", "one", "any"]  # of a window: where points may be set
DIASTASIS = 0.72  # of the window: where the later EchoTracker wants its queries


@dataclass(frozen=True)
class Baseline:
    """What the export of a tracker needs to know."""

    build: Callable[[], Any]
    cut: Callable[[Any, Window], Stages]
    n_frames: int  # of a window, unless the user wants another length
    iterations: int
    smallest: int  # side of the image, pixels
    query_frames: QueryFrames
    coordinates: tuple[str, ...]  # inputs and outputs that hold positions
    heads: tuple[str, ...]  # precision: what makes positions, FP32 in any case
    middles: tuple[str, ...]  # and what is FP32 next when that is not enough
    clip_frames: Callable[[int], int]  # frames of a clip that shows whether windows follow one another well
    follow_file: Callable[[Runner, FloatArray, FloatArray, int], FloatArray]  # clip, queries, frames of a window
    follow_net: Callable[[Any, FloatArray, FloatArray, int, int], FloatArray]  # clip, queries, iterations, frames
    licence: str = "of the public weights: none stated (code MIT)"


_ECHOTRACKER = Baseline(
    build=EchoTracker,
    cut=cut_echotracker,
    n_frames=24,
    iterations=4,
    smallest=64,
    query_frames="first",
    coordinates=("points", "tracks"),
    heads=("*.dense/*",),
    middles=("*.delta_block*",),
    clip_frames=lambda t: t,
    follow_file=lambda run, clip, queries, _: file_echotracker(run, clip, queries),
    follow_net=lambda net, clip, queries, k, _: net_echotracker(net, clip, queries, k),
)

BASELINES: dict[str, Baseline] = {
    "echotracker": _ECHOTRACKER,
    "echotracker-ptecho": replace(
        _ECHOTRACKER,
        build=partial(EchoTracker, "ptecho"),
        query_frames="one",
        coordinates=("tracks",),
        follow_file=lambda run, clip, queries, _: file_ptecho(run, clip, queries),
        licence=NON_COMMERCIAL,
    ),
    "pips": Baseline(
        build=Pips,
        cut=cut_pips,
        n_frames=24,
        iterations=16,
        smallest=128,
        query_frames="first",
        coordinates=("trajectories", "tracks"),
        heads=("*.dense/*",),
        middles=("*.delta_block*",),
        clip_frames=lambda t: 2 * t - 1,
        follow_file=file_pips,
        follow_net=net_pips,
    ),
    "cotracker3": Baseline(
        build=partial(CoTracker, OFFLINE_WINDOW),
        cut=cut_cotracker,
        n_frames=24,
        iterations=6,
        smallest=64,
        query_frames="any",
        coordinates=("tracks",),
        heads=("*.flow_head/*", "*.vis_conf_head/*"),
        middles=("*.updateformer*",),
        clip_frames=lambda t: t,
        follow_file=lambda run, clip, queries, _: file_cotracker(run, clip, queries),
        follow_net=lambda net, clip, queries, k, _: net_cotracker(net, clip, queries, k),
        licence=NON_COMMERCIAL,
    ),
    "cotracker3-online": Baseline(
        build=partial(CoTracker, ONLINE_WINDOW),
        cut=cut_cotracker_online,
        n_frames=ONLINE_WINDOW,
        iterations=6,
        smallest=64,
        query_frames="any",
        coordinates=("tracks",),
        heads=("*.flow_head/*", "*.vis_conf_head/*"),
        middles=("*.updateformer*",),
        clip_frames=lambda t: t + t // 2,
        follow_file=file_cotracker_online,
        follow_net=lambda net, clip, queries, k, _: net_cotracker_online(net, clip, queries, k),
        licence=NON_COMMERCIAL,
    ),
}


def some_queries(baseline: Baseline, n_points: int, n_frames: int, size: tuple[int, int]) -> FloatArray:
    """Queries (N, 3) all over the middle of the image, of such frames as the tracker takes."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0.2, 0.8, (n_points, 2)) * size[::-1]
    frames = {
        "first": np.zeros(n_points),
        "one": np.full(n_points, round(DIASTASIS * (n_frames - 1))),
        "any": rng.integers(0, n_frames, n_points),
    }[baseline.query_frames]
    return np.concatenate((frames[:, None], places), 1).astype(np.float32)
