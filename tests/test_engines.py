"""Every engine that is installed finds the same points; one that does not is refused, and `auto` says what it took."""

import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from specktrack.rt import engine_choice, precision_gate, self_check
from specktrack.rt.cache import cache_folder, recall, remember
from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import LOADERS, Engine, open_checked, open_engine
from specktrack.rt.engine_block import BlockEngine
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.engine_ort_device import OrtDeviceEngine, has_cuda
from specktrack.rt.errors import EngineError
from specktrack.rt.manifest import companion, find_model, load_manifest
from specktrack.rt.parity import Deviation, Followed, VerifyClip, compare, follow
from specktrack.rt.precision_gate import may_use_bf16, swaying_clip

MODEL = find_model("specknet-s")
PICTURE_SUMS = (8163502, 8107910)
INSTALLED = [kind for kind in ("onnxruntime", "openvino", "torch") if find_spec(kind)]


@pytest.fixture(autouse=True)
def short_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate for bfloat16 follows fewer frames than in use."""
    monkeypatch.setattr(precision_gate, "N_FRAMES", 6)


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is remembered from before, nothing is left on the user's machine."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SPECKTRACK_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def clip() -> VerifyClip:
    return swaying_clip((256, 256), n_frames=12)


@pytest.fixture(scope="module")
def followed(clip: VerifyClip) -> Followed:
    """What FP32 on ONNX Runtime finds; the export holds that against the network in torch."""
    return follow(OrtEngine(MODEL, threads=1), clip)


@pytest.mark.parametrize("kind", INSTALLED)
def test_every_installed_engine_follows_the_same_clip_to_the_same_places(
    kind: str, clip: VerifyClip, followed: Followed
) -> None:
    engine = open_engine(ModelConfig(engine=kind, threads=1))
    assert engine.name == kind
    row = compare(clip, followed, engine, kind)
    engine.close()
    assert row.is_within, row.complaint()
    assert engine.precision != "fp32" or row.p99_px <= 0.002, "rounding does not grow over the clip"


@pytest.mark.parametrize("kind", INSTALLED)
def test_the_half_precision_file_follows_too_within_its_own_bound(
    kind: str, clip: VerifyClip, followed: Followed
) -> None:
    half = companion(MODEL, load_manifest(MODEL).half, "FP16 network")
    engine = open_engine(ModelConfig(name=str(half), engine=kind, threads=1))
    row = compare(clip, followed, engine, kind)
    engine.close()
    assert row.is_within, row.complaint()


@pytest.mark.parametrize("kind", ["", ".fp16"])
def test_onnxruntime_with_features_bound_to_a_device_follows_to_the_same_places(
    kind: str, clip: VerifyClip, followed: Followed
) -> None:
    """What its CUDA provider does, on the CPU as the device."""
    engine = OrtDeviceEngine(MODEL.with_suffix(f"{kind}.onnx"), device="cpu")
    self_check.check(engine, load_manifest(MODEL))
    row = compare(clip, followed, engine, "onnxruntime")
    engine.close()
    assert row.is_within, row.complaint()


def test_onnxruntime_that_falls_back_to_the_cpu_in_silence_is_refused() -> None:
    if has_cuda():
        pytest.skip("this ONNX Runtime has CUDA")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EngineError, match="ONNX Runtime has no CUDAExecutionProvider here"),
    ):
        OrtDeviceEngine(MODEL, device="cuda")


def test_the_pictures_of_the_self_check_are_the_same_bytes_on_every_machine() -> None:
    first, second = self_check.pictures((256, 256))
    assert first.shape == second.shape == (256, 256)
    assert (int(first.sum()), int(second.sum())) == PICTURE_SUMS


class Deaf(OrtEngine):
    """An engine whose device computes rubbish."""

    name = "deaf"

    def encode(self, image: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fine, middle, coarse = super().encode(image)
        return np.roll(fine, 1, axis=1), middle, coarse


class Silent(OrtEngine):
    """An engine that answers nothing at all, as a replayed graph that was captured empty."""

    def encode(self, image: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fine, middle, coarse = super().encode(image)
        return fine * np.float32("nan"), middle, coarse


@pytest.mark.parametrize("broken", [Deaf, Silent])
def test_an_engine_that_finds_points_elsewhere_is_refused_with_the_figure(
    broken: type[OrtEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOADERS, "onnxruntime", lambda config: broken(MODEL, threads=1))
    with pytest.raises(EngineError, match=r"self-check failed, points lie up to .* px .*allowed 0\.002 px"):
        open_checked("onnxruntime", ModelConfig(engine="onnxruntime"))


def test_a_card_without_a_self_check_is_opened_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    card = load_manifest(MODEL).model_copy(update={"self_check": None})
    self_check.check(OrtEngine(MODEL, threads=1), card)
    assert "its card holds no self-check" in caplog.text


def test_auto_says_what_it_took_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = open_engine(ModelConfig(threads=1))
    assert engine.name in INSTALLED
    assert f"engine {engine.name} runs specknet-s in {engine.precision} (auto: " in caplog.text
    engine.close()


@pytest.mark.skipif("openvino" not in INSTALLED, reason="OpenVINO is not installed")
@pytest.mark.usefixtures("own_cache")
def test_auto_takes_openvino_only_where_it_was_clearly_faster_and_remembers_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(engine_choice, "_interleaved", lambda other, default: 0.5)
    assert open_engine(ModelConfig(threads=1)).name == "openvino"
    monkeypatch.setattr(engine_choice, "_interleaved", lambda other, default: 0.95)
    assert open_engine(ModelConfig(threads=1)).name == "openvino", "remembered"
    assert open_engine(ModelConfig(threads=2)).name == "onnxruntime", "another setting was asked anew"
    assert "openvino encodes in 0.50 of the time of onnxruntime" in caplog.text


@pytest.mark.usefixtures("own_cache")
def test_auto_goes_on_to_the_next_engine_when_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(LOADERS, "openvino", lambda config: Deaf(MODEL, threads=1))
    assert open_engine(ModelConfig(threads=1)).name == "onnxruntime"
    assert "openvino" not in INSTALLED or "engine deaf: self-check failed" in caplog.text


def open_as(precision: str) -> Engine:
    """ONNX Runtime that plays both precisions; FP16 stands for a faster one."""
    half = companion(MODEL, load_manifest(MODEL).half, "FP16 network")
    engine = OrtEngine(MODEL if precision == "fp32" else half, threads=1)
    engine.precision = precision
    return engine


def open_rough(precision: str) -> Engine:
    return open_as(precision) if precision == "fp32" else named_bf16(Deaf(MODEL, threads=1))


def named_bf16(engine: OrtEngine) -> OrtEngine:
    engine.precision = "bf16"
    return engine


@pytest.mark.usefixtures("own_cache")
def test_bf16_is_used_only_after_its_gate_has_passed_here() -> None:
    assert may_use_bf16(MODEL, "numpy", open_as)
    assert not may_use_bf16(MODEL, "onnxruntime", open_rough)


@pytest.mark.usefixtures("own_cache")
def test_the_gate_is_asked_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(open_in: object) -> Deviation:
        asked.append(open_in)
        return Deviation("c", "e", "bf16", 2, 0.01, 0.0, 0.01, 0.01, 0.01)

    monkeypatch.setattr(precision_gate, "_measure", measured)
    assert may_use_bf16(MODEL, "numpy", open_as)
    assert may_use_bf16(MODEL, "numpy", open_as)
    assert len(asked) == 1


@pytest.mark.usefixtures("own_cache")
def test_what_was_remembered_of_another_machine_does_not_count() -> None:
    remember("bf16", {"cpu": "this"}, {"passed": True})
    assert recall("bf16", {"cpu": "this"}) == {"passed": True}
    assert recall("bf16", {"cpu": "that"}) is None
    for stored in cache_folder().rglob("*.json"):
        stored.write_text("{half a fi", encoding="utf-8")
    assert recall("bf16", {"cpu": "this"}) is None


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECKTRACK_CACHE", str(tmp_path / "file"))
    remember("bf16", {}, {"passed": True})
    assert "what was found out is not remembered" in caplog.text


def test_the_block_engine_needs_no_model_and_no_check() -> None:
    assert isinstance(open_engine(ModelConfig(engine="block")), BlockEngine)


def test_a_model_exported_without_matching_graphs_says_what_to_do(tmp_path: Path) -> None:
    from specktrack.rt.engine_torch import matching_files

    card = load_manifest(MODEL).model_copy(update={"match": None})
    with pytest.raises(EngineError, match=r"exported without its matching graph; export the model again"):
        matching_files(MODEL, card)
