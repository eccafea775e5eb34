"""Where `rt-feed` takes its frames from: clips, and phantoms made on the spot."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from specktrack.rt.clip import Clip, open_clip
from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.recording import SUFFIX, recorded_frames

Pixels = NDArray[np.uint8]  # (H, W)
Shot = Pixels | Frame  # a recording has whole frames: pixels of any kind, ECG, R waves, freezes

_CACHE_BYTES = 512 << 20  # a clip that loops is decoded once if it fits
_PHANTOM_RATE_HZ = 55.0
_PHANTOM_DEFAULTS = {"hr": 70.0, "seed": 1.0, "size": 256.0, "beats": 2.0}
_PHANTOM_LIMITS = {"hr": (35, 180), "seed": (0, 2**31), "size": (64, 1024), "beats": (1, 60)}


@dataclass(frozen=True)
class Source:
    """Frames to send."""

    name: str
    geometry: Geometry
    frame_rate_hz: float | None
    frame_count: int
    frames: Callable[[], Iterator[Shot]]  # one pass, oldest first
    is_endless: bool = False  # loops without being asked
    is_recording: bool = False
    is_live: bool = False  # frames come when they come, with their own times; their number is not known


def open_source(text: str, prepare: Callable[[int, int], None] = lambda done, total: None) -> Source:
    """Open what the user named; `prepare` hears of the progress of slow preparations (done, total).

    Raises InputError for a source that is not there or of an unknown kind.
    """
    if text.startswith("phantom:"):
        return _phantom(text, prepare)
    if text.startswith("igtl://"):
        from specktrack.tools.igtl import open_igtl  # which makes sources itself

        return open_igtl(text)
    _refuse_unknown(text)
    clip = open_clip(text)
    if clip.source.suffix == SUFFIX:
        return _recording(clip)
    return Source(clip.source.name, clip.geometry, clip.frame_rate_hz, clip.frame_count, clip.frames)


def _refuse_unknown(text: str) -> None:
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        raise InputError(f"{text}: unknown kind of source; give a file, or phantom:a4c?hr=70&seed=1")


def choose_frames(source: Source, text: str) -> Source:
    """The part A:B of a source, both ends included; a clip whose last frame repeats the first loops as 0:T-2."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"--loop-frames {text}: expected FIRST:LAST, both included, for example 0:43")
    first, last = int(match[1]), int(match[2])
    if last >= source.frame_count:
        raise InputError(f"--loop-frames {text}: {source.name} has frames 0..{source.frame_count - 1}")

    def chosen() -> Iterator[Shot]:
        for k, pixels in enumerate(source.frames()):
            if k > last:
                return
            if k >= first:
                yield pixels

    return replace(source, frame_count=last - first + 1, frames=chosen)


def without_signals(source: Source) -> Source:
    """A recording without its ECG and R waves, which fit the rate it was recorded at only."""
    return replace(source, frames=lambda: map(_without_signals, source.frames()))


def _without_signals(shot: Shot) -> Shot:
    return replace(shot, ecg=None, r_waves_ns=None) if isinstance(shot, Frame) else shot


def _recording(clip: Clip) -> Source:
    def alike() -> Iterator[Shot]:
        return takewhile(lambda frame: frame.geometry == clip.geometry, recorded_frames(clip.source))

    return Source(clip.source.name, clip.geometry, clip.frame_rate_hz, clip.frame_count, alike, is_recording=True)


def play(source: Source, is_looped: bool) -> Iterator[Shot]:
    """The frames once, or again and again; a looped clip is kept in memory where it fits."""
    if not is_looped or source.is_live:
        yield from source.frames()
        return
    kept: list[Shot] | None = []
    n_bytes = 0
    for shot in source.frames():
        n_bytes += (shot.pixels if isinstance(shot, Frame) else shot).nbytes
        if kept is not None and n_bytes <= _CACHE_BYTES:
            kept.append(shot)
        else:
            kept = None
        yield shot
    while True:
        yield from kept if kept is not None else source.frames()


def _phantom(text: str, prepare: Callable[[int, int], None]) -> Source:
    view, values = _phantom_options(text)
    try:
        from specktrack.training.phantom import Phantom, holding_breath, standard_spec
    except ImportError as error:
        raise InputError(
            f"{text}: phantoms need PyTorch; install it with: pip install 'specktrack[train]', or feed a clip"
        ) from error
    # a whole number of frames a beat, so that the film loops without a jump
    frames_a_beat = round(60.0 * _PHANTOM_RATE_HZ / values["hr"])
    beats, size = int(values["beats"]), int(values["size"])
    rate_bpm, duration_s = 60.0 * _PHANTOM_RATE_HZ / frames_a_beat, beats * 2.0 + 2.0
    try:
        spec = holding_breath(standard_spec(rate_bpm, int(values["seed"]), duration_s, size, view))
    except InputError as error:
        raise InputError(f"{text}: {error}") from error
    phantom = Phantom(spec)
    rendered: list[Pixels] = []
    for k in range(frames_a_beat * beats):
        prepare(k, frames_a_beat * beats)
        rendered.append(phantom.frame(k))
    scale = float(spec.imaging.mm_per_px)
    geometry = Geometry(size, size, (scale, scale))
    rate_hz = float(spec.frame_rate_hz)
    return Source(text, geometry, rate_hz, len(rendered), lambda: iter(rendered), is_endless=True)


def _phantom_options(text: str) -> tuple[str, dict[str, float]]:
    view, _, query = text.removeprefix("phantom:").partition("?")
    values = dict(_PHANTOM_DEFAULTS)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in values:
            raise InputError(f"{text}: unknown option '{key}'; a phantom has {', '.join(values)}")
        low, high = _PHANTOM_LIMITS[key]
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise InputError(f"{text}: {key}={value} is not possible; expected a number from {low} to {high}")
        values[key] = number
    return view, values
