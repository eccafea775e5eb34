"""The next frame's features while the last one is still being followed: an engine that begins before it is asked.

When a picture has been encoded the engine looks whether another frame waits already, and begins to encode it on a
thread of its own. Nothing is promised: a frame that a newer one pushed out of the queue meanwhile was encoded in
vain, and the next picture is encoded when it is asked for. Worth it only where matching runs on the host beside an
encoder that lets go of the interpreter, and where there is a core for each.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.engine import EncodesParts, Engine, Features
from specktrack.rt.feature_matcher import FeatureMatcher
from specktrack.rt.frame import Frame
from specktrack.rt.region import Region, whole
from specktrack.rt.windowed import WindowedEngine

Image = NDArray[np.uint8]


def encode_ahead(
    engine: Engine | WindowedEngine, next_frame: Callable[[], Frame | None], prepared: Callable[[Frame], Image]
) -> "Engine | WindowedEngine | EncodeAhead":
    """The engine with its encoder one frame ahead, where that is of use; else the engine itself."""
    if isinstance(engine, FeatureMatcher) and len(os.sched_getaffinity(0)) > 1:
        return EncodeAhead(engine, next_frame, prepared)
    return engine


class EncodeAhead:
    """An engine that matches on the host, with its encoder one frame ahead."""

    def __init__(
        self, engine: Engine, next_frame: Callable[[], Frame | None], prepared: Callable[[Frame], Image]
    ) -> None:
        """Begin with the frame that will most likely be asked for next.

        next_frame  that frame, None when none waits
        prepared    its image, as the session will ask for it
        """
        self.name, self.model, self.input_size = engine.name, engine.model, engine.input_size
        self.fusion, self.confidence_curve = engine.fusion, engine.confidence_curve
        self.n_ahead = 0  # pictures whose features were begun before they were asked for
        self.precision = engine.precision
        self.templates, self.evidence = engine.templates, engine.evidence
        self._engine = engine
        self._next_frame, self._prepared = next_frame, prepared
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._begun: Future[tuple[Image, Features]] | None = None
        self._begun_part = whole(engine.input_size)

    def encode(self, image: Image) -> Features:
        """See Engine.encode."""
        return self.encode_part(image, whole(self.input_size))

    def encode_part(self, image: Image, part: Region) -> Features:
        """See engine.EncodesParts; the frame that waits is encoded in the same part."""
        features = self._taken(image, part)
        if features is None:
            features = self._encoded(image, part)
        waiting = self._next_frame()
        if waiting is not None:
            self._begun_part = part
            self._begun = self._worker.submit(self._encode_frame, waiting, part)
        return features

    def close(self) -> None:
        """End the thread; whoever opened the engine closes it."""
        self._worker.shutdown()

    def _taken(self, image: Image, part: Region) -> Features | None:
        """What was begun, if it is of this picture and holds the part."""
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        seen, features = begun.result()
        if not (self._begun_part.covers(part) and np.array_equal(seen, image)):
            return None
        self.n_ahead += 1
        return features

    def _encode_frame(self, frame: Frame, part: Region) -> tuple[Image, Features]:
        image = self._prepared(frame)
        return image, self._encoded(image, part)

    def _encoded(self, image: Image, part: Region) -> Features:
        if part != whole(self.input_size) and isinstance(self._engine, EncodesParts):
            return self._engine.encode_part(image, part)
        return self._engine.encode(image)
