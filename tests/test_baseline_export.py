"""Trackers of others as ONNX files: what the file says of a beating heart is what the network says."""

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from rule_weights import save_rule_weights, with_rule_weights
from typer.testing import CliRunner

from specktrack.export.baseline_command import NAMES
from specktrack.export.baseline_export import Wanted, print_parity, write_files
from specktrack.export.baseline_half import plans, write_half
from specktrack.export.baseline_manifest import MEANINGS, load_card
from specktrack.export.baseline_parity import (
    MOST_PX,
    FileParity,
    Precision,
    onnxruntime_runner,
    phantom_clip,
    torch_runner,
    try_network,
)
from specktrack.export.baselines import BASELINES, some_queries
from specktrack.export.cli import app
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import file_sha256

SIDE = {"pips": 128}
WINDOW = {"cotracker3-online": 16}
FAST = ("echotracker", "pips", "cotracker3-online")  # the other two share their parts; test_all_..., with -m bench


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def small(name: str) -> Wanted:
    side = SIDE.get(name, 64)
    return Wanted((side, side), WINDOW.get(name, 7), 2, n_points=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trackers")


@pytest.fixture(scope="module")
def echotracker(folder: Path) -> tuple[Path, str]:
    """The file that the command makes of a checkpoint, and what it says."""
    torch.set_num_threads(1)
    weights = save_rule_weights("echotracker", folder)
    options = ["--out", str(folder), "--onnx-only", "--size", "64", "--window", "7", "--iterations", "2"]
    result = CliRunner().invoke(app, ["echotracker", "--weights", str(weights), *options])
    assert result.exit_code == 0, result.output
    return folder / "echotracker.onnx", result.output


@pytest.fixture(scope="module")
def others(folder: Path) -> dict[str, dict[Path, FileParity]]:
    """The files of the other fast ones."""
    torch.set_num_threads(1)
    return {name: write_files(name, with_rule_weights(name), "0" * 64, folder, small(name)) for name in FAST[1:]}


def test_a_file_is_its_network_on_a_beating_heart(
    echotracker: tuple[Path, str], others: dict[str, dict[Path, FileParity]], folder: Path
) -> None:
    for name in FAST:
        for path, most in ((folder / f"{name}.onnx", 0.01), (folder / f"{name}.fp16.onnx", 0.25)):
            parity = load_card(path).parity
            figure = parity.max_px if "fp16" not in path.name else parity.p99_px
            assert figure <= most, path.name
            assert parity.moved_px > 0.5, path.name
            assert parity.n_frames > load_card(path).window_frames or name == "echotracker"


def test_the_command_shows_how_near_they_are_and_names_the_files(echotracker: tuple[Path, str]) -> None:
    said = echotracker[1]
    assert "echotracker.onnx, echotracker.fp16.onnx and their cards" in said
    assert "p99" in said


def test_a_file_takes_another_number_of_points_than_it_was_made_with(echotracker: tuple[Path, str]) -> None:
    """One point, or many: each is followed as if it were alone."""
    run = onnxruntime_runner(echotracker[0])
    clip, queries = phantom_clip((64, 64), 7), some_queries(BASELINES["echotracker"], 9, 7, (64, 64))
    together = run({"video": clip, "points": queries[:, 1:]})["tracks"]
    alone = run({"video": clip, "points": queries[4:5, 1:]})["tracks"]
    np.testing.assert_allclose(alone[0], together[4], atol=1e-3)


def test_another_network_is_told_from_the_file(echotracker: tuple[Path, str]) -> None:
    baseline = BASELINES["echotracker"]
    torch.manual_seed(0)
    clip, queries = phantom_clip((64, 64), 7), some_queries(baseline, 6, 7, (64, 64))
    trial = try_network(baseline, baseline.build().eval(), clip, queries, 2, 7)
    assert not trial.measure(onnxruntime_runner(echotracker[0]), "fp32", "onnxruntime").is_good


def test_half_precision_is_measured_as_the_file_says_it_and_not_widened(echotracker: tuple[Path, str]) -> None:
    """ONNX Runtime on a CPU computes half layers in FP32; torch rounds, and is farther from the network for it."""
    baseline, half = BASELINES["echotracker"], echotracker[0].with_name("echotracker.fp16.onnx")
    clip, queries = phantom_clip((64, 64), 7), some_queries(baseline, 6, 7, (64, 64))
    trial = try_network(baseline, with_rule_weights("echotracker"), clip, queries, 2, 7)
    by_torch, by_ort = (trial.measure(run(half), "fp16", "").median_px for run in (torch_runner, onnxruntime_runner))
    assert by_torch > 1e-3
    assert by_torch != by_ort


def test_fp32_islands_widen_until_the_points_are_where_the_network_has_them(
    echotracker: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, model = BASELINES["echotracker"], onnx.load(str(echotracker[0]))
    clip, queries = phantom_clip((64, 64), 7), some_queries(baseline, 6, 7, (64, 64))
    trial = try_network(baseline, with_rule_weights("echotracker"), clip, queries, 2, 7)
    seen: list[float] = []

    def measure(path: Path) -> FileParity:
        parity = trial.measure(torch_runner(path), "fp16", "torch")
        seen.append(parity.p99_px)
        return parity

    monkeypatch.setitem(MOST_PX, "fp16", 1e-5)
    with pytest.raises(InputError, match=r"narrow.fp16.onnx: none of the FP32 islands leaves less than 0.\d+ px"):
        write_half(model, baseline, tmp_path / "narrow.fp16.onnx", measure)
    assert len(seen) == len(plans(baseline))
    assert not (tmp_path / "narrow.fp16.onnx").exists()
    best = min(range(len(seen)), key=seen.__getitem__)
    assert best > 0
    monkeypatch.setitem(MOST_PX, "fp16", seen[best])
    assert write_half(model, baseline, tmp_path / "wide.fp16.onnx", measure).islands == plans(baseline)[best]


def test_the_card_says_what_goes_in_and_comes_out(
    echotracker: tuple[Path, str], others: dict[str, dict[Path, FileParity]], folder: Path
) -> None:
    for name in FAST:
        path = folder / f"{name}.onnx"
        card, graph = load_card(path), onnx.load(str(path)).graph
        assert card.sha256 == file_sha256(path)
        assert [t.name for t in card.inputs] == [value.name for value in graph.input]
        assert [t.name for t in card.outputs] == [value.name for value in graph.output]
        assert all(t.meaning == MEANINGS[t.name] for t in (*card.inputs, *card.outputs))
        assert card.outputs[0].shape[0] == "points"
        assert card.opset == 18
    assert load_card(folder / "cotracker3-online.onnx").weights_licence.endswith("no commercial use")
    assert load_card(folder / "echotracker.fp16.onnx").islands[0] == "*.dense/*"


def test_a_file_names_no_folder_of_the_machine_that_made_it(echotracker: tuple[Path, str]) -> None:
    content = echotracker[0].read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


def test_the_command_knows_every_tracker() -> None:
    assert tuple(BASELINES) == NAMES
    assert set(MOST_PX) == set(get_args(Precision))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["echotracker", "--onnx-only"], "give its checkpoint once, as echotracker:FILE"),
        (["echotracker:a.pth", "--weights", "a.pth", "--onnx-only"], "give its checkpoint once"),
        (["echotracker:a.pth"], "add --onnx-only"),
        (["echotracker:missing.pth", "--onnx-only"], "missing.pth: no such file"),
        (["specknet-s", "--weights", "a.pth", "--onnx-only"], "it goes with echotracker"),
        (["pips:a.pth", "--onnx-only", "--size", "64"], "multiples of 8 from 128 on"),
        (["cotracker3-online:a.pth", "--onnx-only", "--window", "8"], "windows of 16 frames"),
        (["pips:a.pth", "--onnx-only", "--window", "2"], "at least 6 frames"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_all_trackers_at_full_size(name: str, tmp_path: Path) -> None:
    """256x256, 64 points, each with its own window and iterations; prints the row of docs/baselines.md (-s)."""
    files = write_files(name, with_rule_weights(name), "0" * 64, tmp_path, Wanted())
    print_parity(files)
    assert all(parity.is_good for parity in files.values())
