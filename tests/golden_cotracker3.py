"""Runs CoTracker3, offline or online, on a golden case; array names are those of the goldens' README."""

from typing import Any

import numpy as np
import torch
from golden_cases import Arrays
from torch import Tensor, nn

from specktrack.training.cotracker import (
    OFFLINE_WINDOW,
    ONLINE_WINDOW,
    STRIDE,
    CoTracker,
    Trajectories,
    track_offline,
    trajectories,
)
from specktrack.training.cotracker_correlation import correlate, embed
from specktrack.training.cotracker_predictor import OnlinePredictor, predict_offline
from specktrack.training.cotracker_stream import CoTrackerStream, slide

INPUTS = {"video", "queries_txy", "n_chunks"}


def build_offline() -> CoTracker:
    return CoTracker(OFFLINE_WINDOW).eval()


def build_online() -> CoTracker:
    return CoTracker(ONLINE_WINDOW).eval()


class Watch:
    """Keeps what modules were given and gave, call by call."""

    def __init__(self, network: CoTracker) -> None:
        self.pyramids, self.supports, self.before, self.after = [], [], [], []
        self.tokens, self.deltas, self.head_in, self.features = [], [], [], []
        self._handles = [
            network.register_forward_hook(self._iteration),
            network.updateformer.register_forward_hook(self._update),
            network.updateformer.flow_head.register_forward_hook(lambda _, x, __: self.head_in.append(x[0].clone())),
            network.fnet.register_forward_hook(lambda _, __, y: self.features.append(y.clone())),
        ]

    def _iteration(self, _: nn.Module, told: tuple[Any, ...], state: Tensor) -> None:
        self.pyramids.append(told[0])
        self.supports.append([patches.clone() for patches in told[1]])
        self.before.append(told[2].clone())
        self.after.append(state.clone())

    def _update(self, _: nn.Module, told: tuple[Tensor, ...], delta: Tensor) -> None:
        self.tokens.append(told[0].clone())
        self.deltas.append(delta.clone())

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def run(network: CoTracker, params: dict[str, Any], arrays: Arrays) -> Arrays:
    frames = torch.from_numpy(arrays["video"]).permute(0, 3, 1, 2).float()
    queries = torch.from_numpy(arrays["queries_txy"]).float()
    watch = Watch(network)
    found = _of_kind(network, params, frames, queries, watch)
    watch.close()
    return {name: np.asarray(value) for name, value in found.items() if name in arrays}


def _of_kind(
    network: CoTracker, params: dict[str, Any], frames: Tensor, queries: Tensor, watch: Watch
) -> dict[str, Tensor]:
    kind = params["kind"]
    if kind == "predictor":
        predicted = predict_offline(network, frames, queries, params.get("backward", False))
        return {"tracks": predicted.tracks_px.transpose(0, 1), "visible": predicted.visible.T}
    if kind == "predictor_stream":
        return _predictor_stream(network, params, frames, queries)
    if kind == "stream":
        return _stream(network, params, frames, queries, watch)
    follow = slide if kind == "sliding" else track_offline
    answer = follow(network, frames, queries, params["iters"])
    return {**_by_frame(answer, ""), **_inside(network, params["iters"], len(frames), watch)}


def _predictor_stream(network: CoTracker, params: dict[str, Any], frames: Tensor, queries: Tensor) -> dict[str, Tensor]:
    size = (frames.shape[-2], frames.shape[-1])
    predictor = OnlinePredictor(network, queries, size, params.get("support", False))
    found = {}
    for k, chunk in enumerate(_chunks(frames)):
        predicted = predictor.update(chunk)
        found |= {f"tracks_{k}": predicted.tracks_px.transpose(0, 1), f"visible_{k}": predicted.visible.T}
    return found


def _stream(
    network: CoTracker, params: dict[str, Any], frames: Tensor, queries: Tensor, watch: Watch
) -> dict[str, Tensor]:
    stream = CoTrackerStream(network, queries, params["iters"])
    state, found = queries.new_zeros(len(queries), 0, 4), {}
    for k, chunk in enumerate(_chunks(frames)):
        window = stream.update(chunk)
        state = torch.cat([state[:, : window.first_frame], window.state], 1)
        found |= _by_frame(trajectories(state), f"_{k}")
    for level, patches in enumerate(watch.supports[-1]):
        found[f"support_level{level}_pt0"] = patches[0]
    iters = params["iters"]
    for chunk_number in (0, 1):
        if len(watch.tokens) > chunk_number * iters:
            found[f"token_in_chunk{chunk_number}_iter0"] = watch.tokens[chunk_number * iters][:2]
    found["delta_out_chunk0"] = torch.stack(watch.deltas[:iters])
    found["fnet_first_ch16"] = watch.features[0][0, :16]
    return found


def _chunks(frames: Tensor) -> list[Tensor]:
    """As a stream brings them: 16, then 8 a time, each later window with at least one frame it has not had."""
    later = [frames[begin + 8 : begin + 16] for begin in range(8, len(frames) - 8, 8)]
    return [frames[:16], *later]


def _by_frame(answer: Trajectories, suffix: str) -> dict[str, Tensor]:
    return {
        f"tracks{suffix}": answer.positions_px.transpose(0, 1),
        f"vis{suffix}": answer.visibility.T,
        f"conf{suffix}": answer.confidence.T,
    }


def _inside(network: CoTracker, iters: int, n_frames: int, watch: Watch) -> dict[str, Tensor]:
    positions, support, pyramid = watch.before[0][..., :2], watch.supports[0], watch.pyramids[0]
    first_two = [correlate(level, positions[:2] / 2**k, support[k][:2])[:, 0] for k, level in enumerate(pyramid)]
    said = embed(network.corr_mlp, pyramid, positions, support)[:, 0]
    windows = torch.stack(watch.after).unflatten(0, (-1, iters))  # (windows, iterations, N, T, 4)
    tracks = STRIDE * windows[..., :2].transpose(2, 3)
    for k, window in enumerate(tracks):
        window[:, max(n_frames - 8 * k, 0) :] = torch.nan  # a short window repeats its last frame: no answer there
    return {
        "tracks_per_iter": tracks,
        "token_in_iter0": watch.tokens[0][:3],
        "delta_out": torch.stack(watch.deltas),
        "head_in_iter0": watch.head_in[0][:2],
        "corr4d_frame0_iter0": torch.stack(first_two),
        "corr_emb_frame0_iter0": said.unflatten(-1, (len(pyramid), -1)).transpose(0, 1),
        "fnet_first_ch32": watch.features[0][0, :32],
    }
