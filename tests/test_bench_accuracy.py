"""Slow: trackers side by side on the real clip, through the rt-track command. Figures go to docs/accuracy.md."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from specktrack.training.cases import Case, EvalConfig, Reference, load_cases
from specktrack.training.follow import track_classical
from specktrack.training.metrics import Accuracy, accuracy

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def case(shared_folder: Path) -> Case:
    clips = shared_folder / "clips"
    reference = Reference(clip=str(clips / "a4c.mp4"), tracks=str(clips / "a4c_reference.npz"))
    return load_cases(EvalConfig(references=(reference,)))[0]


def by_command(model: str, case: Case, clips: Path, out: Path) -> Accuracy:
    """rt-track as a user runs it."""
    command = [str(Path(sys.executable).with_name("rt-track")), str(clips / "a4c.mp4")]
    options = ["--points", str(clips / "a4c_points.json"), "--out", str(out), "--no-reanchor", "--no-overlay"]
    subprocess.run([*command, *options, "--model", model], check=True, capture_output=True, timeout=280)
    with np.load(out / "tracks.npz") as result:
        return score(result["tracks"], case)


def score(tracks: np.ndarray, case: Case) -> Accuracy:
    return accuracy(tracks, case.truth, case.visible, case.query_frame, case.frames.shape[1:])


def test_specknet_s_beats_every_classical_tracker_on_the_real_clip(
    case: Case, shared_folder: Path, tmp_path: Path
) -> None:
    rows = {m: by_command(m, case, shared_folder / "clips", tmp_path / m) for m in ("specknet-s", "block")}
    rows |= {name: score(track_classical(name, case), case) for name in ("dis", "lucas-kanade", "no-motion")}
    for name, row in rows.items():
        print(f"{name:14s} average {100 * row.average:5.1f} %  MTE {row.median_trajectory_error_px:.2f} px")
    ours = rows.pop("specknet-s")
    assert all(ours.average > row.average for row in rows.values())
    assert all(ours.median_trajectory_error_px < row.median_trajectory_error_px for row in rows.values())
