"""A finished beat followed once more, from its diastasis back to the end-diastole it began with, and on to the next.

In diastasis the heart rests and the picture is at its best, so templates are taken there. The features of all frames
are still in the window, and so is the dense flow between them, so only matching is paid for. One frame a call: a live
stream has no time for a beat at once.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine import Engine
from specktrack.rt.geometry import FloatArray
from specktrack.rt.tracker import PointTracker
from specktrack.rt.window import WindowEntry


class Retracking:
    """The points of one beat on their way through its frames a second time; coordinates are engine pixels."""

    def __init__(
        self, engine: Engine, config: MatchConfig, entries: Sequence[WindowEntry], rest: int, points: FloatArray
    ) -> None:
        """entries: the T frames of the beat, oldest first; points (N, 2) in frame `rest`, where both ways begin."""
        self._engine, self._config = engine, config
        self._entries = entries
        self._rest = rest
        self._tracks = np.full((len(entries), len(points), 3), np.nan, np.float32)
        self._tracks[rest] = np.column_stack([points, np.ones(len(points))])
        self._steps = self._follow()

    @property
    def tracks(self) -> FloatArray:
        """(T, N, 3) x, y, confidence; NaN, NaN, 0 where a point was lost, all NaN in frames not reached yet."""
        return self._tracks

    def advance(self) -> bool:
        """Follow the points into one more frame; False when there is none left."""
        return next(self._steps, None) is not None

    def _follow(self) -> Iterator[bool]:
        last = len(self._entries) - 1
        for way in (range(self._rest - 1, -1, -1), range(self._rest + 1, last + 1)):
            yield from self._follow_one_way(way)
        self._entries = ()

    def _follow_one_way(self, way: range) -> Iterator[bool]:
        begin = self._entries[self._rest]
        tracker = PointTracker(self._engine, self._config)
        tracker.start(begin.features, self._tracks[self._rest, :, :2], begin.image)
        for k in way:
            entry = self._entries[k]
            tracker.update(entry.features, entry.image, self._known_flow(k, way.step, tracker.points))
            self._tracks[k] = np.column_stack([tracker.steady, tracker.confidence])
            self._tracks[k, tracker.is_lost] = (np.nan, np.nan, 0.0)
            yield True

    def _known_flow(self, k: int, step: int, points: FloatArray) -> FloatArray | None:
        """How far points (N, 2) move into frame k, from the frame before or after, by the flow of the live frames."""
        flow = self._entries[k if step > 0 else k + 1].flow
        if flow is None:
            return None
        return flow.at(points) if step > 0 else flow.back_at(points)
