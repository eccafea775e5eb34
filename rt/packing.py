"""Parts of a message: msgpack maps and raw arrays, read with WireError as the only failure and without copies."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgpack
import numpy as np
import zmq
from numpy.typing import NDArray
from pydantic import ValidationError

from specktrack.rt.errors import WireError
from specktrack.rt.headers import Header

Part = bytes | memoryview | zmq.Frame
H = TypeVar("H", bound=Header)


def pack(header: Header, exclude: set[str] | None = None) -> bytes:
    """A header becomes one msgpack map."""
    return cast(bytes, msgpack.packb(header.model_dump(exclude=exclude)))


def read(model: type[H], part: Part, what: str) -> H:
    """One msgpack map becomes a header; raises WireError naming the first wrong key."""
    try:
        # Strict models take tuples for sequences; every failure of unpackb on a whole part is a ValueError.
        return model.model_validate(msgpack.unpackb(view_of(part), use_list=False))
    except ValidationError as error:
        raise WireError(f"{what}: {first_error(error)}") from error
    except ValueError as error:
        raise WireError(f"{what}: not a msgpack map with string keys ({error})") from error


def first_error(error: ValidationError) -> str:
    """The first wrong key of a map and what is wrong with it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(name) for name in first["loc"]) or "the map"
    return f"{where}: {first['msg']}"


def array_of(part: Part, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """A read-only view of one part, little-endian C order; raises WireError when the size differs."""
    expected = math.prod(shape) * dtype.itemsize
    if size_of(part) != expected:
        raise WireError(f"{what}: expected {expected} bytes for {shape} {dtype}, got {size_of(part)}")
    # A received zmq part is writable memory: nobody may write into a frame others still read.
    array = np.frombuffer(view_of(part), dtype).reshape(shape)
    array.flags.writeable = False
    return array


def view_of(part: Part) -> bytes | memoryview:
    """The bytes of a part, not copied."""
    return part.buffer if isinstance(part, zmq.Frame) else part


def size_of(part: Part) -> int:
    """Number of bytes of a part."""
    view = view_of(part)
    return view.nbytes if isinstance(view, memoryview) else len(view)


def raw_bytes(array: NDArray[Any], dtype: str) -> bytes:
    """An array as the bytes that go on the wire."""
    return np.ascontiguousarray(array, dtype).tobytes()


def expect_parts(parts: Sequence[Part], count: int, kind: str) -> None:
    """Raise WireError for a message with another number of parts."""
    if len(parts) != count:
        raise WireError(f"{kind}: expected {count} parts, got {len(parts)}")


def expect_topic(part: Part, kind: str, stream: str) -> None:
    """Raise WireError unless topic and header name the same stream."""
    if bytes(view_of(part)) != f"{kind}/{stream}".encode():
        raise WireError(f"{kind}: the topic does not read '{kind}/{stream}' as the header says")
