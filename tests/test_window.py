"""The rolling window holds the last frames by number and forgets the rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specktrack.rt.window import RollingWindow, WindowEntry


def entry(seq: int) -> WindowEntry:
    return WindowEntry(seq, seq / 50, np.zeros((8, 8), np.uint8), None)


@given(count=st.integers(1, 60), capacity=st.integers(8, 20))
def test_it_holds_the_newest_frames_in_order(count: int, capacity: int) -> None:
    window = RollingWindow(capacity)
    for seq in range(count):
        window.push(entry(seq))
    held = [window.back(k).seq for k in range(len(window))]
    assert held == list(range(count - 1, max(count - capacity, 0) - 1, -1))


def test_a_frame_is_found_by_its_number_also_across_gaps() -> None:
    window = RollingWindow(8)
    for seq in (3, 4, 7, 9):
        window.push(entry(seq))
    assert [window.steps_to(seq) for seq in (9, 7, 4, 3)] == [0, 1, 2, 3]
    assert window.steps_to(5) is None
    assert window.steps_to(2) is None


def test_looking_beyond_the_window_is_an_error() -> None:
    window = RollingWindow(8)
    window.push(entry(0))
    with pytest.raises(IndexError, match="1 frames back, but the window holds 1"):
        window.back(1)
