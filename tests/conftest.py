"""Fixtures that more than one test file uses."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from specktrack.rt.engine_choice import has_gpu

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
def gpu() -> None:
    """An NVIDIA GPU; without one a test is skipped, or fails where the machine is meant to have one."""
    if not has_gpu():
        reason = "no NVIDIA GPU here"
        if os.environ.get("SPECKTRACK_REQUIRE_GPU") == "1":
            pytest.fail(f"{reason}, but SPECKTRACK_REQUIRE_GPU=1")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Clips and reference tracks that are not part of the repository."""
    folder = Path(os.environ.get("SPECKTRACK_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared clips at {folder}; set SPECKTRACK_SHARED")
    return folder
