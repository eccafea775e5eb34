"""A user brings four annotated clips: they are trained on from start to end, or refused in one sentence."""

import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clips import moving_dots
from tiny_runs import STEPS, command, losses_of, save_four_clips, settings_of

from specktrack.rt.errors import InputError
from specktrack.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
    initial_weights,
    load_checkpoint,
    save_checkpoint,
)
from specktrack.training.config import TrainConfig
from specktrack.training.specknet import build
from specktrack.training.train import Trainer

FINETUNE = Path(__file__).parents[1] / "configs" / "train" / "finetune.yaml"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def test_four_clips_fine_tune_the_shipped_network_in_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out = save_four_clips(tmp_path / "clips"), tmp_path / "mine"
    assert command(monkeypatch, str(FINETUNE), *settings_of(clips, out)) == 0
    assert f"Trained to step {STEPS}" in capsys.readouterr().out
    shipped, tuned = load_checkpoint(find_checkpoint("specknet-s")), load_checkpoint(out / "network.pt")
    first, second = (c.state["network"]["stem.0.weight"] for c in (shipped, tuned))
    change = float((first - second).norm() / first.norm())
    assert 0 < change < 0.1  # begun where the shipped network ended
    assert all(np.isfinite(float(row[1])) for row in losses_of(out)[1:])
    assert command(monkeypatch, str(FINETUNE), *settings_of(clips, out), "--resume") == 0


def test_a_run_is_never_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out = save_four_clips(tmp_path / "clips"), tmp_path / "mine"
    arguments = [str(FINETUNE), *settings_of(clips, out, steps=1)]
    assert command(monkeypatch, *arguments) == 0
    assert command(monkeypatch, *arguments) == 2
    assert "holds a run already; add --resume" in capsys.readouterr().err


def test_clips_of_both_layouts_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = save_four_clips(tmp_path / "clips")
    clip = moving_dots(n_frames=7, height=80, width=96)
    edges = (np.clip(clip.tracks, 0, 79) + 0.5) / [96, 80]
    occluded = np.zeros(clip.visible.shape, bool)
    np.savez(clips / "tapvid.npz", video=clip.frames, target_points=edges, occluded=occluded)
    assert command(monkeypatch, str(FINETUNE), *settings_of(clips, tmp_path / "out", steps=3)) == 0


def test_a_run_can_start_from_the_checkpoint_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = save_four_clips(tmp_path / "clips")
    assert command(monkeypatch, str(FINETUNE), *settings_of(clips, tmp_path / "one", steps=2)) == 0
    for name in ("last.pt", "network.pt"):  # of both the averaged weights are taken
        start = tmp_path / "one" / name
        trainer = Trainer(TrainConfig(init_from=str(start), threads=1))
        trainer.initialise()
        small = load_checkpoint(tmp_path / "one" / "network.pt").state
        for key, value in trainer.network.state_dict().items():
            assert torch.equal(value, small["network"][key]), key
        for key, value in trainer.average.state_dict()["network"].items():
            assert torch.equal(value, small["network"][key]), key


def test_a_narrow_network_cannot_begin_from_a_wide_one(tmp_path: Path) -> None:
    wide = Checkpoint("specknet-b", 0, {"network": build("specknet-b").state_dict()}, {})
    save_checkpoint(tmp_path / "wide.pt", wide)
    with pytest.raises(InputError, match=r"init_from: .*wide.pt holds specknet-b; .*no whole multiple"):
        initial_weights(str(tmp_path / "wide.pt"), "specknet-s")


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("nowhere.pt", "specknet-s", "no such checkpoint"),
        ("specknet-x", "specknet-s", "not a checkpoint file and not a shipped network; shipped are: .*specknet-s"),
    ],
)
def test_weights_that_do_not_fit_are_refused(name: str, model: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as failure:
        initial_weights(name, model)
    assert "\n" not in str(failure.value)


Fields = dict[str, Any]


def good_fields() -> Fields:
    clip = moving_dots(n_frames=7, height=80, width=96)
    tracks = np.clip(clip.tracks, 0, 79)
    return {"frames": clip.frames, "tracks": tracks, "visible": clip.visible, "frame_rate_hz": 50.0}


def changed(key: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A clip with one array changed, or left out where `change` gives None."""

    def write(path: Path) -> None:
        fields = good_fields()
        value = change(fields.pop(key))
        if value is not None:
            fields[key] = value
        np.savez(path, **fields)

    return write


def at_point(value: tuple[float, float]) -> Callable[[Any], Any]:
    def change(tracks: np.ndarray) -> np.ndarray:
        tracks[2, 3] = value
        return tracks

    return change


def too_few_frames(path: Path) -> None:
    fields = good_fields()
    tracks, visible = fields["tracks"][:, :4], fields["visible"][:, :4]
    np.savez(path, **{**fields, "frames": fields["frames"][:4], "tracks": tracks, "visible": visible})


MALFORMED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "float frames": (changed("frames", lambda f: f / 255), r"frames must be uint8 \[T, H, W\], found float64"),
    "colour frames": (changed("frames", lambda f: np.stack([f] * 3, -1)), r"found uint8 \[7, 80, 96, 3\]"),
    "tracks turned": (changed("tracks", lambda t: t.transpose(1, 0, 2)), r"tracks must be float32 \[N, 7, 2\]"),
    "text tracks": (changed("tracks", lambda t: t.astype(str)), r"tracks must be float32 .* found <U"),
    "NaN": (changed("tracks", at_point((np.nan, 5.0))), "a visible point is NaN or infinite; mark it invisible"),
    "outside": (changed("tracks", at_point((200.0, 5.0))), "outside the 96x80 frame; mark it invisible"),
    "no tracks": (changed("tracks", lambda _: None), "tracks missing"),
    "no frame rate": (changed("frame_rate_hz", lambda _: None), "frame_rate_hz missing"),
    "visible turned": (changed("visible", lambda v: v.T), r"visible must be bool \[5, 7\]"),
    "too few frames": (too_few_frames, "4 frames, but training needs 5"),
    "not an archive": (lambda path: path.write_text("x,y\n1,2\n"), "not a readable .npz clip"),
    "empty file": (lambda path: path.touch(), "not a readable .npz clip"),
    "pickled file": (lambda path: path.write_bytes(pickle.dumps(good_fields())), "not a readable .npz clip"),
    "pickled array": (
        changed("frames", lambda f: np.array([f, None], object)),
        "not a readable .npz clip .*objects",
    ),
    "pickled TAP-Vid": (
        lambda path: path.with_suffix(".pkl").write_bytes(pickle.dumps({"heart": {}})),
        "a pickled file can run code when it is opened",
    ),
}


@pytest.mark.parametrize(("write", "expected"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_clip_is_refused_before_the_first_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], Any],
    expected: str,
) -> None:
    clips = tmp_path / "clips"
    if expected.startswith("a pickled file"):
        clips.mkdir()  # nothing else in it
    else:
        save_four_clips(clips)
    write(clips / "spoilt.npz")
    assert command(monkeypatch, str(FINETUNE), *settings_of(clips, tmp_path / "out")) == 2
    said = capsys.readouterr().err
    sentence = next(line for line in said.splitlines() if line.startswith("error: "))
    assert "spoilt." in sentence
    assert re.search(expected, sentence), sentence
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
