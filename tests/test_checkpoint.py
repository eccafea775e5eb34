"""Checkpoints: whole or not at all, and never code."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def sample(step: int = 3) -> Checkpoint:
    state = {"network": {"w": torch.arange(6.0).view(2, 3)}, "generator": torch.Generator().get_state()}
    return Checkpoint("specknet-s", step, state, {"steps": 6, "recent_lags": [4, 1]})


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.pt"  # the folder is made
    save_checkpoint(path, sample())
    back = load_checkpoint(path)
    assert (back.model, back.step, back.settings) == ("specknet-s", 3, {"steps": 6, "recent_lags": [4, 1]})
    assert torch.equal(back.state["network"]["w"], sample().state["network"]["w"])
    assert torch.equal(back.state["generator"], sample().state["generator"])


def test_a_missing_checkpoint_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: no such checkpoint; train one with train-tracker"):
        load_checkpoint(tmp_path / "none.pt")


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"model": "x"}, 2), pickle.dumps(Trap(), 2)],
    ids=["empty", "text", "pickle", "code"],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wrong.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.pt: not a specktrack checkpoint") as failure:
        load_checkpoint(path)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "trapped").exists()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not a specktrack checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_objects_in_a_checkpoint_are_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Trap(), "step": 0, "state": {}, "settings": {}}, tmp_path / "trap.pt")
    with pytest.raises(InputError, match="not a specktrack checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "trapped").exists()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    save_checkpoint(path, sample())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a specktrack checkpoint"):
        load_checkpoint(path)


def test_a_stopped_save_keeps_the_last_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, sample(step=3))

    def stop_half_way(_: Any, partial: Path) -> None:
        partial.write_bytes(b"half a ch")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, sample(step=6))
    assert load_checkpoint(path).step == 3
