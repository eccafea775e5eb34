"""What the live page is told: JSON messages for figures, one binary message for a picture with its points."""

import json
import struct
from typing import Any

import cv2
import numpy as np

from specktrack.rt.overlay import drawn_points, scene_of_track
from specktrack.rt.wire import NOTICE, BeatHeader, StatusHeader, TrackHeader
from specktrack.tools.receiver import Shown

_MAX_SIDE_PX = 1280
_JPEG_QUALITY = 82


def say_sample(header: TrackHeader) -> dict[str, Any]:
    """Figures of one frame."""
    strain, phase = header.strain, header.phase
    return {
        "kind": "sample",
        "stream": header.stream,
        "seq": header.seq,
        "t": header.t_acq_ns * 1e-9,
        "state": header.state,
        "n_points": header.n_points,
        "strain": strain.global_percent if strain else None,
        "segments": strain.segments_percent if strain else (),
        "phase": phase.model_dump() if phase else None,
        "anchor": header.anchor.model_dump() if header.anchor else None,
        "latency_ms": header.latency_ms.get("total"),
        "dropped": header.dropped,
        "gaps": header.gaps,
        "notice": NOTICE,
    }


def say_beat(header: BeatHeader) -> dict[str, Any]:
    """A settled beat."""
    names = ("beat", "gls_percent", "peak_percent", "heart_rate_bpm", "drift_percent", "accepted", "why", "mapse_mm")
    times = {"ed_s": header.ed_ns * 1e-9, "es_s": header.es_ns * 1e-9}
    return {"kind": "beat"} | {name: getattr(header, name) for name in names} | times


def say_status(header: StatusHeader) -> dict[str, Any]:
    """How the stream fares."""
    names = ("state", "model", "engine", "frames_in", "frames_out", "frame_rate_hz", "message", "invalid", "version")
    latency = header.latency_ms.model_dump() if header.latency_ms else None
    return {"kind": "status", "latency": latency} | {name: getattr(header, name) for name in names}


def pack_picture(shown: Shown) -> bytes:
    """Picture and points of one frame.

    uint32 length of the JSON (little-endian), the JSON padded to a multiple of 4, points float32 [N, 3] as they are
    drawn, JPEG.
    Positions are in pixels of the frame as sent, whatever the size of the JPEG.
    """
    header = shown.track.header
    geometry = shown.geometry
    about = {
        "seq": header.seq,
        "width": geometry.width_px if geometry else None,
        "height": geometry.height_px if geometry else None,
        "groups": [group.model_dump() for group in header.groups],
        "n_points": header.n_points,
        "segments": header.strain.segments_percent if header.strain else (),
    }
    text = json.dumps(about, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    points = np.array(shown.track.points, "<f4")
    points[:, :2] = drawn_points(points, scene_of_track(shown.track).groups)
    return struct.pack("<I", len(text)) + text + points.tobytes() + _jpeg(shown)


def _jpeg(shown: Shown) -> bytes:
    if shown.pixels is None:
        return b""
    pixels = shown.pixels
    factor = _MAX_SIDE_PX / max(pixels.shape)
    if factor < 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(packed.tobytes())
