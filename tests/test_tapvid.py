"""Clips in the layout of TAP-Vid: brought to our pixels and words, or refused in one sentence."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_clips import centroid, dot_image, moving_dots

from specktrack.rt.errors import InputError
from specktrack.training.clip_format import check_clip, clip_files, load_clip
from specktrack.training.tapvid import ASSUMED_RATE_HZ

Fields = dict[str, Any]
CLIP = moving_dots(n_frames=4, n_points=3, height=40, width=60)
SIZE = np.array([60, 40])


def tapvid_fields(as_shares: bool = True) -> Fields:
    """The clip as TAP-Vid writes it: from the frame's edges, occluded instead of visible."""
    edges = np.clip(CLIP.tracks, 0, 39) + 0.5
    return {
        "video": np.repeat(CLIP.frames[..., None], 3, -1),
        "target_points": edges / SIZE if as_shares else edges,
        "occluded": np.zeros((3, 4), bool),
    }


def read(path: Path, fields: Fields) -> Any:
    np.savez(path / "clip.npz", **fields)
    return load_clip(path / "clip.npz")


@pytest.mark.parametrize("as_shares", [True, False], ids=["shares of the frame", "pixels"])
def test_points_come_to_pixels_with_centres_at_integers(tmp_path: Path, as_shares: bool) -> None:
    clip = read(tmp_path, tapvid_fields(as_shares))
    assert clip.tracks == pytest.approx(np.clip(CLIP.tracks, 0, 39), abs=1e-4)
    assert clip.tracks.dtype == np.float32
    assert np.array_equal(clip.frames, CLIP.frames)
    assert clip.visible.all()
    assert (clip.frame_rate_hz, clip.mm_per_px, clip.query_frame) == (ASSUMED_RATE_HZ, None, None)


def test_a_dot_lies_where_its_point_says(tmp_path: Path) -> None:
    """A dot drawn in the middle of an odd number of pixels is at half of width and height."""
    dot = dot_image(np.array([[20.0, 15.0]], np.float32), 31, 41)
    fields = {"video": dot[None], "target_points": np.array([[[0.5, 0.5]]]), "occluded": np.zeros((1, 1), bool)}
    clip = read(tmp_path, fields)
    assert centroid(clip.frames[0], clip.tracks[0, 0]) == pytest.approx(clip.tracks[0, 0], abs=1e-3)


def test_occluded_points_are_not_visible_and_may_lie_anywhere(tmp_path: Path) -> None:
    fields = tapvid_fields()
    fields["occluded"][1, 2] = True
    fields["target_points"][1, 2] = np.nan
    fields["occluded"][2, 0] = True
    fields["target_points"][2, 0] = 7.5  # far outside, and no sign of pixels
    clip = read(tmp_path, fields)
    assert not clip.visible[1, 2]
    assert clip.visible.sum() == 10
    assert clip.tracks[0] == pytest.approx(np.clip(CLIP.tracks, 0, 39)[0], abs=1e-4)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    fields = tapvid_fields()
    fields["video"] = np.zeros((4, 40, 60, 3), np.uint8)
    fields["video"][..., 1] = 200
    assert (read(tmp_path, fields).frames == round(0.587 * 200)).all()


@pytest.mark.parametrize("video", [CLIP.frames, CLIP.frames[..., None]], ids=["[T, H, W]", "[T, H, W, 1]"])
def test_grey_video_stays_as_it_is(tmp_path: Path, video: np.ndarray) -> None:
    assert np.array_equal(read(tmp_path, {**tapvid_fields(), "video": video}).frames, CLIP.frames)


def test_the_short_name_of_the_points_is_known(tmp_path: Path) -> None:
    fields = tapvid_fields()
    fields["points"] = fields.pop("target_points")
    assert read(tmp_path, fields).tracks.shape == (3, 4, 2)


def test_queries_in_one_frame_make_it_the_query_frame(tmp_path: Path) -> None:
    query = np.array([[2, 5.0, 6.0], [2, 7.0, 8.0], [2, 9.0, 9.0]])
    assert read(tmp_path, {**tapvid_fields(), "query_points": query}).query_frame == 2
    query[0, 0] = 1
    assert read(tmp_path, {**tapvid_fields(), "query_points": query}).query_frame is None


