"""Trackers rebuilt from descriptions give what the official ones give, step by step (SPECKTRACK_GOLDENS=DIR)."""

from collections.abc import Callable
from typing import Any

import golden_cotracker3
import golden_echotracker
import golden_pips2
import pytest
import torch
from golden_cases import FOLDER, Golden, deviations, fill, find_goldens

RUNNERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "echotracker": (golden_echotracker.build, golden_echotracker),
    "pips2": (golden_pips2.build, golden_pips2),
    "cotracker3_offline": (golden_cotracker3.build_offline, golden_cotracker3),
    "cotracker3_online": (golden_cotracker3.build_online, golden_cotracker3),
}
CASES = [golden for model in RUNNERS for golden in find_goldens(model)]

pytestmark = pytest.mark.skipif(not CASES, reason=f"no golden cases under {FOLDER}; set SPECKTRACK_GOLDENS")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("golden", CASES, ids=str)
def test_a_tracker_gives_the_official_answers(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    build, runner = RUNNERS[golden.model]
    network = build()
    fill(network, golden.model)
    params, arrays, tolerances = golden.load()
    off = deviations(runner.run(network, params, arrays), arrays)
    with capsys.disabled():
        worst = max(off, key=lambda name: off[name] / max(tolerances[name], 1e-12))
        print(f"\n{golden}: {worst} off by {off[worst]:.1e}, allowed {tolerances[worst]:.1e}")
    assert set(off) == set(arrays) - runner.INPUTS
    assert {name: value for name, value in off.items() if value > tolerances[name]} == {}
