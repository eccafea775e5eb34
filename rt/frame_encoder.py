"""Features of the frames of one stream: around the points, where the engine can do with less than the whole image."""

from numpy import uint8
from numpy.typing import NDArray

from specktrack.rt.engine import EncodesParts, Engine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.region import Surroundings
from specktrack.rt.window import WindowEntry
from specktrack.rt.windowed import WindowedEngine


class FrameEncoder:
    """Encodes what is needed of every frame, and the rest of an earlier one when that is asked for."""

    def __init__(self, engine: Engine | WindowedEngine) -> None:
        self._engine = engine
        self._surroundings = Surroundings(engine.input_size)

    def reset(self) -> None:
        """The points are others now."""
        self._surroundings.reset()

    def encode(self, seq: int, time_s: float, image: NDArray[uint8], points: FloatArray) -> WindowEntry:
        """The entry of a new frame; points (N, 2) where they were in the one before, engine pixels, N may be 0."""
        if not (len(points) and isinstance(self._engine, EncodesParts)):
            return WindowEntry(seq, time_s, image, self._engine.encode(image))
        part = self._surroundings.around(points)
        return WindowEntry(seq, time_s, image, self._engine.encode_part(image, part), part)

    def complete(self, entry: WindowEntry) -> None:
        """Points are new: features of a part of the image, around others, do not serve them."""
        if entry.part is not None:
            entry.features, entry.part = self._engine.encode(entry.image), None