def test_frame_rate_and_pixel_size_beside_the_video_are_kept(tmp_path: Path) -> None:
    clip = read(tmp_path, {**tapvid_fields(), "frame_rate_hz": 61.0, "mm_per_px": [0.3, 0.4], "view": "a4c"})
    assert (clip.frame_rate_hz, clip.mm_per_px, clip.view) == (61.0, (0.3, 0.4), "a4c")


def without(key: str) -> Callable[[Fields], None]:
    return lambda fields: fields.pop(key)


def with_value(key: str, value: Any) -> Callable[[Fields], None]:
    return lambda fields: fields.update({key: value})


def at_point(value: tuple[float, float]) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        fields["target_points"][1, 2] = value

    return change


WRONG = [
    (without("target_points"), "target_points missing; a TAP-Vid clip has"),
    (without("occluded"), "occluded missing"),
    (with_value("video", np.zeros((4, 40, 60, 3), np.float32)), r"video must be uint8 \[T, H, W\] .* float32"),
    (with_value("video", np.zeros((4, 40, 60, 2), np.uint8)), "video must be uint8"),
    (with_value("video", np.zeros((0, 40, 60), np.uint8)), "target_points must be"),
    (with_value("target_points", np.zeros((3, 5, 2))), r"target_points must be float32 \[N, 4, 2\]"),
    (with_value("occluded", np.zeros((4, 3), bool)), r"occluded must be bool \[3, 4\]"),
    (with_value("occluded", np.zeros((3, 4))), "occluded must be bool"),
    (with_value("query_points", np.zeros((3, 2))), r"query_points must be finite \[3, 3\]"),
    (with_value("query_points", np.full((3, 3), 9.0)), "query_frame must be frame numbers from 0 to 3"),
    (at_point((np.nan, 0.5)), "a visible point is NaN"),
    (at_point((1.1, 0.5)), "outside the 60x40 frame"),
    (at_point((0.5, -0.1)), "outside the 60x40 frame"),
]


@pytest.mark.parametrize(("spoil", "expected"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_a_wrong_file_is_refused_in_one_sentence_also_without_decoding_it(
    tmp_path: Path, spoil: Callable[[Fields], None], expected: str
) -> None:
    fields = tapvid_fields()
    spoil(fields)
    path = tmp_path / "wrong.npz"
    np.savez(path, **fields)
    for refuse in (load_clip, lambda file: check_clip(file, 1)):
        with pytest.raises(InputError, match=rf"wrong\.npz: .*{expected}") as failure:
            refuse(path)
        assert "\n" not in str(failure.value)


def test_a_pickle_is_never_opened_and_the_sentence_says_how_to_convert_it(tmp_path: Path) -> None:
    path = tmp_path / "tapvid_davis.pkl"
    path.write_bytes(b"whatever")
    for refuse in (load_clip, lambda file: clip_files(file.parent)):
        with pytest.raises(InputError, match=r"tapvid_davis\.pkl: a pickled file .*numpy\.savez") as failure:
            refuse(path)
        assert "\n" not in str(failure.value)


def test_a_pickle_beside_clips_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "old.pkl").write_bytes(b"whatever")
    np.savez(tmp_path / "clip.npz", **tapvid_fields())
    assert [path.name for path in clip_files(tmp_path)] == ["clip.npz"]


def test_the_manual_turns_a_pickle_of_clips_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manual = (Path(__file__).parents[1] / "docs" / "clip-format.md").read_text(encoding="utf-8")
    code = manual.partition("## Clips in the layout of TAP-Vid")[2].partition("```python\n")[2].partition("```")[0]
    fields = tapvid_fields()
    item = {"video": fields["video"], "points": fields["target_points"], "occluded": fields["occluded"]}
    (tmp_path / "tapvid.pkl").write_bytes(pickle.dumps({"heart-1": item, "heart-2": item}))
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert [path.name for path in clip_files(tmp_path / "clips")] == ["heart-1.npz", "heart-2.npz"]
    back = load_clip(tmp_path / "clips" / "heart-1.npz")
    assert back.tracks == pytest.approx(np.clip(CLIP.tracks, 0, 39), abs=1e-4)
