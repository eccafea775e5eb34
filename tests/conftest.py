"""Fixtures that more than one test file uses."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # first calls compile; machines are shared
settings.load_profile("house")

sys.path.insert(0, str(Path(__file__).parent))  # helper modules beside the tests; the repository root stays off


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What engines find out about the machine is neither taken from the user nor left with them."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECKTRACK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Clips and reference tracks that are not part of the repository."""
    folder = Path(os.environ.get("SPECKTRACK_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared clips at {folder}; set SPECKTRACK_SHARED")
    return folder
