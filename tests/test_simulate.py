"""`simulate-echo`: clips on disk, by seed, never twice."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from specktrack.training.clip_format import load_clip
from specktrack.training.phantom import simulate_clip, standard_spec
from specktrack.training.simulate import main, to_training_clip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def simulate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["simulate-echo", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


SMALL = ("--frames", "3", "--size", "64", "--points", "4")


def test_clips_are_written_readable_and_named_by_their_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(monkeypatch, "--out", str(tmp_path), "--n", "2", "--seed", "7", *SMALL) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a4c-000007.npz", "a4c-000008.npz"]
    clip = load_clip(tmp_path / "a4c-000007.npz")
    assert clip.frames.shape == (3, 64, 64)
    assert clip.tracks.shape == (4, 3, 2)
    assert clip.view == "a4c"


def test_a_second_run_adds_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", *SMALL)
    written = (tmp_path / "a4c-000000.npz").stat().st_mtime_ns
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "2", *SMALL)
    assert (tmp_path / "a4c-000000.npz").stat().st_mtime_ns == written
    assert (tmp_path / "a4c-000001.npz").exists()


def test_a_clip_depends_on_its_own_seed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, "--out", str(tmp_path / "a"), "--n", "2", "--seed", "4", *SMALL)
    simulate(monkeypatch, "--out", str(tmp_path / "b"), "--n", "1", "--seed", "5", *SMALL)
    first, second = (load_clip(tmp_path / folder / "a4c-000005.npz") for folder in "ab")
    assert np.array_equal(first.frames, second.frames)


def test_an_unknown_view_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", "--view", "plax") == 2
    said = capsys.readouterr().err
    assert "plax" in said
    assert "a4c" in said
    assert said.count("\n") == 1


def test_an_output_folder_that_is_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert simulate(monkeypatch, "--out", str(tmp_path / "taken"), "--n", "1") == 2
    assert "taken" in capsys.readouterr().err


def test_end_systole_is_the_most_contracted_frame_of_each_beat() -> None:
    phantom = simulate_clip(standard_spec(rate_bpm=120, size_px=64), n_frames=60, n_points=2)
    clip = to_training_clip("beats", phantom)
    assert clip.ed_frames == (0, 28, 55)  # 0, 0.5 and 1.0 s at 55 frames per second
    assert len(clip.es_frames) == 2
    for frame in clip.es_frames:
        assert phantom.state[frame] > 0.98


def test_a_beat_cut_off_in_systole_has_no_end_systole() -> None:
    phantom = simulate_clip(standard_spec(rate_bpm=60, size_px=64), n_frames=12, n_points=2)
    assert to_training_clip("cut", phantom).es_frames == ()
    rising = replace(phantom, state=np.linspace(0, 0.6, 12, dtype=np.float32))
    assert to_training_clip("cut", rising).es_frames == ()
