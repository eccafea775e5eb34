"""Writing MP4 files."""

from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError


class VideoOut:
    """An MP4 file that grows frame by frame; used as a context manager, checked when it is closed."""

    def __init__(self, path: Path, size: tuple[int, int], frame_rate_hz: float) -> None:
        """Open for frames of `size` (width, height); raises InputError when the file cannot be written."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frame_rate_hz, size)
        if not self._writer.isOpened():
            raise InputError(f"{path}: cannot be written; choose a writable folder and a name ending in .mp4")

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add one frame (H, W, 3) BGR."""
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file; raises InputError when nothing reached it."""
        self._writer.release()
        if not self._path.exists() or self._path.stat().st_size == 0:
            raise InputError(f"{self._path}: nothing was written; check that the disk is not full")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.release()
