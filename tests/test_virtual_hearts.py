"""Hearts whose strain can be judged: the whole wall in the picture, and to be seen."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from specktrack.training.strain_config import HeartsConfig
from specktrack.training.virtual_hearts import contrast, film, heart_of, hearts, is_in_sector

SMALL = HeartsConfig(seconds=1.5, size_px=96, least_contrast=0.5)


def test_only_hearts_whose_wall_stays_in_the_sector_are_assessable() -> None:
    seed, spec = next(hearts(SMALL))
    assert is_in_sector(spec, SMALL.seconds)
    narrow = replace(spec, imaging=replace(spec.imaging, sector_deg=15.0))
    assert not is_in_sector(narrow, SMALL.seconds)
    assert seed >= SMALL.seed


def test_the_same_settings_give_the_same_hearts() -> None:
    assert list(islice(hearts(SMALL), 1)) == list(islice(hearts(SMALL), 1))


def test_haze_takes_the_contrast() -> None:
    spec = heart_of(SMALL.seed, SMALL)
    clear = replace(spec, imaging=replace(spec.imaging, haze_db=-40.0))
    hazy = replace(spec, imaging=replace(spec.imaging, haze_db=25.0))
    assert contrast(clear) > 2 * max(contrast(hazy), 0.0)


def test_regular_hearts_have_equal_beats() -> None:
    spec = heart_of(SMALL.seed, SMALL.model_copy(update={"regular": True}))
    lengths = np.diff(spec.heart.rhythm.ed_s)
    assert lengths == pytest.approx(lengths[0])
    assert 50.0 <= 60.0 / lengths[0] <= 100.0


def test_a_film_is_rendered_once(tmp_path: Path) -> None:
    spec = heart_of(SMALL.seed, SMALL)
    first = film(SMALL.seed, spec, 0.1, tmp_path)
    assert first.contour.shape == (61, len(first.frames), 2)
    (path,) = tmp_path.glob("*.npz")
    written = path.stat().st_mtime_ns
    second = film(SMALL.seed, spec, 0.1, tmp_path)
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.ed_s, second.ed_s)
    assert second.name == first.name


def test_half_a_file_is_rendered_anew(tmp_path: Path) -> None:
    spec = heart_of(SMALL.seed, SMALL)
    film(SMALL.seed, spec, 0.1, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert len(film(SMALL.seed, spec, 0.1, tmp_path).frames) > 0
