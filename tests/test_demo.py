import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import pytest

from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError
from specktrack.rt.points import read_points
from specktrack.tools.demo import bundled, free_wiring, wants_batch
from specktrack.tools.processes import Processes


def test_the_bundled_contour_lies_on_the_bundled_clip() -> None:
    with as_file(files("specktrack.tools").joinpath("demo")) as folder:
        clip, contour = bundled(folder)
        opened = open_clip(clip)
        drawn = read_points(contour, opened.geometry, opened.frame_count)
    assert drawn.kind == "contour"
    assert sum(1 for _ in opened.frames()) == opened.frame_count


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the demo clip is missing"):
        bundled(tmp_path)


def test_nobody_is_asked_to_look_where_nobody_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert wants_batch()
    monkeypatch.delenv("CI")
    assert wants_batch()  # a test has no terminal


def test_four_different_ports_are_chosen() -> None:
    wiring = free_wiring()
    assert len({wiring.frames, wiring.results, wiring.control, wiring.tee}) == 4


def test_a_process_that_fails_is_quoted_and_all_others_end() -> None:
    with Processes() as processes:
        sleeper = processes.start("other", "asyncio")  # waits for input that never comes, or ends at once
        failing = processes.start("rt-serve", "specktrack.rt.cli", "--set", "nonsense")
        with pytest.raises(InputError, match=r"rt-serve ended: .*section\.key=value"):
            list(processes.lines(failing, 60.0))
        with pytest.raises(InputError, match="rt-serve ended"):
            processes.check(but=("other",))
    assert sleeper.poll() is not None


def test_the_demo_streams_draws_and_ends_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "specktrack.tools.demo", "--model", "block", "--showings", "3"]
    environment = os.environ | {"CI": "true"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    for words in ("GLS %", "latency  p50", "lost ", "Research use only"):
        assert words in result.stdout
    capture = cv2.VideoCapture(str(tmp_path / "demo" / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 50
    capture.release()
