"""How hard a set of clips is, by the scores of trackers that never learned anything.

Real echo defeats them in a known way; a synthetic set must do the same before a network's score on it means much.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from specktrack.rt.config import MatchConfig
from specktrack.training.cases import Case
from specktrack.training.follow import open_follower
from specktrack.training.metrics import Accuracy, accuracy, mean_accuracy

YARDSTICKS = ("lucas-kanade", "dis", "block", "no-motion")


@dataclass(frozen=True)
class Difficulty:
    """Figures of one classical tracker over the clips."""

    tracker: str
    accuracy: Accuracy


def difficulty(cases: Iterable[Case], trackers: tuple[str, ...] = YARDSTICKS) -> list[Difficulty]:
    """Figures of the classical trackers over cases, one row each, in order; cases are taken one at a time."""
    followers = {name: open_follower(name, MatchConfig()) for name in trackers}
    parts: dict[str, list[Accuracy]] = {name: [] for name in trackers}
    for case in cases:
        for name, follower in followers.items():
            tracks = follower.follow(case, case.query_points).tracks
            found = accuracy(tracks, case.truth, case.visible, case.query_frame, case.size, case.mm_per_px)
            parts[name].append(found)
    for follower in followers.values():
        follower.close()
    return [Difficulty(name, mean_accuracy(found)) for name, found in parts.items()]
