"""Ultrasound clips in DICOM files, as scanners and archives write them: frames, frame rate and the size of a pixel.

Read with pydicom, an extra of the package. Attribute names are those of the standard: PS3.3 C.7.6.5 (cine), C.8.5.5
(ultrasound regions), C.7.6.3 (pixels). Nothing of the patient goes into any result.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.clip import Clip, check_size
from specktrack.rt.errors import InputError
from specktrack.rt.geometry import Geometry
from specktrack.rt.preprocess import to_grey

SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC_AT, MAGIC = 128, b"DICM"
TWO_DIMENSIONAL, TISSUE, CENTIMETRES = 1, 1, 3  # codes of an ultrasound region
INSTALL = "pip install 'specktrack[dicom]'"


def is_dicom(path: Path) -> bool:
    """By its name, or by its first bytes: archives like to give names without a suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC


def dicom_clip(path: Path) -> Clip:
    """Open a DICOM clip; raises InputError, also where pydicom or a decoder is missing."""
    data = _read(path)
    if "PixelData" not in data:
        raise InputError(f"{path}: this DICOM file has no pixels (a report?); give one with a clip")
    height, width = int(data.Rows), int(data.Columns)
    check_size(path, height, width)
    next(_frames(path, data), None)  # a decoder that is missing is missed now
    return Clip(
        source=path,
        geometry=Geometry(height, width, _mm_per_px(data)),
        frame_count=int(data.get("NumberOfFrames") or 1),
        frame_rate_hz=_frame_rate_hz(data),
        frames=lambda: _frames(path, data),
    )


def _read(path: Path) -> Any:
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise InputError(f"{path}: DICOM files need pydicom; install it with: {INSTALL}") from error
    try:
        return dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is no readable DICOM file; export it again, or as a video") from error


def _frames(path: Path, data: Any) -> Iterator[NDArray[np.uint8]]:
    from pydicom.pixels.utils import iter_pixels

    bits = int(data.get("BitsStored") or 8)
    is_inverse = data.get("PhotometricInterpretation") == "MONOCHROME1"
    try:
        for raw in iter_pixels(data):  # colours come as RGB
            grey = to_grey(_eight_bits(raw, bits))
            yield 255 - grey if is_inverse else grey
    except (RuntimeError, NotImplementedError, AttributeError, ValueError, EOFError) as error:
        name = getattr(getattr(data.file_meta, "TransferSyntaxUID", None), "name", "an unknown way")
        raise InputError(
            f"{path}: pixels stored as {name} cannot be decoded here; {INSTALL}, or export the clip uncompressed"
        ) from error


def _eight_bits(raw: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """The upper eight of the bits stored."""
    if raw.dtype == np.uint8 and bits <= 8:
        return np.asarray(raw)
    return np.asarray(np.clip(raw.astype(np.int32) >> max(bits - 8, 0), 0, 255), np.uint8)


def _frame_rate_hz(data: Any) -> float | None:
    """By the time between frames where the file tells it, else by what viewers are told."""
    intervals_ms = [float(v) for v in np.atleast_1d(data.get("FrameTimeVector") or [])[1:]]
    interval_ms = float(data.get("FrameTime") or 0.0) or (float(np.mean(intervals_ms)) if intervals_ms else 0.0)
    if interval_ms > 0.0:
        return 1000.0 / interval_ms
    shown = float(data.get("CineRate") or data.get("RecommendedDisplayFrameRate") or 0.0)
    return shown if shown > 0.0 else None


def _mm_per_px(data: Any) -> tuple[float, float] | None:
    """Of the largest region with a two-dimensional image of tissue; else of the whole picture; else unknown."""
    regions = [region for region in data.get("SequenceOfUltrasoundRegions") or () if _is_image(region)]
    if regions:
        largest = max(regions, key=_area)
        spacing = (abs(float(largest.PhysicalDeltaX)) * 10.0, abs(float(largest.PhysicalDeltaY)) * 10.0)
    else:
        down, across = data.get("PixelSpacing") or (0.0, 0.0)
        spacing = (float(across), float(down))
    return spacing if min(spacing) > 0.0 else None


def _is_image(region: Any) -> bool:
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    kind = (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
    return kind == (TWO_DIMENSIONAL, TISSUE) and units == (CENTIMETRES, CENTIMETRES)


def _area(region: Any) -> int:
    width = int(region.RegionLocationMaxX1) - int(region.RegionLocationMinX0)
    return width * (int(region.RegionLocationMaxY1) - int(region.RegionLocationMinY0))
