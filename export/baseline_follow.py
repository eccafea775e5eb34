"""How a host drives an exported tracker, window after window, and what the network itself says of the same clip.

The first function of each pair is the reference for hosts: nothing but numpy around the file. Clips are (T, H, W)
float32 0..255 of the file's size, queries (N, 3) each frame, x, y in pixels; answers are tracks (N, T, 2).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from specktrack.rt.geometry import FloatArray
from specktrack.training.cotracker import STRIDE, track_offline
from specktrack.training.cotracker_correlation import LEVELS, PATCH
from specktrack.training.cotracker_stream import CoTrackerStream
from specktrack.training.pips import CHANNELS, chain, windows_of

Runner = Callable[[Mapping[str, FloatArray]], dict[str, FloatArray]]  # inputs by name to outputs by name
N_TEMPLATES = 3


def file_echotracker(run: Runner, clip: FloatArray, queries: FloatArray) -> FloatArray:
    """One window; queries of frame 0."""
    return run({"video": clip, "points": queries[:, 1:]})["tracks"]


def file_ptecho(run: Runner, clip: FloatArray, queries: FloatArray) -> FloatArray:
    """One window; queries of one frame."""
    return run({"video": clip, "queries": queries})["tracks"]


def net_echotracker(network: Any, clip: FloatArray, queries: FloatArray, iterations: int) -> FloatArray:
    """Both variants."""
    features = network.encode(torch.from_numpy(clip)[:, None])
    answer = network(features, torch.from_numpy(queries[:, 1:]), iterations, query=int(queries[0, 0]))
    return np.asarray(answer[-1])


def file_pips(run: Runner, clip: FloatArray, queries: FloatArray, window: int) -> FloatArray:
    """Windows that share a frame; each is told where the last one ended and what its points looked like."""
    n, n_frames = len(queries), len(clip)
    tracks = np.repeat(queries[:, None, 1:], n_frames, 1)
    templates = np.zeros((n, window, N_TEMPLATES, CHANNELS), np.float32)
    for k, (begin, end) in enumerate(windows_of(n_frames, window)):
        told = {
            "trajectories": tracks[:, begin:end],
            "handed_over": templates,
            "is_first": np.array([k == 0], np.float32),
        }
        answer = run({"video": clip[begin:end], **told})
        templates = answer["hand_over"]
        tracks[:, begin:end] = answer["tracks"]
        tracks[:, end:] = tracks[:, end - 1 : end]
    return tracks


def net_pips(network: Any, clip: FloatArray, queries: FloatArray, iterations: int, window: int) -> FloatArray:
    """The same chain."""
    pyramid = network.encode(_colour(clip))
    return chain(network, pyramid, torch.from_numpy(queries[:, 1:]), window, iterations).numpy()


def file_cotracker(run: Runner, clip: FloatArray, queries: FloatArray) -> FloatArray:
    """One window; queries of any of its frames."""
    return run({"video": clip, "queries": queries})["tracks"]


def net_cotracker(network: Any, clip: FloatArray, queries: FloatArray, iterations: int) -> FloatArray:
    """Offline."""
    return track_offline(network, _colour(clip), torch.from_numpy(queries), iterations).positions_px.numpy()


def file_cotracker_online(run: Runner, clip: FloatArray, queries: FloatArray, window: int) -> FloatArray:
    """Windows that overlap by half; state and support of a window go to the next."""
    n, step = len(queries), window // 2
    tracks = np.zeros((n, len(clip), 2), np.float32)
    told = {
        "last_state": np.zeros((n, window, 4), np.float32),
        "known_support": np.zeros((n, LEVELS, PATCH, 128), np.float32),
    }
    for begin in range(0, len(clip) - step, step):
        local = queries - np.array([begin, 0, 0], np.float32)
        n_known = np.array([step if begin else 0], np.float32)
        answer = run({"video": clip[begin : begin + window], "queries": local, "n_known": n_known, **told})
        told = {"last_state": answer["state"], "known_support": answer["support"]}
        tracks[:, begin : begin + window] = answer["tracks"]
    return tracks


def net_cotracker_online(network: Any, clip: FloatArray, queries: FloatArray, iterations: int) -> FloatArray:
    """The stream over the clip."""
    step = network.window_len // 2
    stream = CoTrackerStream(network, torch.from_numpy(queries), iterations)
    tracks = np.zeros((len(queries), len(clip), 2), np.float32)
    for begin in range(0, len(clip) - step, step):
        found = stream.update(_colour(clip[begin + step if begin else 0 : begin + 2 * step])).state
        tracks[:, begin : begin + found.shape[1]] = (STRIDE * found[..., :2]).numpy()
    return tracks


def _colour(clip: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip))[:, None].expand(-1, 3, -1, -1)
