"""Recordings: the messages of one stream in a file, readable up to wherever it was cut off.

    file    MAGIC, records
    record  uint32 length of the body, uint32 CRC-32 of the body, body
    body    int64 time of writing (server's monotonic ns), uint8 number of parts, uint32 length of each, parts

Little-endian. The parts are those of the wire (docs/protocol.md): frames as they came, tracks, beats and status as they
were published. A file is only ever appended to, so what was written before a power cut stays readable.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import InputError, WireError
from specktrack.rt.frame import Frame
from specktrack.rt.packing import Part, size_of, view_of
from specktrack.rt.wire import decode_frame

SUFFIX = ".rec"
MAGIC = b"SPECKREC1\n"
FRAME_TOPIC = b"frame/"
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<qB")
_ANY_FRAME = LimitsConfig(max_side_px=8192)


@dataclass(frozen=True)
class Recorded:
    """One message and when it was written."""

    t_ns: int
    parts: tuple[bytes, ...]


class RecordingWriter:
    """A new recording; `write` appends one message. One thread."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, FileExistsError where the file is there already."""
        self._file: BinaryIO = path.open("xb")
        self._file.write(MAGIC)

    def write(self, t_ns: int, parts: Sequence[Part]) -> None:
        """Append one message; raises OSError, and what was written before stays whole."""
        sizes = struct.pack(f"<{len(parts)}I", *(size_of(part) for part in parts))
        body = b"".join((_BODY.pack(t_ns, len(parts)), sizes, *(view_of(part) for part in parts)))
        self._file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)
        self._file.flush()

    def close(self) -> None:
        """End the file; what could not be written was said by `write`."""
        with suppress(OSError):
            self._file.close()


def read_recording(path: Path) -> Iterator[Recorded]:
    """Every whole message, oldest first; a file that was cut off or damaged ends before the first bad record.

    Raises InputError for a file that is no recording.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a recording (*{SUFFIX})") from error
    with file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{path}: is no recording; give a file that rt-serve has recorded (*{SUFFIX})")
        while (message := _next(file)) is not None:
            yield message


def recorded_frames(path: Path) -> Iterator[Frame]:
    """The frames of a recording, oldest first; those that break the protocol are not there."""
    for message in read_recording(path):
        if message.parts and message.parts[0].startswith(FRAME_TOPIC):
            try:
                yield decode_frame(message.parts, _ANY_FRAME)
            except WireError:
                continue


def _next(file: BinaryIO) -> Recorded | None:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack(head)
    body = file.read(length)
    if len(body) < max(length, _BODY.size) or zlib.crc32(body) != checksum:
        return None
    t_ns, count = _BODY.unpack_from(body)
    begin = _BODY.size + 4 * count
    parts = []
    for size in struct.unpack_from(f"<{count}I", body, _BODY.size):
        parts.append(body[begin : begin + size])
        begin += size
    return Recorded(t_ns, tuple(parts))
