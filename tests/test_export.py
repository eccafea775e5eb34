"""A checkpoint becomes model files that the runtime opens, equal to the network, with no trace of this machine."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from random_fusion import random_weights
from streams import arch, shifted, speckle
from tiny_beats import write_sheets
from typer.testing import CliRunner

from specktrack.export.audit import half_nodes
from specktrack.export.cli import app
from specktrack.export.graph import check_graph
from specktrack.export.half import element_types
from specktrack.export.model_files import ModelFiles, write_fusion
from specktrack.export.verification import accept
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import EngineError, InputError
from specktrack.rt.fusion import steady_weights
from specktrack.rt.manifest import companion, find_model, load_manifest, open_fusion
from specktrack.rt.parity import Deviation, VerifyClip, compare, follow, refuse_far
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.encoder import TorchEncoder
from specktrack.training.specknet import build


def run(*arguments: str | Path) -> "CliRunner.Result":
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of an untrained network, before (network.pt) and after train-fusion (tracker.pt)."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = {"network": build("specknet-s").state_dict()}
    fusion = {key: torch.from_numpy(value) for key, value in random_weights(0, size=0.3).items()}
    settings = {"data": ["clips"], "seed": 7}
    save_checkpoint(folder / "network.pt", Checkpoint("specknet-s", 11, network, settings))
    save_checkpoint(folder / "tracker.pt", Checkpoint("specknet-s", 11, {**network, "fusion": fusion}, settings))
    return folder


@pytest.fixture(scope="module")
def exported_and_said(folder: Path) -> tuple[Path, str]:
    """The FP32 model file and what the command said; few frames, since every file costs a minute of them."""
    clips = write_sheets(folder / "clips", {"a4c": 1})
    options = ("--calibrate-on", clips, "--verify", clips / "a4c-000000.npz", "--frames", "4")
    result = run(folder / "tracker.pt", "--out", folder / "tracker", "--onnx-only", *options)
    assert result.exit_code == 0, result.output
    return folder / "tracker" / "specknet-s.onnx", result.output


@pytest.fixture(scope="module")
def exported(exported_and_said: tuple[Path, str]) -> Path:
    return exported_and_said[0]


def test_the_exported_file_is_opset_18_and_equal_to_the_network(exported: Path) -> None:
    card = load_manifest(exported)
    check_graph(exported)
    assert card.opset == 18
    assert card.training is not None
    assert (card.training.data, card.training.seed, card.training.steps) == ("clips", 7, 11)
    assert card.parity is not None
    assert card.parity.max_px < 0.002
    assert card.parity.frames is not None
    assert card.parity.frames > 4, "the user's clip counts too"
    half = load_manifest(companion(exported, card.half, "FP16 network")).parity
    assert half is not None
    assert card.parity.max_px < half.max_px < 0.05, "each file has its own figures"


def test_the_half_precision_file_is_half_in_its_layers_and_fp32_in_its_features(exported: Path) -> None:
    card = load_manifest(exported)
    path = companion(exported, card.half, "FP16 network")
    assert load_manifest(path).precision == "fp16"
    model = onnx.load(str(path))
    types = element_types(model)
    half = set(half_nodes(model))
    assert {node.name for node in model.graph.node if node.op_type == "Conv"} <= half
    for node in model.graph.node:
        if node.op_type in ("Pow", "ReduceSum", "Sqrt", "Reciprocal", "Mul"):
            assert types[node.output[0]] != TensorProto.FLOAT16, node.name


def test_matching_graphs_belong_to_the_model(exported: Path) -> None:
    card = load_manifest(exported)
    for reference in (card.sample, card.match):
        model = onnx.load(str(companion(exported, reference, "matching graph")))
        assert not half_nodes(model)
    card_of_half = load_manifest(companion(exported, card.half, "FP16 network"))
    assert (card_of_half.sample, card_of_half.match, card_of_half.half) == (card.sample, card.match, None)


def test_the_command_ends_with_a_table_of_both_precisions(exported_and_said: tuple[Path, str]) -> None:
    said = exported_and_said[1]
    for word in ("phantom", "a4c-000000.npz", "fp32", "fp16", "strain"):
        assert word in said


def test_the_fusion_of_the_checkpoint_lies_beside_the_model(exported: Path) -> None:
    path = exported.with_name(load_manifest(exported).fusion.file)
    with np.load(path) as stored:
        for key, value in random_weights(0, size=0.3).items():
            np.testing.assert_array_equal(stored[key], value)
    assert OrtEngine(exported, threads=1).fusion is not None


def test_a_fusion_of_another_version_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    """It was trained on other measurements than this version takes."""
    tracker = load_checkpoint(folder / "tracker.pt")
    tracker.state["fusion"]["a"] = tracker.state["fusion"]["a"][:-1]
    save_checkpoint(tmp_path / "older.pt", tracker)
    result = run(tmp_path / "older.pt", "--out", tmp_path / "out", "--onnx-only")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).endswith("is of another version; train it again with train-fusion")


def test_a_file_of_another_network_is_refused_with_its_figures(exported: Path) -> None:
    torch.manual_seed(1)
    card = load_manifest(exported)
    other = TorchEncoder(build("specknet-s").eval(), "other", open_fusion(exported, card), card.input_size)
    clip = VerifyClip("speckle", np.stack([shifted(speckle(), k, 0) for k in range(3)]), arch())
    row = compare(clip, follow(other, clip), OrtEngine(exported, threads=1), "ONNX Runtime")
    assert row.n_frames == 3
    with pytest.raises(InputError, match=r"ONNX Runtime fp32 on speckle: .* px in a frame.*; not usable"):
        refuse_far([row])


def test_a_refused_export_leaves_no_card_so_nothing_opens_it(exported: Path, tmp_path: Path) -> None:
    for path in exported.parent.iterdir():
        shutil.copy(path, tmp_path)
    model = tmp_path / exported.name
    files = ModelFiles(build("specknet-s"), model, model.with_suffix(".fp16.onnx"), load_manifest(model))
    good = Deviation("phantom", "onnxruntime", "fp32", 4, 1e-5, 1e-4, 1e-3, 1e-3, 1e-3)
    accept(files, [good])
    far = (
        replace(good, read_px=0.0021),
        replace(good, p99_px=0.051),
        replace(good, strain_points=0.11),
        replace(good, p99_px=float("nan")),
    )
    for row in far:
        with pytest.raises(InputError, match="not usable"):
            accept(files, [good, row])
    with pytest.raises(EngineError, match=r"its manifest .* is missing"):
        load_manifest(model)


def test_confidence_is_calibrated_on_clips_with_truth(exported: Path) -> None:
    curve = load_manifest(exported).confidence_curve
    assert curve[0] == (0.0, 0.0)
    assert curve[-1] not in {(1.0, 1.0), (0.0, 0.0)}
    assert OrtEngine(exported, threads=1).confidence_curve == curve


def test_a_checkpoint_without_a_trained_fusion_gets_fixed_gains_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exported_and_said: tuple[Path, str]
) -> None:
    reference = write_fusion(load_checkpoint(folder / "network.pt"), tmp_path / "fixed.npz")
    assert "fixed gains are used; train it with train-fusion" in capsys.readouterr().out
    assert reference.file == "fixed.npz"
    with np.load(tmp_path / "fixed.npz") as stored:
        for key, value in steady_weights().items():
            np.testing.assert_array_equal(stored[key], value)
    assert "fixed gains" not in exported_and_said[1]


@pytest.mark.parametrize("which", ["exported", "shipped"])
@pytest.mark.parametrize("kind", ["", ".fp16", ".sample", ".match"])
def test_a_model_file_names_no_folder_of_the_machine_that_made_it(which: str, kind: str, exported: Path) -> None:
    model = exported if which == "exported" else find_model("specknet-s")
    content = model.with_suffix(f"{kind}.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


def test_a_graph_of_another_opset_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(str(exported))
    model.opset_import[0].version = 17
    wrong = tmp_path / "wrong.onnx"
    onnx.save(model, str(wrong))
    with pytest.raises(ValueError, match=r"wrong.onnx: opset \[17\], expected 18"):
        check_graph(wrong)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["specknet-s", "--onnx-only", "--size", "100"], "must be a multiple of 8, for example 96"),
        (["specknet-xl", "--onnx-only"], "shipped are: specknet-b, specknet-s"),
        (["specknet-s", "--onnx-only", "--verify", "nowhere.mp4"], r"nowhere.mp4: no such file"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(options: list[str], complaint: str, tmp_path: Path) -> None:
    result = run(*options, "--out", tmp_path)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
