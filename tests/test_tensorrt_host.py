"""The host's side of TensorRT over a pretend device (simulated_tensorrt.py): builds, cache, captures, refusals."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simulated_tensorrt
from simulated_cuda import Device
from typer.testing import CliRunner, Result

from specktrack.export.cli import app
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import EngineError, InputError
from specktrack.rt.manifest import find_model, load_manifest, save_manifest
from specktrack.rt.parity import compare, follow
from specktrack.rt.plan_cache import known_plans
from specktrack.rt.precision_gate import swaying_clip

MODEL = find_model("specknet-s")
PLAN = "specknet-s.fp16.trt.plan"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("specktrack.export.plan_files.N_FRAMES", 5)
        patch.setenv("SPECKTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield simulated_tensorrt.install(patch)
        for name in simulated_tensorrt.OURS:
            sys.modules.pop(f"specktrack.{name}", None)


def build(out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, [str(MODEL), "--out", str(out), "--points", "1,16,32", *options])


@pytest.fixture(scope="module")
def plans(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plans")
    result = build(out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Built: " in result.output
    assert "Against specknet-s.onnx in ONNX Runtime" in result.output
    return out


@pytest.fixture
def engine(plans: Path, device: Device) -> Iterator[Engine]:
    engine = open_engine(ModelConfig(name=str(plans / PLAN), engine="tensorrt"))
    yield engine
    engine.close()


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (256, 256), np.uint8)


def points(n: int) -> np.ndarray:
    return np.random.default_rng(n).uniform(20, 236, (n, 2)).astype(np.float32)


def test_a_plan_has_its_companions_and_a_card_that_says_what_it_fits(plans: Path) -> None:
    card = load_manifest(plans / PLAN)
    assert card.plan is not None
    assert (card.plan.tensorrt, card.plan.gpu, card.plan.compute_capability) == ("10.12.0", "Pretend GPU", "8.6")
    assert card.plan.points == (1, 16, 32)
    assert card.precision == "fp16"
    assert card.parity is not None
    assert card.parity.against == "specknet-s.onnx in ONNX Runtime"
    for reference in (card.sample, card.match, card.fusion):
        assert reference is not None
        assert (plans / reference.file).is_file()


def test_the_engine_follows_a_contour_to_the_same_places(engine: Engine) -> None:
    """61 points, more than the plan was built for."""
    clip = swaying_clip((256, 256), n_frames=6)
    row = compare(clip, follow(OrtEngine(MODEL, threads=1), clip), engine, "tensorrt")
    assert row.is_within, row.complaint()


def test_features_of_an_earlier_frame_stay_while_new_ones_are_made_and_their_memory_is_used_again(
    engine: Engine, device: Device
) -> None:
    kept = engine.encode(image(0))
    before = engine.templates(kept, points(5))
    for seed in range(1, 4):
        engine.encode(image(seed))
    n_buffers = len(device.memory)
    for seed in range(4, 8):
        engine.encode(image(seed))
    assert len(device.memory) == n_buffers
    np.testing.assert_array_equal(engine.templates(kept, points(5)), before)


def test_every_set_of_shapes_is_captured_once_and_replayed(engine: Engine, device: Device) -> None:
    features = engine.encode(image(0))
    template = engine.templates(features, points(7))
    engine.evidence(features, [template], points(7), 21)
    launches = device.n_launches
    for _ in range(3):
        engine.evidence(features, [template], points(7), 21)
    assert device.n_launches == launches + 3, "one launch each, nothing captured anew"


def test_a_capture_that_came_out_empty_is_refused(plans: Path, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "captures_nothing", True)
    with pytest.raises(EngineError, match=r"specknet-s.fp16.trt.plan: its CUDA graph answers fine nan off"):
        open_engine(ModelConfig(name=str(plans / PLAN), engine="tensorrt"))


def test_what_was_built_before_comes_from_the_cache_unless_forced(plans: Path, tmp_path: Path) -> None:
    assert "Taken from the cache: " in build(tmp_path / "again").output
    assert "Built: " in build(tmp_path / "forced", "--force").output
    assert "Built: " in build(tmp_path / "wider", "--points", "1,16,48").output
    assert "specknet-s" in CliRunner().invoke(app, ["--list"]).output


def test_a_plan_that_follows_points_elsewhere_is_not_kept(
    plans: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specktrack.rt.parity.FOLLOWED_PX", 1e-9)
    result = build(tmp_path, "--points", "1,16,24")
    assert isinstance(result.exception, InputError)
    assert "tensorrt fp16 on swaying speckle" in str(result.exception)
    assert not (tmp_path / PLAN).exists()
    assert [card.plan.points for _, card in known_plans() if card.plan].count((1, 16, 24)) == 0


def test_auto_and_the_name_of_the_model_find_the_plan_built_here(plans: Path) -> None:
    for config in (ModelConfig(), ModelConfig(engine="tensorrt")):
        engine = open_engine(config)
        assert (engine.name, engine.precision) == ("tensorrt", "fp16")
        engine.close()


def copied(plans: Path, folder: Path) -> Path:
    for path in plans.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / PLAN


def test_a_plan_of_another_tensorrt_is_refused_with_the_remedy(plans: Path, tmp_path: Path) -> None:
    plan = copied(plans, tmp_path)
    card = load_manifest(plan)
    assert card.plan is not None
    save_manifest(card.model_copy(update={"plan": card.plan.model_copy(update={"tensorrt": "11.4.0"})}), plan)
    with pytest.raises(EngineError, match=r"was built with TensorRT 11\.4\.0 .*Build it again on this machine"):
        open_engine(ModelConfig(name=str(plan), engine="tensorrt"))


def test_a_changed_plan_is_not_even_loaded(plans: Path, tmp_path: Path) -> None:
    plan = copied(plans, tmp_path)
    plan.write_bytes(plan.read_bytes() + b"\0")
    with pytest.raises(EngineError, match="differs from its manifest"):
        open_engine(ModelConfig(name=str(plan), engine="tensorrt"))


def test_what_tensorrt_cannot_load_is_said_in_its_words(device: Device) -> None:
    from specktrack.rt.trt_device import CudaStream
    from specktrack.rt.trt_log import TrtLog
    from specktrack.rt.trt_runner import PlanRunner

    with pytest.raises(EngineError, match=r"x\.plan: TensorRT 10\.12\.0 cannot load it here \(serialized engine has"):
        PlanRunner(b"junk", "x.plan", CudaStream(), TrtLog())


def test_a_build_that_fails_gives_the_reason_of_the_log(device: Device, tmp_path: Path) -> None:
    from rich.progress import Progress

    from specktrack.export.build_config import BuildConfig
    from specktrack.export.trt_build import build_plan

    wrong = {"picture": ((1,), (1,), (1,))}
    with pytest.raises(EngineError, match=r"built no plan: a profile for \['image'\] is wanted"):
        build_plan(MODEL, wrong, BuildConfig(), tmp_path / "timings", Progress())


def test_closing_gives_all_memory_back(plans: Path, device: Device) -> None:
    before = len(device.memory)
    engine = open_engine(ModelConfig(name=str(plans / PLAN), engine="tensorrt"))
    engine.encode(image(0))
    engine.close()
    del engine
    assert len(device.memory) == before
