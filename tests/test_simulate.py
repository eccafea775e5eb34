"""`simulate-echo`: clips on disk, by seed, never twice."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from specktrack.training.clip_format import load_clip
from specktrack.training.phantom import simulate_clip, standard_spec
from specktrack.training.random_phantom import view_of
from specktrack.training.simulate import main, to_training_clip
from specktrack.training.views import VIEWS


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


def test_what_a_stopped_run_left_half_done_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a4c-000000.partial").write_bytes(b"half a clip")
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", *SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["a4c-000000.npz"]
    assert load_clip(tmp_path / "a4c-000000.npz").frames.shape == (3, 64, 64)


def test_a_clip_depends_on_its_own_seed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, "--out", str(tmp_path / "a"), "--n", "2", "--seed", "4", *SMALL)
    simulate(monkeypatch, "--out", str(tmp_path / "b"), "--n", "1", "--seed", "5", *SMALL)
    first, second = (load_clip(tmp_path / folder / "a4c-000005.npz") for folder in "ab")
    assert np.array_equal(first.frames, second.frames)


def test_a_mixed_set_names_each_clip_by_its_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "6", "--view", "mixed", *SMALL)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(f"{view_of(seed)}-{seed:06d}.npz" for seed in range(6))
    assert len({name.split("-")[0] for name in names}) > 1


def test_a_mixed_set_is_resumed_view_by_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--out", str(tmp_path), "--n", "4", "--view", "mixed", *SMALL)
    simulate(monkeypatch, *options)
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    lost = min(written)
    (tmp_path / lost).unlink()
    simulate(monkeypatch, *options)
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(again) == set(written)
    assert {name for name in again if again[name] != written[name]} == {lost}


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_made(view: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", "--view", view, *SMALL) == 0
    assert load_clip(tmp_path / f"{view}-000000.npz").view == view


def test_healthy_hearts_are_ordinary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", "--healthy", *SMALL)
    expected = simulate_clip(standard_spec(seed=0, size_px=64), 3, 4)
    assert np.array_equal(load_clip(tmp_path / "a4c-000000.npz").frames, expected.frames)


def test_a_clip_keeps_all_its_truth_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whole beat when the number of frames is left out."""
    simulate(monkeypatch, "--out", str(tmp_path), "--n", "1", "--size", "64", "--points", "6", "--healthy")
    made = to_training_clip("a4c-000000", simulate_clip(standard_spec(seed=0, size_px=64), n_points=6), "a4c")
    kept = load_clip(tmp_path / "a4c-000000.npz")
    assert len(kept.frames) == 48  # 0.86 s at 55 frames a second
    for name in ("tracks", "visible", "wall_depth", "contour", "phase"):
        assert np.array_equal(getattr(kept, name), getattr(made, name), equal_nan=name == "wall_depth"), name
    for name in ("ed_frames", "es_frames", "query_frame", "frame_rate_hz", "mm_per_px"):
        assert getattr(kept, name) == pytest.approx(getattr(made, name)), name


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--view", "plax"), ("--view plax", "a4c", "tissue", "mixed")), (("--device", "cuda"), ("--device cuda", "CPU"))],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(
    options: tuple[str, ...],
    named: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert simulate(monkeypatch, "--out", str(tmp_path / "out"), "--n", "1", *options) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in named)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert simulate(monkeypatch, "--out", str(tmp_path / "taken"), "--n", "1") == 2
    assert "taken" in capsys.readouterr().err
