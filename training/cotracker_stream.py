"""CoTracker3 online: a window of 16 frames that moves on by 8, over a stream or a whole clip.

The first answer comes after 16 frames, then every 8; each frame is revised once. A frame is encoded once: the features
of the last 8 frames, like the patches around the queries, are kept from window to window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from specktrack.rt.errors import InputError
from specktrack.training.cotracker import CoTracker, Trajectories, state_at_queries, trajectories
from specktrack.training.cotracker_correlation import Pyramid


@dataclass(frozen=True)
class Window:
    """What a stream says of its newest frames; those it spoke of before are revised."""

    first_frame: int
    state: Tensor  # (N, L, 4), see cotracker.py


class CoTrackerStream:
    """Follows queries (N, 3), each frame, x, y in pixels, through frames as they come.

    A query whose frame is yet to come has a row of the state all the same; until then it means nothing.
    """

    def __init__(self, network: CoTracker, queries: Tensor, iterations: int) -> None:
        self._network, self._queries, self._iterations = network, queries, iterations
        self._length, self._step = network.window_len, network.window_len // 2
        self._first_frame = 0  # of the window to come
        self._pyramid: Pyramid = []  # of the last window, from here on
        self._support: list[Tensor] = []
        self._last = queries.new_zeros(len(queries), 0, 4)

    @torch.no_grad()
    def update(self, frames: Tensor) -> Window:
        """Take in new frames (K, 3, H, W), RGB 0..255, in order: 16 at first, then 8 a time.

        Fewer are for the end of a clip: they still get their tracks, but the stream ends with them. Raises InputError.
        """
        n_frames = self._n_kept() + len(frames)
        self._check(frames)
        self._pyramid = self._window_of(self._network.encode(frames))
        self._remember_queries()
        state = self._initial_state()
        for _ in range(self._iterations):
            state = self._network(self._pyramid, self._support, state)
        self._last = state[:, :n_frames]
        self._first_frame += self._step
        return Window(self._first_frame - self._step, self._last)

    def _n_kept(self) -> int:
        return self._step if self._first_frame else 0

    def _check(self, frames: Tensor) -> None:
        if self._first_frame and self._last.shape[1] < self._length:
            raise InputError("frames: the stream ended with a short window; start another")
        most = self._length - self._n_kept()
        if not 0 < len(frames) <= most:
            raise InputError(f"frames: expected 1 to {most} new ones, found {len(frames)}; give them in smaller parts")

    def _window_of(self, new: Pyramid) -> Pyramid:
        """The features of a whole window: those kept, the new ones, then the last of them repeated."""
        kept = [level[self._step :] for level in self._pyramid] or [level[:0] for level in new]
        n_missing = self._length - self._n_kept() - len(new[0])
        ends = [level[-1:].expand(n_missing, -1, -1, -1) for level in new]
        return [torch.cat(parts) for parts in zip(kept, new, ends, strict=True)]

    def _remember_queries(self) -> None:
        """Keep the patches around the queries first seen in this window; those yet to come have zeros."""
        local = self._queries - self._queries.new_tensor([self._first_frame, 0, 0])
        is_new = (local[:, 0] >= self._n_kept()) & (local[:, 0] < self._length)
        found = self._network.read_support(self._pyramid, local[is_new])
        if not self._support:
            self._support = [patch.new_zeros(len(local), *patch.shape[1:]) for patch in found]
        for known, patch in zip(self._support, found, strict=True):
            known[is_new] = patch

    def _initial_state(self) -> Tensor:
        """Tracks begun earlier go on from where they were, the others from their queries."""
        start = state_at_queries(self._queries, self._length)
        begun = self._queries[:, 0] < self._first_frame + self._n_kept()
        known = self._last[begun, self._step :]
        if self._first_frame:
            start[begun] = torch.cat([known, known[:, -1:].expand(-1, self._step, -1)], 1)
        return start


@torch.no_grad()
def slide(network: CoTracker, frames: Tensor, queries: Tensor, iterations: int) -> Trajectories:
    """Follow queries (N, 3), each frame, x, y in pixels, through a whole clip (T, 3, H, W) as a stream would.

    As in the official code a clip of 8 frames or fewer has no window: positions 0, probabilities one half. The
    offline network has no such limit.
    """
    stream = CoTrackerStream(network, queries, iterations)
    step, length = network.window_len // 2, network.window_len
    state = queries.new_zeros(len(queries), len(frames), 4)
    for first in range(0, len(frames) - step, step):
        window = stream.update(frames[first + step if first else 0 : first + length])
        state[:, first : first + window.state.shape[1]] = window.state
    return trajectories(state)
