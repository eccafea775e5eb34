"""The phantom is as hard as real echo: classical trackers and the speckle itself are the yardsticks (docs/phantom.md).

Flows without any learning score on expert-annotated and published real clips, queried at end-diastole, as BANDS says.
A synthetic set on which they score better flatters every tracker. The suite looks at fifteen clips, whose mean is sure
to some 2.5 points (flows) and 3.5 points (block matching); `make bench` looks at a hundred.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from speckle_likeness import likeness_of_frames

from specktrack.rt.geometry import FloatArray
from specktrack.training.cases import Case
from specktrack.training.difficulty import YARDSTICKS, difficulty
from specktrack.training.metrics import Accuracy
from specktrack.training.phantom import PhantomClip, simulate_clip
from specktrack.training.random_phantom import random_spec, view_of

pytestmark = pytest.mark.timeout(900)  # the first test renders the clips of all

FIRST_SEED = 900_000  # as `simulate-echo --seed 900000 --view mixed --size 256`
SUITE_SEEDS = range(FIRST_SEED, FIRST_SEED + 30, 2)
BENCH_SEEDS = range(FIRST_SEED, FIRST_SEED + 100)
N_POINTS = 48
PER_SECOND = {
    "systole": (1.1, np.inf),
    "early filling": (-np.inf, -2.2),
    "diastasis": (-0.275, 0.275),
}  # of contraction

# Published ranges at 60 frames a second: diastasis 0.95-0.995, systole 0.85-0.97, early filling 0.6-0.9. Three in ten
# clips run at 25-40 frames a second, where more happens from one frame to the next: the lower ends are 0.05 lower.
# Clips at 60-75 do less: the upper end of early filling is 0.03 higher.
LIKENESS = {"diastasis": (0.90, 0.995), "systole": (0.80, 0.97), "early filling": (0.60, 0.93)}


@dataclass(frozen=True)
class Judged:
    """A set of clips, measured."""

    at_end_diastole: dict[str, Accuracy]  # by tracker, points set there
    in_diastasis: dict[str, Accuracy]
    likeness: dict[str, list[float]]  # of each heart, by phase


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def case_of(clip: PhantomClip, query_frame: int) -> Case:
    seen = clip.visible[:, query_frame]
    return Case("phantom", clip.frames, clip.tracks[seen], clip.visible[seen], query_frame)


def likeness_by_phase(clip: PhantomClip) -> dict[str, float]:
    """Frame to frame along the true tracks; phases by how fast contraction changes."""
    alike = likeness_of_frames(clip.frames, clip.tracks, clip.visible)
    speed = np.diff(clip.state) * clip.frame_rate_hz
    parts = {name: alike[(speed > low) & (speed < high)] for name, (low, high) in PER_SECOND.items()}
    return {name: float(part.mean()) for name, part in parts.items() if len(part)}


def judge(seeds: range) -> Judged:
    early, late, likeness = [], [], {name: [] for name in LIKENESS}
    for seed in seeds:
        view = view_of(seed)
        clip = simulate_clip(random_spec(seed, view, size_px=256), n_points=N_POINTS)
        early.append(case_of(clip, int(np.minimum(clip.phase, 1 - clip.phase).argmin())))
        late.append(case_of(clip, clip.query_frame))
        if view != "tissue":  # ranges are those of hearts
            for name, value in likeness_by_phase(clip).items():
                likeness[name].append(value)
    return Judged(*({row.tracker: row.accuracy for row in difficulty(cases)} for cases in (early, late)), likeness)


@pytest.fixture(scope="module")
def suite() -> Judged:
    torch.set_num_threads(1)
    return judge(SUITE_SEEDS)


@pytest.mark.parametrize(
    ("tracker", "average", "median_error_px"),
    [
        ("lucas-kanade", (0.62, 0.79), (1.8, 3.4)),
        ("dis", (0.68, 0.79), (1.7, 2.8)),
        ("block", (0.50, 0.72), (2.8, 6.5)),
    ],
)
def test_classical_trackers_find_the_phantom_about_as_hard_as_real_echo(
    tracker: str, average: tuple[float, float], median_error_px: tuple[float, float], suite: Judged
) -> None:
    found = suite.at_end_diastole[tracker]
    assert average[0] < found.average < average[1]
    assert median_error_px[0] < found.median_trajectory_error_px < median_error_px[1]


@pytest.mark.parametrize("tracker", YARDSTICKS)
def test_points_set_in_diastasis_are_easier_to_follow(tracker: str, suite: Judged) -> None:
    """The far end of the beat is nearer from there; so scores of the two queries must not be compared."""
    early, late = suite.at_end_diastole[tracker], suite.in_diastasis[tracker]
    assert late.average > early.average + 0.02
    assert late.median_trajectory_error_px < early.median_trajectory_error_px


def test_hearts_move_enough_that_standing_still_loses(suite: Judged) -> None:
    still = suite.at_end_diastole["no-motion"]
    assert still.median_trajectory_error_px > 3.0
    assert still.average < suite.at_end_diastole["dis"].average - 0.1


@pytest.mark.parametrize("phase", LIKENESS)
def test_speckle_keeps_its_likeness_from_frame_to_frame_as_in_hearts(phase: str, suite: Judged) -> None:
    low, high = LIKENESS[phase]
    assert low < float(np.mean(suite.likeness[phase])) < high


def test_speckle_lasts_longest_in_diastasis_and_shortest_in_early_filling(suite: Judged) -> None:
    diastasis, systole, filling = (float(np.mean(suite.likeness[name])) for name in LIKENESS)
    assert diastasis > systole + 0.02
    assert systole > filling


def test_a_heart_seen_at_a_higher_frame_rate_changes_less_from_frame_to_frame() -> None:
    spec = random_spec(FIRST_SEED + 4, "a3c", size_px=256)
    alike: list[FloatArray] = []
    for rate, n_frames in ((20.0, 6), (80.0, 21)):
        clip = simulate_clip(replace(spec, frame_rate_hz=rate), n_frames, N_POINTS)
        alike.append(likeness_of_frames(clip.frames, clip.tracks, clip.visible))
    assert float(alike[1].mean()) > float(alike[0].mean()) + 0.05


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_a_hundred_clips_are_as_hard_as_real_echo() -> None:
    """Bands of real clips, 256 px, points set at end-diastole; the mean of a hundred clips is sure to one point.

    lucas-kanade  average 65-73 %, MTE 2-3 px
    dis           average 72-75 %, MTE about 2 px
    block         average 53-67 %
    Allowed: one point beyond the band, for Lucas-Kanade the known deviation of three.
    """
    found = judge(BENCH_SEEDS)
    for name, row in found.at_end_diastole.items():
        later = found.in_diastasis[name]
        print(f"{name:13} end-diastole {100 * row.average:.1f} % {row.median_trajectory_error_px:.2f} px", end="   ")
        print(f"diastasis {100 * later.average:.1f} % {later.median_trajectory_error_px:.2f} px")
    for name, values in found.likeness.items():
        print(f"likeness in {name}: {np.mean(values):.3f}, a tenth of the hearts below {np.percentile(values, 10):.3f}")
    lucas_kanade, dis, block = (found.at_end_diastole[name] for name in ("lucas-kanade", "dis", "block"))
    assert 0.65 < lucas_kanade.average < 0.73 + 0.03
    assert 2.0 < lucas_kanade.median_trajectory_error_px < 3.0
    assert 0.72 - 0.01 < dis.average < 0.75 + 0.01
    assert dis.median_trajectory_error_px == pytest.approx(2.0, abs=0.3)
    assert 0.53 - 0.01 < block.average < 0.67 + 0.01
    for phase, (low, high) in LIKENESS.items():
        assert low < float(np.mean(found.likeness[phase])) < high, phase
