"""Is the stream to be trusted? One named state per stream, worse at once, better only after a while.

waiting   no frame yet, or frames but no points: there is nothing to follow
live      frames are fresh and the points are followed
degraded  frames are missing, some points are lost, or the stream has just come back
stalled   no frame for a while: what was said last is no longer true
frozen    the operator froze the image, or the same image comes again and again
lost      most points are lost, or no frame came for a long while
"""

import numpy as np

from specktrack.rt.config import HealthConfig
from specktrack.rt.frame import Frame
from specktrack.rt.headers import State

RECOVER_S = 0.5  # trouble must be over this long before the state is live again
IDENTICAL_S = 0.3  # the same image for longer is a freeze; repeated single frames are not
MISSED_MEMORY_FRAMES = 50.0
MISSED_SHARE = (0.05, 0.02)  # degraded above the first, until below the second
SOME_LOST_SHARE = (0.20, 0.10)
MOST_LOST_SHARE = (0.50, 0.40)


class _Latch:
    """True above one level until below a lower one."""

    def __init__(self, levels: tuple[float, float]) -> None:
        self._on_above, self._off_below = levels
        self.is_on = False

    def update(self, value: float) -> bool:
        self.is_on = value > (self._off_below if self.is_on else self._on_above)
        return self.is_on


class Health:
    """The state of one stream; all times are seconds of one monotonic clock given by the caller."""

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self.state: State = "waiting"
        self.why = "no frame yet"
        self.reset()

    @property
    def is_silent(self) -> bool:
        """No frame has come lately."""
        return self._is_silent

    def reset(self) -> None:
        """Back to a stream that has not sent a frame."""
        self._last_frame_s: float | None = None
        self._is_silent = True
        self._trouble_s = -np.inf  # when trouble was last seen
        self._identical_since_s: float | None = None
        self._missed_share = 0.0
        self._n_missed = 0
        self._missed = _Latch(MISSED_SHARE)
        self._some_lost = _Latch(SOME_LOST_SHARE)
        self._most_lost = _Latch(MOST_LOST_SHARE)
        self._enter("waiting", "no frame yet")

    def update(
        self, time_s: float, *, is_frozen: bool, is_identical: bool, n_points: int, n_lost: int, n_missed: int
    ) -> State:
        """Judge the stream at a frame.

        is_frozen     the operator's freeze flag
        is_identical  the image equals the one before
        n_lost        points of n_points that have confidence 0
        n_missed      frames of this stream lost so far, dropped and gaps together
        """
        self._last_frame_s = time_s
        self._is_silent = False
        self._follow_missed(n_missed)
        is_still = self._is_still(time_s, is_identical)
        lost_share = n_lost / n_points if n_points else 0.0
        is_most_lost, is_some_lost = self._most_lost.update(lost_share), self._some_lost.update(lost_share)
        if is_frozen or is_still:
            self._trouble(
                time_s, "frozen", "the image is frozen" if is_frozen else "the same image comes again and again"
            )
        elif is_most_lost:
            self._trouble(time_s, "lost", f"{n_lost} of {n_points} points are lost; set them again")
        elif self._missed.is_on:
            self._trouble(time_s, "degraded", f"{100 * self._missed_share:.0f} % of the frames are missing")
        elif is_some_lost:
            self._trouble(time_s, "degraded", f"{n_lost} of {n_points} points are lost")
        elif n_points == 0:
            self._enter("waiting", "no points are set")
        elif time_s - self._trouble_s < RECOVER_S:
            self._enter("degraded", "coming back")
        else:
            self._enter("live", "")
        return self.state

    def tick(self, time_s: float) -> State:
        """Judge the silence since the last frame; call it at least every 100 ms."""
        if self._last_frame_s is None:
            return self.state
        silence_s = time_s - self._last_frame_s
        self._is_silent = silence_s * 1000.0 > self._config.stalled_after_ms
        if silence_s > self._config.lost_after_s:
            self._trouble(time_s, "lost", f"no frame for more than {self._config.lost_after_s:g} s")
        elif self._is_silent:
            self._trouble(time_s, "stalled", f"no frame for more than {self._config.stalled_after_ms:g} ms")
        return self.state

    def _is_still(self, time_s: float, is_identical: bool) -> bool:
        if not is_identical:
            self._identical_since_s = None
            return False
        if self._identical_since_s is None:
            self._identical_since_s = time_s
        return time_s - self._identical_since_s >= IDENTICAL_S

    def _follow_missed(self, n_missed: int) -> None:
        """An exponential memory of the share of frames that never came through."""
        new = max(0, n_missed - self._n_missed)
        self._n_missed = n_missed
        keep = float(np.exp(-min(new + 1, 1e3) / MISSED_MEMORY_FRAMES))
        self._missed_share = keep * self._missed_share + (1.0 - keep) * new / (new + 1)
        self._missed.update(self._missed_share)

    def _trouble(self, time_s: float, state: State, why: str) -> None:
        self._trouble_s = time_s
        self._enter(state, why)

    def _enter(self, state: State, why: str) -> None:
        self.state = state
        self.why = why


def is_same_image(frame: Frame, other: Frame) -> bool:
    """True when two frames show the same picture, judged on a grid of pixels: live speckle differs everywhere."""
    if frame.pixels.shape != other.pixels.shape or frame.pixels.dtype != other.pixels.dtype:
        return False
    step = max(1, min(frame.pixels.shape[:2]) // 128)
    return bool(np.array_equal(frame.pixels[::step, ::step], other.pixels[::step, ::step]))
