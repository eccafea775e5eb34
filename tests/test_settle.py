"""Finished beats are followed once more in the time that the stream leaves, and are never held back for want of it."""

import numpy as np
from streams import SIDE, grid
from test_retrack import REST, T, beat, way

from specktrack.rt.beat import RecordedBeat
from specktrack.rt.config import SessionConfig
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.geometry import Geometry, ImageScale
from specktrack.rt.settle import BeatSettler
from specktrack.rt.update import BeatEvents, Group

GROUPS = (Group("points", "points", 0, len(grid())),)
PLENTY_S = 10.0


def settler_with(*numbers: int) -> BeatSettler:
    """Beats of these numbers are over."""
    engine = BlockEngine()
    settler = BeatSettler(SessionConfig(), engine)
    points = np.stack([np.column_stack([grid() + way(k), np.ones(len(grid()))]) for k in range(T)]).astype(np.float32)
    seq = np.arange(T)
    for number in numbers:
        events = BeatEvents(number, 0.0, 0.14, 0.38, 0.28, 60.0)
        recorded = RecordedBeat(events, seq, seq * 20_000_000, points, 7, REST)
        scale = ImageScale((SIDE, SIDE), (SIDE, SIDE))
        settler.begin(recorded, beat(engine), GROUPS, Geometry(SIDE, SIDE), scale)
    return settler


def test_with_time_to_spare_a_beat_is_followed_again() -> None:
    settler, settled = settler_with(0), ()
    for _ in range(T):
        settled += settler.advance(PLENTY_S)
    assert [(each.beat, each.is_retracked) for each in settled] == [(0, True)]


def test_without_time_to_spare_nothing_is_done_while_one_beat_waits() -> None:
    settler = settler_with(0)
    assert all(settler.advance(0.0) == () for _ in range(5 * T))
    (settled,) = settler.finish()
    assert settled.is_retracked, "at the end of the stream there is time"


def test_a_beat_does_not_wait_longer_than_until_the_next_is_over() -> None:
    settler = settler_with(0, 1)
    (settled,) = settler.advance(0.0)
    assert (settled.beat, settled.is_retracked) == (0, False)
    assert settler.advance(0.0) == ()


def test_a_recorded_clip_takes_the_time_it_needs() -> None:
    settler, settled = settler_with(0, 1), ()
    for _ in range(2 * T):
        settled += settler.advance()
    assert [(each.beat, each.is_retracked) for each in settled] == [(0, True), (1, True)]
