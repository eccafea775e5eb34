"""Training clips on disk: what goes in comes out, and every wrong file is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_clips import moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import check_clip, clip_files, load_clip, save_clip

Fields = dict[str, Any]


def good_fields() -> Fields:
    clip = moving_dots(n_frames=4, n_points=3, height=40, width=60)
    return {
        "frames": clip.frames,
        "tracks": np.clip(clip.tracks, 0, 39),
        "visible": clip.visible,
        "frame_rate_hz": 50.0,
        "mm_per_px": np.array([0.4, 0.5]),
    }


def without(key: str) -> Callable[[Fields], None]:
    return lambda fields: fields.pop(key)


def with_value(key: str, value: Any) -> Callable[[Fields], None]:
    return lambda fields: fields.update({key: value})


def moved(point: int, frame: int, x: float, y: float) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        fields["tracks"] = fields["tracks"].copy()
        fields["tracks"][point, frame] = x, y

    return change


WRONG = [
    (without("frames"), "frames missing"),
    (without("tracks"), "tracks missing"),
    (without("visible"), "visible missing"),
    (without("frame_rate_hz"), "frame_rate_hz missing"),
    (with_value("frames", np.zeros((4, 40, 60), np.float32)), "frames must be uint8"),
    (with_value("frames", np.zeros((4, 40, 60, 3), np.uint8)), r"frames must be uint8 \[T, H, W\]"),
    (with_value("frames", np.zeros((0, 40, 60), np.uint8)), "at least one frame"),
    (with_value("tracks", np.zeros((3, 5, 2), np.float32)), r"tracks must be float32 \[N, 4, 2\]"),
    (with_value("tracks", np.zeros((3, 4, 3), np.float32)), r"tracks must be float32 \[N, 4, 2\]"),
    (with_value("tracks", np.full((3, 4, 2), "a")), r"tracks must be float32 \[N, 4, 2\]"),
    (with_value("tracks", np.zeros((0, 4, 2), np.float32)), "at least one track"),
    (with_value("visible", np.ones((4, 3), bool)), r"visible must be bool \[3, 4\]"),
    (with_value("visible", np.ones((3, 4), np.float32)), "visible must be bool"),
    (moved(0, 1, np.nan, 5.0), "mark it invisible"),
    (moved(1, 2, np.inf, 5.0), "mark it invisible"),
    (moved(1, 2, 60.0, 5.0), "outside the 60x40 frame; mark it invisible"),
    (moved(1, 2, 5.0, -3.0), "outside the 60x40 frame"),
    (with_value("frame_rate_hz", 0.0), "frame_rate_hz must be 1 number above zero"),
    (with_value("frame_rate_hz", np.nan), "frame_rate_hz must be"),
    (with_value("frame_rate_hz", np.array([50.0, 60.0])), "frame_rate_hz must be"),
    (with_value("mm_per_px", 0.4), "mm_per_px must be 2 numbers above zero"),
    (with_value("mm_per_px", np.array([0.4, -0.4])), "mm_per_px must be"),
    (with_value("ed_frames", np.array([0, 4])), "ed_frames must be frame numbers from 0 to 3"),
    (with_value("es_frames", np.array([1.5])), "es_frames must be frame numbers"),
    (with_value("wall_depth", np.zeros(4, np.float32)), r"wall_depth must be float32 \[3\]"),
    (with_value("wall_depth", np.array([0.0, 1.2, np.nan])), "wall_depth must be from 0 to 1, .* found 1.2"),
    (with_value("phase", np.zeros(3, np.float32)), r"phase must be float32 \[4\]"),
    (with_value("phase", np.array([0.0, 0.5, 1.0, np.nan])), r"phase must be in \[0, 1\), .* found 1"),
    (with_value("phase", np.array([0.0, -0.5, 0.9, np.nan])), r"phase must be in \[0, 1\), .* found -0.5"),
    (with_value("contour", np.zeros((9, 5, 2), np.float32)), r"contour must be float32 \[K, 4, 2\]"),
    (with_value("contour", np.zeros((1, 4, 2), np.float32)), "with K at least 2"),
    (with_value("contour", np.full((9, 4, 2), np.nan)), "contour has NaN"),
    (with_value("query_frame", np.int64(4)), "query_frame must be frame numbers from 0 to 3"),
    (with_value("query_frame", np.array([1, 2])), "query_frame must be one frame number"),
]


def refused(path: Path) -> str:
    with pytest.raises(InputError) as failure:
        load_clip(path)
    sentence = str(failure.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_a_clip_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    clip = moving_dots(seed=3)
    save_clip(tmp_path / f"{clip.name}.npz", clip)
    back = load_clip(tmp_path / f"{clip.name}.npz")
    for name in ("frames", "tracks", "visible"):
        assert np.array_equal(getattr(back, name), getattr(clip, name)), name
        assert getattr(back, name).dtype == getattr(clip, name).dtype
    for name in ("name", "frame_rate_hz", "mm_per_px", "ed_frames", "es_frames", "view"):
        assert getattr(back, name) == getattr(clip, name), name


def test_a_clip_without_pixel_size_or_beats_comes_back_without_them(tmp_path: Path) -> None:
    clip = replace(moving_dots(), mm_per_px=None, ed_frames=(), es_frames=(), view="")
    save_clip(tmp_path / "plain.npz", clip)
    back = load_clip(tmp_path / "plain.npz")
    assert (back.mm_per_px, back.ed_frames, back.es_frames, back.view) == (None, (), (), "")


def test_truth_about_wall_contour_and_beat_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = replace(
        moving_dots(n_frames=4, n_points=3),
        ed_frames=(0,),
        wall_depth=np.array([0.0, np.nan, 1.0], np.float32),
        contour=rng.uniform(-5, 70, (9, 4, 2)).astype(np.float32),
        phase=np.array([0.7, 0.9, np.nan, 0.1], np.float32),
        query_frame=0,
    )
    save_clip(tmp_path / "truth.npz", clip)
    back = load_clip(tmp_path / "truth.npz")
    for name in ("wall_depth", "contour", "phase"):
        assert np.array_equal(getattr(back, name), getattr(clip, name), equal_nan=True), name
        assert getattr(back, name).dtype == np.float32
    assert back.query_frame == 0


def test_a_clip_without_truth_about_wall_and_beat_comes_back_without_it(tmp_path: Path) -> None:
    save_clip(tmp_path / "plain.npz", moving_dots())
    back = load_clip(tmp_path / "plain.npz")
    assert (back.wall_depth, back.contour, back.phase, back.query_frame) == (None, None, None, None)


def test_a_phase_that_rounds_up_to_one_is_saved_as_the_start_of_a_beat(tmp_path: Path) -> None:
    phase = np.array([0.5, 1 - 1e-12, 0.1, 0.2])
    save_clip(tmp_path / "round.npz", replace(moving_dots(n_frames=4), ed_frames=(), phase=phase))
    back = load_clip(tmp_path / "round.npz")
    assert back.phase is not None
    assert back.phase[1] == 0


def test_a_clip_is_checked_without_decoding_its_frames(tmp_path: Path) -> None:
    """Frames whose bytes are damaged pass the check of shapes and fail when they are read."""
    path = tmp_path / "clip.npz"
    np.savez(path, **good_fields())
    check_clip(path, 4)
    with pytest.raises(InputError, match="4 frames, but training needs 5"):
        check_clip(path, 5)
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"frames.npy") + 3000
    whole[middle] ^= 255
    path.write_bytes(whole)
    check_clip(path, 4)
    assert "not a readable .npz clip" in refused(path)


def test_hidden_points_may_be_nan_or_outside(tmp_path: Path) -> None:
    fields = good_fields()
    fields["tracks"][0, 1], fields["tracks"][1, 2] = np.nan, (500.0, -20.0)
    fields["visible"][0, 1] = fields["visible"][1, 2] = False
    np.savez(tmp_path / "hidden.npz", **fields)
    assert np.isnan(load_clip(tmp_path / "hidden.npz").tracks[0, 1]).all()


def test_a_clip_written_with_plain_numpy_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", **good_fields())
    clip = load_clip(tmp_path / "plain.npz")
    assert clip.mm_per_px == (0.4, 0.5)
    assert clip.tracks.dtype == np.float32


@pytest.mark.parametrize(("spoil", "expected"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_a_wrong_clip_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, spoil: Callable[[Fields], None], expected: str
) -> None:
    fields = good_fields()
    spoil(fields)
    path = tmp_path / "wrong.npz"
    np.savez(path, **fields)
    with pytest.raises(InputError, match=expected):
        load_clip(path)
    with pytest.raises(InputError, match=expected):
        check_clip(path, 1)
    refused(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "numpy.savez" in refused(tmp_path / "nowhere.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    path.write_text("hello, I am not a clip")
    assert "numpy.savez" in refused(path)


def test_a_single_array_named_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "array.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 8, 8), np.uint8))
    assert "numpy.savez" in refused(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.npz"
    save_clip(path, moving_dots())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path)


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    save_clip(path, moving_dots())
    bytes_ = bytearray(path.read_bytes())
    bytes_[200:260] = bytes(60)
    path.write_bytes(bytes_)
    refused(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    fields = good_fields()
    fields["frames"] = np.array([{"a": 1}], object)
    np.savez(tmp_path / "objects.npz", **fields)
    refused(tmp_path / "objects.npz")


def test_a_stopped_save_leaves_nothing_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_half_way(file: Any, **_: Any) -> None:
        file.write(b"half a cl")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        save_clip(tmp_path / "clip.npz", moving_dots())
    assert list(tmp_path.glob("*.npz")) == []


def test_a_stopped_save_keeps_the_clip_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.npz"
    save_clip(path, moving_dots(seed=1))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_clip(path, moving_dots(seed=2))
    assert np.array_equal(load_clip(path).frames, moving_dots(seed=1).frames)


def test_an_empty_folder_is_refused_with_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="simulate-echo --out"):
        clip_files(tmp_path)


def test_clips_of_a_folder_come_in_name_order(tmp_path: Path) -> None:
    for name in ("b.npz", "a.npz", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in clip_files(tmp_path)] == ["a.npz", "b.npz"]


def test_the_example_of_the_manual_writes_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual = (Path(__file__).parents[1] / "docs" / "clip-format.md").read_text(encoding="utf-8")
    code = manual.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    clip = moving_dots(n_frames=4)
    tracks = clip.tracks.copy()
    tracks[0, 1] = np.nan
    exec(code, {"grey_frames": list(clip.frames), "annotated": tracks})
    back = load_clip(tmp_path / "clips" / "patient-01.npz")
    assert np.array_equal(back.frames, clip.frames)
    assert not back.visible[0, 1]
