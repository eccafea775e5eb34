"""A model file and its card: they belong together, or the runtime refuses with the reason."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from specktrack.rt.config import ModelConfig
from specktrack.rt.engine import open_engine
from specktrack.rt.errors import EngineError
from specktrack.rt.fusion import save_fusion, steady_weights
from specktrack.rt.manifest import (
    FileRef,
    file_sha256,
    find_model,
    load_manifest,
    manifest_path,
    save_manifest,
    shipped_models,
)


def test_specknet_s_is_shipped_small_and_says_what_it_is() -> None:
    path = find_model("specknet-s")
    card = load_manifest(path)
    assert "specknet-s" in shipped_models()
    assert path.stat().st_size < 5 * 1024 * 1024
    assert path.with_name(card.fusion.file).stat().st_size < 1024 * 1024
    assert card.opset == 18
    assert card.notice == "Research use only. Not a medical device."
    assert card.training is not None
    assert card.parity is not None
    assert card.parity.max_px < 0.002


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped model with its card and fusion weights in a folder of its own."""
    shipped = find_model("specknet-s")
    for path in shipped.parent.glob(f"{shipped.stem}.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / shipped.name


def test_a_model_that_was_copied_with_all_its_files_opens(copied: Path) -> None:
    engine = open_engine(ModelConfig(name=str(copied), threads=1))
    assert engine.model == "specknet-s"
    assert engine.fusion is not None


def test_a_changed_model_file_is_refused(copied: Path) -> None:
    copied.write_bytes(copied.read_bytes() + b"\0")
    with pytest.raises(EngineError, match=r"sha256 .* differs from its manifest's"):
        load_manifest(copied)


def fusion_of(model: Path) -> Path:
    return model.with_name(load_manifest(model).fusion.file)


def test_missing_fusion_weights_are_named(copied: Path) -> None:
    fusion_of(copied).unlink()
    with pytest.raises(EngineError, match=r"its fusion weights specknet-s\.fusion\.npz are missing") as failure:
        open_engine(ModelConfig(name=str(copied)))
    assert "\n" not in str(failure.value)


def test_fusion_weights_of_another_model_are_refused(copied: Path) -> None:
    arrays = steady_weights()
    arrays["out_bias"][0] = 0.5
    save_fusion(fusion_of(copied), arrays)
    with pytest.raises(EngineError, match=r"specknet-s\.fusion\.npz: differs from its manifest; copy all") as failure:
        open_engine(ModelConfig(name=str(copied)))
    assert "\n" not in str(failure.value)


def test_fusion_weights_of_another_version_are_refused_with_the_file(copied: Path) -> None:
    """The card fits, the arrays do not: exported by a version that measured something else."""
    old = {key: value for key, value in steady_weights().items() if key != "gates_state"}
    np.savez(fusion_of(copied), **old)
    reference = FileRef(file=fusion_of(copied).name, sha256=file_sha256(fusion_of(copied)))
    save_manifest(load_manifest(copied).model_copy(update={"fusion": reference}), copied)
    with pytest.raises(EngineError, match=r"specknet-s\.fusion\.npz: .*gates_state missing.*export the model again"):
        open_engine(ModelConfig(name=str(copied)))


def test_a_card_of_an_earlier_version_is_refused_in_one_sentence(copied: Path) -> None:
    card = json.loads(manifest_path(copied).read_text(encoding="utf-8"))
    card["recent_weights"] = card.pop("fusion")
    manifest_path(copied).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(
        EngineError, match=r"specknet-s\.json: not a valid manifest .* export the model again"
    ) as failure:
        load_manifest(copied)
    assert "\n" not in str(failure.value)


def test_a_model_without_its_card_is_refused(tmp_path: Path) -> None:
    shutil.copy(find_model("specknet-s"), tmp_path / "alone.onnx")
    with pytest.raises(EngineError, match=r"its manifest alone.json is missing"):
        load_manifest(tmp_path / "alone.onnx")


def test_an_unknown_model_name_lists_the_known_ones() -> None:
    with pytest.raises(EngineError, match=r"model specknet-xl: not shipped; known are specknet-b, specknet-s, block"):
        open_engine(ModelConfig(name="specknet-xl"))


def test_an_engine_that_is_not_installed_names_what_is_missing() -> None:
    with pytest.raises(EngineError, match="engine tensorrt: "):
        open_engine(ModelConfig(engine="tensorrt"))


def test_auto_opens_an_engine_for_a_shipped_network_and_block_for_block() -> None:
    assert open_engine(ModelConfig()).name != "block"
    assert open_engine(ModelConfig(name="block")).name == "block"
