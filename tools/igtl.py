"""`igtl://host:port`: images of an OpenIGTLink server (PLUS, 3D Slicer, a scanner's own) as a live source of frames.

Read with pyigtl, an extra of the package. It keeps the newest message of each device: an image that nobody fetched in
time is replaced, not queued. Protocol: openigtlink.org, message types IMAGE (pixels, spacing in mm, time stamp).
"""

import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.tools.source import Shot, Source

DEFAULT_PORT = 18944
CONNECT_S = 10.0
CLOCK = "igtl"  # the server's own
_POLL_S = 0.001
_INSTALL = "pip install 'specktrack[igtl]'"


def open_igtl(text: str, wait_s: float = CONNECT_S) -> Source:
    """Connect and wait for the first image, whose device is followed; raises InputError."""
    client = _client(text)
    first = _next(client, None, wait_s)
    if first is None:
        connected = client.is_connected()
        client.stop()
        what = "is connected but sends no IMAGE" if connected else "does not answer"
        raise InputError(f"{text}: {what} within {wait_s:g} s; start the sender, then rt-feed")
    try:
        geometry = _frame(first).geometry
    except InputError as error:
        client.stop()
        raise InputError(f"{text}: {error}") from error

    def frames() -> Iterator[Shot]:
        message: Any = first
        try:
            while True:
                if message is not None:
                    yield _frame(message)
                message = _next(client, first.device_name, CONNECT_S)  # none comes of a frozen image
        finally:
            client.stop()

    return Source(text, geometry, None, 0, frames, is_endless=True, is_live=True)


def _client(text: str) -> Any:
    match = re.fullmatch(r"igtl://([^:/]+)(?::(\d{1,5}))?/?", text)
    if match is None or int(match[2] or DEFAULT_PORT) > 65535:
        raise InputError(f"{text}: expected igtl://host:port, for example igtl://127.0.0.1:{DEFAULT_PORT}")
    try:
        from pyigtl import OpenIGTLinkClient
    except ImportError as error:
        raise InputError(f"{text}: OpenIGTLink needs pyigtl; install it with: {_INSTALL}") from error
    return OpenIGTLinkClient(match[1], int(match[2] or DEFAULT_PORT))


def _next(client: Any, device: str | None, wait_s: float) -> Any:
    """The next image of a device, of any while none is chosen; None when none came in time."""
    give_up_s = time.monotonic() + wait_s
    while time.monotonic() < give_up_s:
        for message in client.get_latest_messages():
            if message.message_type == "IMAGE" and device in (None, message.device_name):
                return message
        time.sleep(_POLL_S)
    return None


def _frame(message: Any) -> Frame:
    pixels = _pixels(np.asarray(message.image))
    spacing = np.linalg.norm(np.asarray(message.ijk_to_world_matrix, np.float64)[:3, :2], axis=0)
    known = bool(np.isfinite(spacing).all() and (spacing > 0.0).all())
    mm_per_px = (float(spacing[0]), float(spacing[1])) if known else None
    geometry = Geometry(pixels.shape[0], pixels.shape[1], mm_per_px)
    if message.timestamp > 0.0:
        return Frame(message.device_name, 0, round(message.timestamp * 1e9), CLOCK, pixels, geometry)
    return Frame(message.device_name, 0, time.monotonic_ns(), "monotonic", pixels, geometry)  # it was not stamped


def _pixels(image: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The one slice (H, W) or (H, W, 3) of an image (K, J, I) or (K, J, I, 3)."""
    if image.ndim not in (3, 4) or image.shape[0] != 1 or (image.ndim == 4 and image.shape[3] not in (1, 3)):
        raise InputError(f"the images have shape {image.shape}; one slice, grey or RGB, is expected")
    if image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise InputError(f"the pixels are {image.dtype}; unsigned 8 or 16 bits are expected")
    pixels = image[0, ..., 0] if image.ndim == 4 and image.shape[3] == 1 else image[0]
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
