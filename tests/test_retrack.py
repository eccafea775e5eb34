"""A beat followed a second time, from a frame in its middle in both directions."""

import numpy as np
import pytest
from streams import frame, grid, shifted, speckle

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine import Engine
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.manifest import find_model
from specktrack.rt.retrack import Retracking
from specktrack.rt.window import WindowEntry

PICTURE, REST, T = speckle(), 14, 20


def specknet() -> Engine:
    return OrtEngine(find_model("specknet-s"), threads=1)


def way(k: int) -> np.ndarray:
    return np.array([5 * np.sin(2 * np.pi * k / T), 3 * (1 - np.cos(2 * np.pi * k / T))], np.float32)


def beat(engine: Engine) -> list[WindowEntry]:
    """Frames of speckle that goes round in a circle once."""
    frames = [frame(shifted(PICTURE, *way(k)), k) for k in range(T)]
    return [WindowEntry(f.seq, f.time_s, f.pixels, engine.encode(f.pixels)) for f in frames]


@pytest.mark.parametrize("make_engine", [BlockEngine, specknet], ids=["block", "specknet-s"])
def test_points_are_found_before_and_after_the_frame_it_begins_in(make_engine: type[Engine]) -> None:
    engine = make_engine()
    again = Retracking(engine, MatchConfig(), beat(engine), REST, grid() + way(REST))
    steps = 0
    while again.advance():
        steps += 1
    assert steps == T - 1, "one frame a call, and the one it begins in for nothing"
    truth = np.stack([grid() + way(k) for k in range(T)])
    error = np.hypot(*np.moveaxis(again.tracks[..., :2] - truth, -1, 0))
    assert error.max() < 0.9
    assert error[REST].max() == 0.0


def test_frames_not_reached_yet_say_nothing() -> None:
    engine = BlockEngine()
    again = Retracking(engine, MatchConfig(), beat(engine), REST, grid() + way(REST))
    assert again.advance()
    known = np.isfinite(again.tracks[..., 0]).all(axis=1)
    assert np.flatnonzero(known).tolist() == [REST - 1, REST]


def test_a_beat_may_begin_or_end_where_it_rests() -> None:
    engine = BlockEngine()
    for rest in (0, T - 1):
        again = Retracking(engine, MatchConfig(), beat(engine), rest, grid() + way(rest))
        while again.advance():
            pass
        assert np.isfinite(again.tracks[..., 0]).all()
