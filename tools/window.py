"""A native window, where there is a display and an OpenCV that can open one."""

import os
import sys
from collections.abc import Callable

import cv2

from specktrack.rt.errors import InputError
from specktrack.rt.geometry import Geometry
from specktrack.rt.overlay import Overlay, scene_of_track
from specktrack.rt.wire import BeatMessage
from specktrack.tools.client import ask, geometry_px
from specktrack.tools.connection import ViewOptions, connected
from specktrack.tools.peer import Peer
from specktrack.tools.receiver import Receiver, Shown

_TITLE = "specktrack"
_KEYS_QUIT = (27, ord("q"))


def show_window(options: ViewOptions) -> None:
    """Show the stream until the window is closed, q or Escape; r re-anchors.

    Raises InputError where no window can be opened.
    """
    _expect_display()
    with connected(options) as (receiver, check):
        try:
            _run(receiver, options.control, check)
        finally:
            cv2.destroyAllWindows()


def _expect_display() -> None:
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("no display for a window here; use rt-view --web, or rt-view --headless --out FILE.mp4")
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise InputError(
            "this OpenCV has no windows; pip install 'specktrack[window]', or use rt-view --web"
        ) from error


def _run(receiver: Receiver, control: Peer | str, check: Callable[[], None]) -> None:
    overlay: Overlay | None = None
    geometry: Geometry | None = None
    gls: float | None = None
    while True:
        check()
        newest: Shown | None = None
        for event in receiver.events(20):
            if isinstance(event, Shown):
                newest = event  # a slow screen shows the newest frame, not a growing past
            elif isinstance(event, BeatMessage):
                gls = event.header.gls_percent
        if newest is not None:
            now = newest.geometry or geometry or _asked(control, newest.track.header.stream)
            if now is not None:
                if overlay is None or now != geometry:
                    overlay, geometry = Overlay(now), now
                cv2.imshow(_TITLE, overlay.update(newest.pixels, scene_of_track(newest.track, gls)))
        key = cv2.waitKey(1) & 0xFF
        if key in _KEYS_QUIT or cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return
        if key == ord("r") and receiver.stream:
            ask(control, "reanchor", {"stream": receiver.stream})


def _asked(control: Peer | str, stream: str) -> Geometry | None:
    size = geometry_px(control, stream)
    return Geometry(*size) if size else None
