"""When to re-anchor: once a beat, at rest, never without a rhythm."""

import math

import pytest

from specktrack.rt.anchor import AnchorPolicy
from specktrack.rt.config import AnchorConfig
from specktrack.rt.update import PhaseEstimate, PhaseLabel

FRAMES = 48  # of a beat
QUIETEST = 36


def label_at(frame: int, fast: bool) -> PhaseLabel:
    if frame < 19:
        return "systole"
    if frame < 32 or (fast and frame < 38):
        return "early_filling"
    return "diastasis" if frame < 41 and not fast else "atrial"


def speed_at(frame: int) -> float:
    """px/s: fast in systole and filling, least in frame 36, nearly as quiet at end-systole."""
    rest = 5.0 + 2.0 * abs(frame - QUIETEST)
    return min(60.0 + 30.0 * math.sin(0.3 * frame), rest, 10.0 + 12.0 * abs(frame - 19))


def run(
    policy: AnchorPolicy, beats: int = 4, fast: bool = False, locked: bool = True, calm: bool = True
) -> list[tuple[int, int]]:
    """(frame of the decision, frame chosen), counted over all beats."""
    chosen = []
    for i in range(beats * FRAMES):
        beat, frame = divmod(i, FRAMES)
        phase = PhaseEstimate(frame / FRAMES, label_at(frame, fast), beat, 70.0, "image", locked)
        seq = policy.update(i / 55.0, 1000 + i, phase, speed_at(frame) if calm else 40.0 + frame % 3)
        if seq is not None:
            chosen.append((i, seq - 1000))
    return chosen


def test_every_beat_anchors_once_on_its_quietest_frame_of_diastasis() -> None:
    chosen = run(AnchorPolicy(AnchorConfig()))
    assert [frame for _, frame in chosen] == [QUIETEST + k * FRAMES for k in range(4)]


def test_the_choice_falls_as_soon_as_diastasis_has_passed() -> None:
    assert [when % FRAMES for when, _ in run(AnchorPolicy(AnchorConfig()))] == [41] * 4


def test_a_fast_heart_anchors_on_its_quietest_remaining_moment_after_the_beat() -> None:
    chosen = run(AnchorPolicy(AnchorConfig()), fast=True)
    assert [when % FRAMES for when, _ in chosen] == [0, 0, 0]
    assert [frame % FRAMES for _, frame in chosen] == [QUIETEST] * 3


def test_a_heart_that_never_rests_keeps_its_old_anchor() -> None:
    assert run(AnchorPolicy(AnchorConfig()), calm=False) == []


def test_without_a_locked_phase_nothing_is_anchored() -> None:
    assert run(AnchorPolicy(AnchorConfig()), locked=False) == []
    assert AnchorPolicy(AnchorConfig()).update(0.0, 1, None, 3.0) is None


def test_switched_off_it_never_anchors() -> None:
    assert run(AnchorPolicy(AnchorConfig(enabled=False))) == []


def test_frames_of_unknown_motion_are_no_candidates() -> None:
    policy = AnchorPolicy(AnchorConfig())
    for i in range(FRAMES):
        phase = PhaseEstimate(i / FRAMES, label_at(i, False), 0, 70.0, "image", True)
        assert policy.update(i / 55.0, i, phase, None) is None


@pytest.mark.parametrize("stop", [20, 40, 47])
def test_after_a_reset_the_broken_beat_is_forgotten(stop: int) -> None:
    policy = AnchorPolicy(AnchorConfig())
    for i in range(stop):
        phase = PhaseEstimate(i / FRAMES, label_at(i, False), 0, 70.0, "image", True)
        policy.update(i / 55.0, i, phase, speed_at(i))
    policy.reset()
    later = PhaseEstimate(0.95, "atrial", 0, 70.0, "image", True)
    assert policy.update(1.0, 999, later, 5.0) is None
