"""A model file and its card: they belong together, or the runtime refuses with the reason."""

import shutil
from pathlib import Path

import pytest

from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import open_engine
from specktrack.rt.errors import EngineError
from specktrack.rt.manifest import find_model, load_manifest, manifest_path, shipped_models


def test_specknet_s_is_shipped_small_and_says_what_it_is() -> None:
    path = find_model("specknet-s")
    card = load_manifest(path)
    assert "specknet-s" in shipped_models()
    assert path.stat().st_size < 5 * 1024 * 1024
    assert card.opset == 18
    assert card.notice == "Research use only. Not a medical device."
    assert card.training is not None
    assert card.parity is not None
    assert card.parity.max_px < 0.002


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "specknet-s.onnx"
    shutil.copy(find_model("specknet-s"), copy)
    shutil.copy(manifest_path(find_model("specknet-s")), manifest_path(copy))
    copy.write_bytes(copy.read_bytes() + b"\0")
    with pytest.raises(EngineError, match=r"sha256 .* differs from its manifest's"):
        load_manifest(copy)


def test_a_model_without_its_card_is_refused(tmp_path: Path) -> None:
    shutil.copy(find_model("specknet-s"), tmp_path / "alone.onnx")
    with pytest.raises(EngineError, match=r"its manifest alone.json is missing"):
        load_manifest(tmp_path / "alone.onnx")


def test_an_unknown_model_name_lists_the_known_ones() -> None:
    with pytest.raises(EngineError, match=r"model specknet-xl: not shipped; known are specknet-s, block"):
        open_engine(ModelConfig(name="specknet-xl"))


def test_an_engine_of_a_later_version_is_named_as_such() -> None:
    with pytest.raises(EngineError, match="engine tensorrt: not in this version"):
        open_engine(ModelConfig(engine="tensorrt"))


def test_auto_opens_onnxruntime_for_a_shipped_network_and_block_for_block() -> None:
    assert open_engine(ModelConfig()).name == "onnxruntime"
    assert open_engine(ModelConfig(name="block")).name == "block"
