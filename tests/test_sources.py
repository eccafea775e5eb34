"""Clips from several folders: mixed by weight, kept within a budget, looked at before a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.errors import InputError
from specktrack.rt.still_picture import StillPicture
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


def test_what_stands_still_is_taken_out_of_the_clips_of_a_folder_that_asks_for_it(tmp_path: Path) -> None:
    clip = moving_dots()
    haze = np.random.default_rng(0).integers(0, 30, clip.frames.shape[1:])
    hazy = replace(clip, frames=np.clip(clip.frames.astype(int) // 2 + haze, 0, 255).astype(np.uint8))
    save_clip(tmp_path / "a.npz", hazy)
    as_it_is, cleaned = (ClipPool([Source(folder=str(tmp_path), still_share=share)])[0].frames for share in (0.0, 0.5))
    still = StillPicture.of(hazy.frames, 0.5)
    np.testing.assert_array_equal(as_it_is, hazy.frames)
    np.testing.assert_array_equal(cleaned, np.stack([still.taken_out(frame) for frame in hazy.frames]))
    assert cleaned.std() < as_it_is.std()
