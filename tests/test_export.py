"""A checkpoint becomes a model file that the runtime opens, equal to the network, with no trace of this machine."""

from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from specktrack.export.cli import app
from specktrack.export.graph import check_graph
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import find_model, load_manifest


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    result = CliRunner().invoke(app, ["specknet-s", "--out", str(out), "--onnx-only"])
    assert result.exit_code == 0, result.output
    return out / "specknet-s.onnx"


def test_the_exported_file_is_opset_18_and_equal_to_the_network(exported: Path) -> None:
    card = load_manifest(exported)
    check_graph(exported)
    assert card.opset == 18
    assert card.parity is not None
    assert card.parity.max_px < 0.002


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
