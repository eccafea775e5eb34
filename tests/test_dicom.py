"""Clips in DICOM files: what a scanner stores is what is tracked, in millimetres and at its rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, UltrasoundMultiFrameImageStorage  # noqa: E402


def speckle(count: int = 3, *more: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, *more), np.uint8)


def dataset(frames: NDArray[Any], photometric: str = "MONOCHROME2", bits: int = 8, **more: object) -> Dataset:
    """A multi-frame ultrasound image as the standard wants it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape[:3]
    data.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation, data.PixelRepresentation = photometric, 0
    data.BitsAllocated = 8 * frames.dtype.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelData = frames.tobytes()
    for key, value in more.items():
        setattr(data, key, value)
    return data


def saved(path: Path, data: Dataset) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def region(delta_x: float, delta_y: float, side: int = 40, kind: int = 1) -> Dataset:
    """An ultrasound region; lengths in cm a pixel."""
    found = Dataset()
    found.RegionSpatialFormat, found.RegionDataType = kind, 1
    found.PhysicalUnitsXDirection = found.PhysicalUnitsYDirection = 3
    found.PhysicalDeltaX, found.PhysicalDeltaY = delta_x, delta_y
    found.RegionLocationMinX0 = found.RegionLocationMinY0 = 0
    found.RegionLocationMaxX1 = found.RegionLocationMaxY1 = side
    return found


def pictures(path: Path) -> NDArray[np.uint8]:
    return np.stack(list(open_clip(path).frames()))


def test_a_grey_clip_gives_its_frames_on_every_pass(tmp_path: Path) -> None:
    path = saved(tmp_path / "clip.dcm", dataset(speckle()))
    assert open_clip(path).frame_count == 3
    for _ in range(2):
        np.testing.assert_array_equal(pictures(path), speckle())


def test_a_file_without_a_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "IM000001", dataset(speckle()))
    np.testing.assert_array_equal(pictures(path), speckle())


def test_colours_become_luminance(tmp_path: Path) -> None:
    grey = np.repeat(speckle()[..., None], 3, axis=3)
    np.testing.assert_allclose(pictures(saved(tmp_path / "a.dcm", dataset(grey, "RGB"))), speckle(), atol=1)


def test_twelve_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = speckle().astype(np.uint16) * 16 + 7
    np.testing.assert_array_equal(pictures(saved(tmp_path / "a.dcm", dataset(deep, bits=12))), speckle())


def test_an_inverse_picture_is_turned_round(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.dcm", dataset(speckle(), "MONOCHROME1"))
    np.testing.assert_array_equal(pictures(path), 255 - speckle())


def test_run_length_coding_is_decoded(tmp_path: Path) -> None:
    data = dataset(speckle())
    data.compress(RLELossless)
    np.testing.assert_array_equal(pictures(saved(tmp_path / "a.dcm", data)), speckle())


@pytest.mark.parametrize(
    ("attributes", "rate_hz"),
    [
        ({"FrameTime": "20"}, 50.0),
        ({"FrameTimeVector": ["0", "25", "25"]}, 40.0),
        ({"CineRate": "33"}, 33.0),
        ({"FrameTime": "20", "CineRate": "30"}, 50.0),
        ({}, None),
        ({"FrameTime": "0"}, None),
    ],
)
def test_the_frame_rate_is_that_of_the_recording(
    attributes: dict[str, object], rate_hz: float | None, tmp_path: Path
) -> None:
    assert open_clip(saved(tmp_path / "a.dcm", dataset(speckle(), **attributes))).frame_rate_hz == rate_hz


def test_millimetres_are_those_of_the_largest_picture_of_tissue(tmp_path: Path) -> None:
    regions = [region(0.02, 0.03), region(0.5, 0.5, side=5), region(0.1, 0.1, side=60, kind=3)]
    path = saved(tmp_path / "a.dcm", dataset(speckle(), SequenceOfUltrasoundRegions=regions))
    assert open_clip(path).geometry.mm_per_px == pytest.approx((0.2, 0.3))


def test_without_regions_the_pixel_spacing_counts_and_without_that_nothing(tmp_path: Path) -> None:
    spaced = saved(tmp_path / "a.dcm", dataset(speckle(), PixelSpacing=["0.3", "0.2"]))
    assert open_clip(spaced).geometry.mm_per_px == pytest.approx((0.2, 0.3))
    assert open_clip(saved(tmp_path / "b.dcm", dataset(speckle()))).geometry.mm_per_px is None


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("no picture")
    with pytest.raises(InputError, match="is no readable DICOM file"):
        open_clip(tmp_path / "text.dcm")
    report = dataset(speckle())
    del report.PixelData
    with pytest.raises(InputError, match=r"has no pixels \(a report\?\)"):
        open_clip(saved(tmp_path / "report.dcm", report))
    broken = dataset(speckle())
    broken.compress(RLELossless)
    broken.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    with pytest.raises(InputError, match=r"JPEG Baseline.* cannot be decoded here; pip install 'specktrack\[dicom\]'"):
        open_clip(saved(tmp_path / "broken.dcm", broken))


def test_without_pydicom_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.dcm", dataset(speckle()))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(InputError, match=r"need pydicom; install it with: pip install 'specktrack\[dicom\]'"):
        open_clip(path)
