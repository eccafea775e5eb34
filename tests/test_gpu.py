"""On a real NVIDIA GPU: plans are built and run, graphs replay what was captured, both engines find the same points.

`pytest -m gpu -s`; with SPECKTRACK_REQUIRE_GPU=1 a machine without a GPU fails instead of skipping.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from specktrack.export.cli import app
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.errors import EngineError
from specktrack.rt.manifest import find_model, load_manifest
from specktrack.rt.parity import Followed, VerifyClip, compare, follow
from specktrack.rt.precision_gate import swaying_clip

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

MODEL = find_model("specknet-s")


@pytest.fixture(scope="module")
def clip() -> VerifyClip:
    return swaying_clip((256, 256), n_frames=40)


@pytest.fixture(scope="module")
def followed(clip: VerifyClip) -> Followed:
    return follow(OrtEngine(MODEL), clip)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, gpu: None) -> Path:
    """The shipped network's FP16 plan, built here."""
    out = tmp_path_factory.mktemp("plans")
    result = CliRunner().invoke(app, [str(MODEL), "--out", str(out), "--points", "1,61,96"])
    assert result.exit_code == 0, result.exception
    return out / "specknet-s.fp16.trt.plan"


def test_torch_in_half_precision_follows_to_the_same_places(clip: VerifyClip, followed: Followed) -> None:
    engine = open_engine(ModelConfig(engine="torch"))
    assert engine.precision == "fp16"
    row = compare(clip, followed, engine, "torch")
    print(row, timed(engine))
    assert row.is_within, row.complaint()


def test_a_plan_follows_to_the_same_places(plan: Path, clip: VerifyClip, followed: Followed) -> None:
    engine = open_engine(ModelConfig(name=str(plan), engine="tensorrt"))
    row = compare(clip, followed, engine, "tensorrt")
    print(row, timed(engine))
    engine.close()
    assert row.is_within, row.complaint()


def test_an_fp32_plan_is_as_exact_as_onnx(clip: VerifyClip, followed: Followed, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(MODEL), "--out", str(tmp_path), "--precision", "fp32"])
    assert result.exit_code == 0, result.exception
    engine = open_engine(ModelConfig(name=str(tmp_path / "specknet-s.fp32.trt.plan"), engine="tensorrt"))
    row = compare(clip, followed, engine, "tensorrt")
    engine.close()
    assert row.is_within, row.complaint()


def test_more_points_than_a_plan_was_built_for_are_matched_in_parts(plan: Path) -> None:
    engine = open_engine(ModelConfig(name=str(plan), engine="tensorrt"))
    other = OrtEngine(MODEL)
    image = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    points = np.random.default_rng(1).uniform(20, 236, (200, 2)).astype(np.float32)
    ours, theirs = (e.templates(e.encode(image), points) for e in (engine, other))
    engine.close()
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_features_of_earlier_frames_stay_what_they_were(plan: Path) -> None:
    """The window keeps them while the encoder writes new ones."""
    engine = open_engine(ModelConfig(name=str(plan), engine="tensorrt"))
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 236, (10, 2)).astype(np.float32)
    kept = engine.encode(rng.integers(0, 256, (256, 256), np.uint8))
    before = engine.templates(kept, points)
    for _ in range(5):
        engine.encode(rng.integers(0, 256, (256, 256), np.uint8))
    np.testing.assert_array_equal(engine.templates(kept, points), before)
    del kept
    engine.close()


def test_a_plan_is_taken_from_the_cache_the_second_time(plan: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(MODEL), "--out", str(tmp_path), "--points", "1,61,96"])
    assert "Taken from the cache" in result.output
    assert load_manifest(tmp_path / plan.name).sha256 == load_manifest(plan).sha256


def test_auto_takes_the_plan(plan: Path) -> None:
    engine = open_engine(ModelConfig())
    assert engine.name == "tensorrt"
    engine.close()


def test_a_plan_of_another_gpu_is_refused(plan: Path, tmp_path: Path) -> None:
    from specktrack.rt.engine_trt import _refuse_foreign
    from specktrack.rt.trt_device import Gpu

    with pytest.raises(EngineError, match="Build it again on this machine"):
        _refuse_foreign(plan, load_manifest(plan), Gpu("NVIDIA Quadro", "7.5", "12080"))


def timed(engine: Engine) -> str:
    """Milliseconds from an image on the host to evidence on the host, median and 99th percentile."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, engine.input_size, np.uint8)
    points = rng.uniform(40, 216, (64, 2)).astype(np.float32)
    template = engine.templates(engine.encode(image), points)
    times = []
    for _ in range(200):
        started = time.perf_counter()
        engine.evidence(engine.encode(image), [template] * 3, points, 21)
        times.append(1e3 * (time.perf_counter() - started))
    return f"{engine.name} {engine.precision}: {np.median(times):.2f} ms, p99 {np.percentile(times, 99):.2f} ms"
