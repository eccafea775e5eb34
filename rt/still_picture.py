"""What stands still in the picture while the heart moves, and the picture without a share of it.

Haze, reverberation and side lobes lie over the wall and do not move with it. A pattern that stays where it is pulls
every matcher, flow and network alike, towards no motion at all. Over a beat the moving tissue averages out and the
still pattern does not: it is what remains in the fine detail of the mean picture. Coarser detail is left alone, for
the cavity and the wall are there in any mean. Only a share is taken out, because tissue that hardly moves leaves its
own pattern in the mean as well (docs/accuracy.md has the figures).
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine import Engine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.windowed import WindowedEngine

FINE_UNITS = 3.0  # reach of the detail that counts (SD of a Gaussian), pixels of an image 256 across
MEMORY_FRAMES, MEMORY_S = 100, 1.8  # of the running mean: so many frames and so long at least, a beat or two
RENEWED_FRAMES = 16  # between two looks at the mean: the answers between them see the same still pattern
BLIND_S, SURE_S = 0.4, 1.2  # of a stream: so long nothing is taken out, and from then on the whole share
LONGEST_STEP_S = 0.1  # a pause teaches nothing
MOVING_SHARE = 0.2  # of the fine detail's variance: where less of the picture differs from its mean, no heart beats


def share_for(engine: Engine | WindowedEngine, config: MatchConfig) -> float:
    """The share for an engine: trackers of others and block matching see every image as it comes."""
    return 0.0 if isinstance(engine, WindowedEngine) or engine.fusion is None else config.still_share


def memory_frames(rate_hz: float) -> int:
    """How many frames the running mean is of: a fast scanner shows a beat in more of them."""
    return max(MEMORY_FRAMES, round(MEMORY_S * rate_hz))


def without_still_picture(
    images: Sequence[NDArray[np.uint8]], engine: Engine, config: MatchConfig
) -> list[NDArray[np.uint8]]:
    """The images (H, W) of a clip, each without what stands still in all of them."""
    still = StillPicture.of(images, share_for(engine, config))
    return [still.taken_out(image) for image in images]


class StillPicture:
    """Learns the still pattern of one stream from its images (H, W), at the engine's size."""

    def __init__(self, share: float) -> None:
        """share  of the still pattern that is taken out; 0 leaves every image as it is."""
        self._share = share
        self.reset()

    @staticmethod
    def of(images: Iterable[NDArray[np.uint8]], share: float, memory: int = MEMORY_FRAMES) -> "StillPicture":
        """Of a clip that is at hand: its mean is known before the first frame is followed.

        memory  frames, of `memory_frames`; a clip that is shorter is known as a whole, and nothing more is learned
                while it is followed
        """
        still = StillPicture(share)
        image = None
        for image in images:
            still._add(image, memory)
        if image is not None:
            still._seen_s = SURE_S
            still._renew(image)
            still._is_whole = still._n_seen < memory
        return still

    def reset(self) -> None:
        """Another picture begins."""
        self._mean: FloatArray | None = None
        self._pattern: FloatArray | None = None  # what is taken out now
        self._n_seen = 0
        self._seen_s = 0.0
        self._last_s: float | None = None
        self._is_whole = False

    def learn(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Look at an image as it came, after it was followed."""
        if self._share == 0.0 or self._is_whole:
            return
        if self._last_s is not None:
            self._seen_s += min(max(time_s - self._last_s, 0.0), LONGEST_STEP_S)
        self._last_s = time_s
        self._add(image, memory_frames(self._n_seen / self._seen_s if self._seen_s > 0.0 else 0.0))
        if self._n_seen % RENEWED_FRAMES == 0:
            self._renew(image)

    def taken_out(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image without the share of the still pattern that is known by now."""
        pattern = self._pattern  # read once: a frame that waits is prepared on another thread
        if pattern is None:
            return image
        return np.asarray(cv2.subtract(image, pattern, dtype=cv2.CV_8U), np.uint8)

    def _add(self, image: NDArray[np.uint8], memory: int) -> None:
        if self._mean is None:
            self._mean = np.zeros(image.shape, np.float32)
        self._n_seen += 1
        cv2.accumulateWeighted(image, self._mean, 1.0 / min(self._n_seen, memory))

    def _renew(self, image: NDArray[np.uint8]) -> None:
        """From the mean to the pattern; a beat must have passed, and something must move, for it to be believed."""
        share = self._share * min(max((self._seen_s - BLIND_S) / (SURE_S - BLIND_S), 0.0), 1.0)
        if self._mean is None or share == 0.0:
            return
        still, newest = self._fine(self._mean), self._fine(image.astype(np.float32))
        moving = float((newest - still).var() / max(newest.var(), 1e-6))
        self._pattern = np.asarray(share * min(moving / MOVING_SHARE, 1.0) * still, np.float32)

    def _fine(self, image: FloatArray) -> FloatArray:
        return np.asarray(image - cv2.GaussianBlur(image, (0, 0), FINE_UNITS * image.shape[1] / 256.0), np.float32)
