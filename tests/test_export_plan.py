"""From ONNX files to a TensorRT plan: what is wrong in a file is named first, what is missing here is said last."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

from specktrack.export.build_config import BuildConfig, point_counts
from specktrack.export.cli import app
from specktrack.export.plan_files import profile_of, source_of
from specktrack.rt.cache import cache_folder
from specktrack.rt.engine_choice import has_gpu
from specktrack.rt.errors import ConfigError, EngineError, InputError
from specktrack.rt.manifest import Manifest, Plan, find_model, load_manifest, manifest_path, reference_to, save_manifest
from specktrack.rt.plan_cache import find_plan, has_plan, known_plans, plan_folder, plan_name

PLAN = Plan(
    onnx_sha256="0" * 64,
    card="0" * 16,
    tensorrt="10.12.0",
    gpu="NVIDIA RTX A2000",
    compute_capability="8.6",
    driver="12080",
    points=(1, 64, 256),
    flags=BuildConfig().flags(),
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The shipped model with all its files in a folder of its own."""
    shipped = find_model("specknet-s")
    for path in shipped.parent.glob("specknet-s.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / shipped.name


def renew_cards(model: Path) -> None:
    """The cards say what the files now are: it was not the copying that went wrong."""
    half = model.with_suffix(".fp16.onnx")
    references = {"sample": reference_to(model.with_suffix(".sample.onnx"))}
    references["match"] = reference_to(model.with_suffix(".match.onnx"))
    for path, more in ((half, {}), (model, {"half": reference_to(half)})):
        card = load_card(path)
        save_manifest(card.model_copy(update={"sha256": reference_to(path).sha256, **references, **more}), path)


def load_card(path: Path) -> Manifest:
    """Without asking whether it is the file's."""
    return Manifest.model_validate_json(manifest_path(path).read_text(encoding="utf-8"), strict=False)


def plant_half_coordinate(path: Path) -> None:
    """The centres go through half precision and back: 0.25 px at a width of 512."""
    model = onnx.load(str(path))
    model.graph.node.insert(0, helper.make_node("Cast", ["centre"], ["rough"], name="to_rough", to=TensorProto.FLOAT16))
    model.graph.node.insert(1, helper.make_node("Cast", ["rough"], ["again"], name="to_again", to=TensorProto.FLOAT))
    for node in model.graph.node[2:]:
        node.input[:] = ["again" if name == "centre" else name for name in node.input]
    onnx.save(model, str(path))


def plant_opset_20_sampling(path: Path) -> None:
    """An exporter's default of today: silently nearest on TensorRT."""
    model = onnx.load(str(path))
    model.opset_import[0].version = 20
    grid = helper.make_tensor("grid", TensorProto.FLOAT, (1, 1, 1, 2), [0.0, 0.0])
    model.graph.initializer.append(grid)
    model.graph.node.append(helper.make_node("GridSample", ["image", "grid"], ["seen"], name="peek", mode="linear"))
    onnx.save(model, str(path))


@pytest.mark.parametrize(
    ("suffix", "plant", "complaint"),
    [
        (".match.onnx", plant_half_coordinate, r"node to_rough \(Cast\): rough is FP16 and a coordinate"),
        (".fp16.onnx", plant_opset_20_sampling, "node peek: GridSample linear of opset 20 runs as nearest"),
    ],
)
def test_a_planted_fault_is_refused_with_the_name_of_its_node(
    model: Path, suffix: str, plant: Callable[[Path], None], complaint: str
) -> None:
    plant(model.with_suffix(suffix))
    renew_cards(model)
    result = run(model, "--out", model.parent / "out")
    assert isinstance(result.exception, InputError)
    assert re.search(complaint, str(result.exception)), result.exception


def test_an_onnx_file_needs_no_torch(model: Path) -> None:
    """On the machine that a plan is built on there may be none."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from specktrack.export.cli import app\n"
        f"app([{str(model)!r}, '--out', {str(model.parent / 'out')!r}, '--onnx-only'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_needs_the_network_is_refused_for_an_onnx_file(model: Path) -> None:
    result = run(model, "--out", model.parent / "out", "--onnx-only", "--verify", "clip.mp4")
    assert "--calibrate-on and --verify need the network" in str(result.exception)


def test_a_sound_model_passes_its_audit_from_the_file_alone(model: Path) -> None:
    assert run(model, "--out", model.parent / "out", "--onnx-only").exit_code == 0


@pytest.mark.skipif(has_gpu(), reason="here is a GPU")
def test_without_tensorrt_or_a_gpu_one_sentence_says_what_is_missing_and_how_to_go_on(model: Path) -> None:
    said = str(run(model, "--out", model.parent / "out").exception)
    assert said.startswith("no TensorRT plan was built: ")
    assert "export-trt specknet-s.onnx --out plans" in said
    assert "\n" not in said


def test_the_profile_lets_points_and_templates_vary_and_nothing_else(model: Path) -> None:
    source = source_of(model, "fp16")
    points = (1, 64, 256)
    assert profile_of(source.encoder, source.card, points) == {"image": ((1, 1, 256, 256),) * 3}
    matching = profile_of(source.match, source.card, points)
    assert matching["centre"] == ((1, 2), (64, 2), (256, 2))
    assert matching["templates"] == ((1, 1, 112), (3, 64, 112), (4, 256, 112))
    assert matching["fine"] == ((128, 128, 16),) * 3


def test_the_wanted_precision_picks_the_file(model: Path) -> None:
    assert source_of(model, "fp16").encoder.name == "specknet-s.fp16.onnx"
    assert source_of(model, "fp32").encoder.name == "specknet-s.onnx"
    with pytest.raises(InputError, match="give the FP32 file for --precision fp32"):
        source_of(model.with_suffix(".fp16.onnx"), "fp32")


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("onnx_sha256", "1" * 64),
        ("card", "1" * 16),
        ("tensorrt", "11.4.0"),
        ("gpu", "NVIDIA H100"),
        ("compute_capability", "9.0"),
        ("driver", "13000"),
        ("points", (1, 64, 128)),
        ("flags", BuildConfig(optimization_level=5).flags()),
    ],
)
def test_whatever_a_plan_depends_on_gives_it_another_place_in_the_cache(changed: str, value: object) -> None:
    assert plan_folder(PLAN) == plan_folder(PLAN.model_copy())
    assert plan_folder(PLAN.model_copy(update={changed: value})) != plan_folder(PLAN)


@pytest.fixture
def cached(model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of a plan: what of the cache needs no GPU is looked at with it."""
    monkeypatch.setenv("SPECKTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
    card = load_manifest(model)
    plan = PLAN.model_copy(update={"onnx_sha256": card.half.sha256 if card.half else ""})
    path = plan_folder(plan) / plan_name("specknet-s", "fp16")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a real plan")
    update = {"file": path.name, "sha256": reference_to(path).sha256, "precision": "fp16", "plan": plan}
    save_manifest(card.model_copy(update=update), path)
    return path


def test_a_plan_is_found_by_the_model_it_was_built_from(cached: Path, model: Path) -> None:
    card = load_manifest(model)
    assert has_plan(card)
    assert find_plan(card, model, "10.12.0", "NVIDIA RTX A2000") == cached
    assert not has_plan(card.model_copy(update={"sha256": "2" * 64, "half": None}))


@pytest.mark.parametrize(("tensorrt", "gpu"), [("11.4.0", "NVIDIA RTX A2000"), ("10.12.0", "NVIDIA H100")])
def test_a_plan_for_another_tensorrt_or_gpu_is_not_taken(cached: Path, model: Path, tensorrt: str, gpu: str) -> None:
    with pytest.raises(EngineError, match=rf"no plan of specknet-s for TensorRT {tensorrt} on {gpu} yet; build it"):
        find_plan(load_manifest(model), model, tensorrt, gpu)


def test_a_plan_that_was_changed_is_left_out(cached: Path, model: Path) -> None:
    cached.write_bytes(b"someone else's program")
    assert known_plans() == []


def test_the_list_shows_the_plans_of_this_machine(cached: Path) -> None:
    said = run("--list").output
    for word in ("specknet-s", "fp16", "10.12.0", "NVIDIA RTX A2000", "1,64,256", cached.parent.name):
        assert word in said


def test_an_empty_list_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECKTRACK_CACHE", str(tmp_path))
    assert f"no TensorRT plans in {cache_folder() / 'plans'}" in run("--list").output


def test_a_model_file_is_shown_with_the_types_of_its_nodes(model: Path) -> None:
    said = run("--inspect", model.with_suffix(".fp16.onnx")).output
    assert '"precision": "fp16"' in said
    assert [line.split("│")[2].strip() for line in said.splitlines() if "│ Conv " in line] == ["FLOAT16"]
    assert [line.split("│")[2].strip() for line in said.splitlines() if "│ Pow " in line] == ["FLOAT"]


@pytest.mark.parametrize("text", ["64", "1,2", "a,b,c", "64,1,256", "0,1,2", "1,64,99999"])
def test_a_wrong_number_of_points_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="for example 1,64,256"):
        point_counts(text)
    assert point_counts("1,64,256") == (1, 64, 256)


def test_an_unknown_builder_option_suggests_the_near_one(tmp_path: Path) -> None:
    result = run("specknet-s", "--out", tmp_path, "--set", "optimisation_level=5")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'optimization_level'?" in str(result.exception)


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    for arguments in ((), ("specknet-s",), ("--out", tmp_path)):
        assert "give a checkpoint, a shipped name or an ONNX file" in str(run(*arguments).exception)
