import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError
from specktrack.rt.frame_index import burn_index, read_index


def speckle(count: int, height: int = 64, width: int = 176) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width), np.uint8)


def write_video(path: Path, frames: NDArray[np.uint8], rate_hz: float = 50.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, frames.shape[2:0:-1], isColor=True)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def shared_clip() -> Path:
    folder = Path(os.environ.get("SPECKTRACK_SHARED", Path(__file__).parents[2] / "shared"))
    clip = folder / "clips" / "a4c.mp4"
    if not clip.exists():
        pytest.skip("the shared clips are not here; set SPECKTRACK_SHARED to their folder")
    return clip


def test_a_numpy_clip_gives_its_frames_unchanged_on_every_pass(tmp_path: Path) -> None:
    frames = speckle(5)
    np.save(tmp_path / "clip.npy", frames)
    clip = open_clip(tmp_path / "clip.npy")
    assert clip.frame_count == 5
    for _ in range(2):
        np.testing.assert_array_equal(np.stack(list(clip.frames())), frames)


def test_an_npz_clip_carries_its_frame_rate_and_pixel_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", frames=speckle(3), frame_rate_hz=54.0, mm_per_px=np.array([0.4, 0.5]))
    clip = open_clip(tmp_path / "clip.npz")
    assert clip.frame_rate_hz == 54.0
    assert clip.geometry.mm_per_px == (0.4, 0.5)
    assert (clip.geometry.height_px, clip.geometry.width_px) == (64, 176)


def test_colour_frames_become_grey(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.repeat(speckle(2)[..., None], 3, axis=3))
    grey = np.stack(list(open_clip(tmp_path / "clip.npy").frames()))
    np.testing.assert_array_equal(grey, speckle(2))


def test_a_video_is_decoded_frame_by_frame_with_its_rate(tmp_path: Path) -> None:
    frames = np.stack([burn_index(np.full((64, 176), 90, np.uint8), i) for i in range(12)])
    clip = open_clip(write_video(tmp_path / "clip.mp4", frames))
    assert clip.frame_rate_hz == pytest.approx(50.0)
    assert clip.frame_count == 12
    assert [read_index(frame) for frame in clip.frames()] == list(range(12))


def test_the_real_clip_opens_with_its_size_and_length() -> None:
    clip = open_clip(shared_clip())
    assert (clip.geometry.width_px, clip.geometry.height_px, clip.frame_count) == (1024, 768, 45)
    assert sum(1 for _ in clip.frames()) == 45


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mp4: no such file; give"):
        open_clip(tmp_path / "nothing.mp4")


@pytest.mark.parametrize("content", [b"", b"hello, this is no video\n" * 500, bytes(range(256)) * 64])
@pytest.mark.parametrize("suffix", [".mp4", ".npz", ".npy", ".txt", ""])
def test_junk_under_any_name_is_one_sentence(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_clip(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        (np.zeros((4, 32, 32), np.float32), "float32, expected uint8"),
        (np.full((4, 32, 32), np.nan), "NaN"),
        (np.zeros((32, 32), np.uint8), "shape"),
        (np.zeros((4, 32, 32, 4), np.uint8), "shape"),
        (np.zeros((0, 32, 32), np.uint8), "no frames"),
        (np.zeros((4, 8, 32), np.uint8), "at least 16"),
    ],
)
def test_frames_of_a_wrong_kind_are_refused(tmp_path: Path, frames: NDArray[np.uint8], complaint: str) -> None:
    np.savez(tmp_path / "clip.npz", frames=frames)
    with pytest.raises(InputError, match=complaint):
        open_clip(tmp_path / "clip.npz")


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"mm_per_px": np.array([0.1])}, "mm_per_px"),
        ({"mm_per_px": np.array([0.1, np.nan])}, "mm_per_px"),
        ({"frame_rate_hz": 0.0}, "frame_rate_hz"),
        ({"frame_rate_hz": "fast"}, "frame_rate_hz"),
    ],
)
def test_impossible_rates_and_pixel_sizes_are_refused(tmp_path: Path, extra: dict[str, object], complaint: str) -> None:
    np.savez(tmp_path / "clip.npz", frames=speckle(2), **extra)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=complaint):
        open_clip(tmp_path / "clip.npz")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", frames=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="plain numeric array"):
        open_clip(tmp_path / "clip.npz")


def test_an_archive_without_frames_lists_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", images=speckle(2))
    with pytest.raises(InputError, match="found images"):
        open_clip(tmp_path / "clip.npz")


@settings(max_examples=50, deadline=None)
@given(index=st.integers(0, 2**32 - 1), width=st.integers(126, 1100), noise=st.integers(0, 40))
def test_a_burnt_in_frame_number_survives_noise_and_jpeg(index: int, width: int, noise: int) -> None:
    rng = np.random.default_rng(index)
    burnt = burn_index(rng.integers(0, 256, (48, width), np.uint8), index)
    noisy = np.clip(burnt + rng.integers(-noise, noise + 1, burnt.shape), 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert read_index(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) == index


def test_a_frame_without_a_number_reads_none() -> None:
    assert [read_index(frame) for frame in speckle(20)] == [None] * 20


def test_a_frame_too_small_for_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="leave --burn-index out"):
        burn_index(np.zeros((64, 100), np.uint8), 1)
