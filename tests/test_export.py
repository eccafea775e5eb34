"""A checkpoint becomes a model file that the runtime opens, equal to the network, with no trace of this machine."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from random_fusion import random_weights
from streams import shifted, speckle
from tiny_beats import write_sheets
from typer.testing import CliRunner

from specktrack.export.cli import MAX_PARITY_PX, app
from specktrack.export.graph import check_graph
from specktrack.export.parity import compare
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import InputError
from specktrack.rt.fusion import steady_weights
from specktrack.rt.manifest import find_model, load_manifest
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.specknet import build


def exported_from(checkpoint: str, out: Path, *options: str) -> tuple[Path, str]:
    """The model file and what the command said."""
    result = CliRunner().invoke(app, [checkpoint, "--out", str(out), "--onnx-only", *options])
    assert result.exit_code == 0, result.output
    return out / "specknet-s.onnx", result.output


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
    return exported_from(str(folder / "tracker.pt"), folder / "tracker")


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


def test_the_fusion_of_the_checkpoint_lies_beside_the_model(exported: Path) -> None:
    path = exported.with_name(load_manifest(exported).fusion.file)
    with np.load(path) as stored:
        for key, value in random_weights(0, size=0.3).items():
            np.testing.assert_array_equal(stored[key], value)
    assert OrtEngine(exported, threads=1).fusion is not None


def test_a_checkpoint_without_a_trained_fusion_is_exported_with_fixed_gains_and_says_so(
    folder: Path, exported_and_said: tuple[Path, str]
) -> None:
    model, said = exported_from(str(folder / "network.pt"), folder / "network")
    assert "fixed gains are used; train it with train-fusion" in said
    with np.load(model.with_name(load_manifest(model).fusion.file)) as stored:
        for key, value in steady_weights().items():
            np.testing.assert_array_equal(stored[key], value)
    assert "fixed gains" not in exported_and_said[1]


def test_a_fusion_of_another_version_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    """It was trained on other measurements than this version takes."""
    tracker = load_checkpoint(folder / "tracker.pt")
    tracker.state["fusion"]["a"] = tracker.state["fusion"]["a"][:-1]
    save_checkpoint(tmp_path / "older.pt", tracker)
    result = CliRunner().invoke(app, [str(tmp_path / "older.pt"), "--out", str(tmp_path / "out"), "--onnx-only"])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).endswith("is of another version; train it again with train-fusion")


def test_parity_tells_a_file_from_another_network(exported: Path) -> None:
    torch.manual_seed(1)
    card = load_manifest(exported)
    images = np.stack([shifted(speckle(), k, 0) for k in range(3)])
    table = compare(build("specknet-s").eval(), exported, card, images)
    assert table.n_frames == 3
    assert table.max_feature_error > 0.1
    assert table.max_px > MAX_PARITY_PX


def test_confidence_is_calibrated_on_clips_with_truth(folder: Path) -> None:
    clips = write_sheets(folder / "clips", {"a4c": 1})
    options = ("--calibrate-on", str(clips), "--verify", str(clips / "a4c-000000.npz"))
    model, said = exported_from(str(folder / "network.pt"), folder / "calibrated", *options)
    curve = load_manifest(model).confidence_curve
    assert curve[0] == (0.0, 0.0)
    assert curve[-1] not in {(1.0, 1.0), (0.0, 0.0)}
    assert OrtEngine(model, threads=1).confidence_curve == curve
    assert "a4c-000000.npz" in said


@pytest.mark.parametrize("which", ["exported", "shipped"])
def test_a_model_file_names_no_folder_of_the_machine_that_made_it(which: str, exported: Path) -> None:
    content = (exported if which == "exported" else find_model("specknet-s")).read_bytes()
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
        (["specknet-s"], "add --onnx-only"),
        (["specknet-s", "--onnx-only", "--precision", "fp16"], "use --precision fp32"),
        (["specknet-s", "--onnx-only", "--size", "100"], "must be a multiple of 8, for example 96"),
        (["specknet-xl", "--onnx-only"], "shipped are: specknet-s"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(options: list[str], complaint: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*options, "--out", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
