"""Clips from several folders: mixed by weight, kept within a budget, looked at before a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import save_clip
from specktrack.training.sources import ClipPool, Source


def folder_of(path: Path, n_clips: int) -> Source:
    path.mkdir()
    for seed in range(n_clips):
        save_clip(path / f"{path.name}-{seed}.npz", moving_dots(seed=seed))
    return Source(folder=str(path))


def shares(pool: ClipPool, n_draws: int = 4000) -> dict[str, float]:
    rng = np.random.default_rng(0)
    names = [pool[pool.draw(rng)].name for _ in range(n_draws)]
    return {name: names.count(name) / n_draws for name in sorted(set(names))}


def test_folders_are_mixed_by_weight_and_not_by_their_number_of_clips(tmp_path: Path) -> None:
    own, phantom = folder_of(tmp_path / "own", 1), folder_of(tmp_path / "phantom", 3)
    found = shares(ClipPool([Source(folder=own.folder, weight=3), phantom]))
    assert found["own-0"] == pytest.approx(0.75, abs=0.03)
    for seed in range(3):
        assert found[f"phantom-{seed}"] == pytest.approx(0.25 / 3, abs=0.02)


def test_plain_folders_count_the_same(tmp_path: Path) -> None:
    found = shares(ClipPool([folder_of(tmp_path / "a", 1), folder_of(tmp_path / "b", 2)]))
    assert found["a-0"] == pytest.approx(0.5, abs=0.03)


def test_a_clip_is_decoded_once_while_it_fits_in_memory(tmp_path: Path) -> None:
    pool = ClipPool([folder_of(tmp_path / "a", 2)])
    first = pool[0]
    assert pool[1] is not first
    assert pool[0] is first
    assert len(pool) == 2


def test_a_set_larger_than_the_budget_keeps_the_clips_used_last(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a", 4)
    clip = moving_dots()
    one_mb = (clip.frames.nbytes + clip.tracks.nbytes + clip.visible.nbytes) / 1e6
    pool = ClipPool([source], cache_mb=2.5 * one_mb)
    first, second = pool[0], pool[1]
    assert pool[0] is first  # now 1 is unused for longest
    third = pool[2]
    assert pool[0] is first
    assert pool[2] is third
    assert pool[1] is not second


def test_a_clip_larger_than_the_budget_is_still_given(tmp_path: Path) -> None:
    pool = ClipPool([folder_of(tmp_path / "a", 2)], cache_mb=1e-6)
    assert pool[0].name == "a-0"
    assert pool[1].name == "a-1"


def test_a_folder_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.npz clips found"):
        ClipPool([Source(folder=str(tmp_path))])


def test_every_clip_is_looked_at_before_a_run(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a", 3)
    ClipPool([source]).check(5, quiet=True)
    save_clip(tmp_path / "a" / "short.npz", replace(moving_dots(n_frames=4), ed_frames=()))
    with pytest.raises(InputError, match=r"short\.npz: 4 frames, but training needs 5"):
        ClipPool([source]).check(5, quiet=True)
