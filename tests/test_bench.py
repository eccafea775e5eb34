"""What rt-bench says: every stage of real frames, in turns, the worst frame by its number; bad wishes explained."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specktrack.rt.bench_run import TURN_FRAMES, WARM_UP_TURNS, Plan, measure
from specktrack.rt.bench_scene import FRAMES_PER_BEAT, beating_speckle
from specktrack.rt.bench_subjects import CalledSubject
from specktrack.rt.latency import STAGES


def rt_bench(*options: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    command = [sys.executable, "-m", "specktrack.rt.bench", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A short run of three models."""
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    models = ("--model", "specknet-s", "--model", "dis", "--model", "block")
    done = rt_bench(*models, "--engine", "onnxruntime", "--size", "128", "--frames", "16", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "publish" in done.stdout
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def rows_of(report: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in report["cases"][0]["rows"]}


def test_every_model_has_its_row_and_the_network_one_more_for_its_encoder(report: dict[str, Any]) -> None:
    names = ["specknet-s on onnxruntime", "specknet-s on onnxruntime, encoder alone", "dis, medium preset"]
    assert list(rows_of(report)) == [*names, "block on block"]
    assert report["settings"]["frames"] == 16
    assert report["machine"]["cores"] >= 1


def test_every_stage_of_the_path_is_measured_and_percentiles_are_in_order(report: dict[str, Any]) -> None:
    stages = rows_of(report)["specknet-s on onnxruntime"]["stages"]
    assert tuple(stages) == STAGES
    for s in stages.values():
        assert 0 <= s["p50_ms"] <= s["p95_ms"] <= s["p99_ms"] <= s["max_ms"]
    parts = sum(stages[name]["p50_ms"] for name in ("encode", "match", "publish"))
    assert 0 < parts <= 1.5 * stages["total"]["p50_ms"]


def test_ratios_are_those_of_the_medians_printed(report: dict[str, Any]) -> None:
    rows = rows_of(report)
    whole, alone = (rows[f"specknet-s on onnxruntime{kind}"]["stages"]["total"] for kind in ("", ", encoder alone"))
    ratios = report["cases"][0]["ratios"]["specknet-s on onnxruntime"]
    said = ratios["p50 / specknet-s on onnxruntime, encoder alone"]
    assert said == pytest.approx(whole["p50_ms"] / alone["p50_ms"])
    assert "p50 / dis, medium preset" in ratios


def test_subjects_are_measured_in_turns_so_that_a_busy_moment_hits_all() -> None:
    said: list[str] = []
    subjects = [CalledSubject(name, lambda _, name=name: said.append(name)) for name in "ab"]  # type: ignore[misc]
    measure([lambda s=s: s for s in subjects], Plan(rounds=6))  # type: ignore[misc]
    in_rounds = said[2 * WARM_UP_TURNS * TURN_FRAMES :]
    each = 2 * TURN_FRAMES  # for latency, then for throughput
    for k in range(6):
        of_round = in_rounds[2 * k * each : 2 * (k + 1) * each]
        assert of_round.count("a") == of_round.count("b") == each


def test_the_worst_frame_is_told_by_its_number() -> None:
    slow = WARM_UP_TURNS * TURN_FRAMES + 5

    def answer(seq: int) -> None:
        until = time.perf_counter() + (0.4 if seq == slow else 0.0)
        while time.perf_counter() < until:
            pass

    row = measure([lambda: CalledSubject("hiccup", answer)], Plan(rounds=2))[0]
    assert row.total.max_seq == slow
    assert row.total.max_ms >= 400
    assert row.total.p50_ms < 400


def test_memory_that_is_kept_and_memory_that_comes_and_goes_are_told_apart() -> None:
    kept: list[list[int]] = []
    hoarder = CalledSubject("hoarder", lambda seq: kept.append([seq]))
    spender = CalledSubject("spender", lambda seq: np.ones(256 * 1024, np.float32).sum())
    rows = measure([lambda: hoarder, lambda: spender], Plan(rounds=1))
    assert rows[0].kept_blocks_per_frame >= 1
    assert rows[0].transient_kib_per_frame < 100
    assert rows[1].transient_kib_per_frame >= 1024
    assert rows[1].kept_blocks_per_frame < rows[0].kept_blocks_per_frame + 1


def test_the_scene_beats_without_a_jump_where_it_begins_again() -> None:
    scene = beating_speckle(96, 8)
    steps = [np.abs(scene.pixels(k).astype(int) - scene.pixels(k + 1)).mean() for k in range(FRAMES_PER_BEAT)]
    assert steps[-1] <= max(steps[:-1])
    assert max(steps) > 1.0
    assert ((scene.points > 0) & (scene.points < 96)).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "specknet-x"), "specknet-s"),
        (("--engine", "abacus"), "onnxruntime"),
        (("--size", "3"), "--size 3: choose 64 to"),
        (("--points", "0"), "--points 0: choose 1 to"),
        (("--weights", "raft=x.pth"), "NAME=FILE"),
        (("--weights", "pips=nowhere.pth"), "no such file"),
        (("--json", "nowhere/figures.json"), "no folder nowhere"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_sentence(options: tuple[str, ...], said: str) -> None:
    done = rt_bench("--frames", "8", *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


@pytest.mark.bench
def test_other_trackers_are_measured_with_random_weights(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = rt_bench("--model", "echotracker", "--model", "dis", "--size", "256", "--frames", "8", "--json", str(path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text(encoding="utf-8"))["cases"][0]["rows"]
    assert rows[0]["stages"]["total"]["p50_ms"] > rows[1]["stages"]["total"]["p50_ms"]
    assert rows[0]["frames_per_s"] is None
    assert rows[0]["cpu_ms_per_frame"] < 3 * rows[0]["stages"]["total"]["p50_ms"], "of a frame, not of a window"
