"""Messages to bytes and back: the wire protocol of docs/protocol.md, version 1.

Every message is a list of parts: topic, msgpack header, raw little-endian arrays. Decoders raise WireError and nothing
else, whatever they are given. Pixels and tracks are never copied: arrays are read-only views of the received parts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import WireError
from specktrack.rt.frame import EcgChunk, Frame
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.headers import (
    NOTICE,
    PROTOCOL_VERSION,
    AnchorHeader,
    BeatHeader,
    ControlReply,
    ControlRequest,
    EcgHeader,
    ErrorBody,
    FrameHeader,
    GroupHeader,
    LatencyHeader,
    LayerHeader,
    PhaseHeader,
    State,
    StatusHeader,
    StrainHeader,
    TrackHeader,
)
from specktrack.rt.packing import (
    Part,
    array_of,
    expect_parts,
    expect_topic,
    first_error,
    pack,
    raw_bytes,
    read,
    size_of,
)
from specktrack.rt.update import AnchorInfo, Group, PhaseEstimate, SettledBeat, StrainSample, Update

__all__ = [
    "NOTICE",
    "PROTOCOL_VERSION",
    "BeatHeader",
    "BeatMessage",
    "ControlReply",
    "ControlRequest",
    "ErrorBody",
    "FrameHeader",
    "GroupHeader",
    "LatencyHeader",
    "Part",
    "State",
    "StatusHeader",
    "StreamCounts",
    "TrackHeader",
    "TrackMessage",
    "decode_beat",
    "decode_frame",
    "decode_reply",
    "decode_request",
    "decode_status",
    "decode_track",
    "encode_beat",
    "encode_frame",
    "encode_reply",
    "encode_request",
    "encode_status",
    "encode_track",
]

_DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype(np.uint8), "u2": np.dtype("<u2")}
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class StreamCounts:
    """What a stream has lost so far."""

    frames_in: int = 0
    dropped: int = 0  # by us, because newer frames were waiting
    gaps: int = 0  # never received


@dataclass(frozen=True)
class TrackMessage:
    """A received `track/<stream>`; `points` (N, 3): x, y in source pixels, confidence."""

    header: TrackHeader
    points: FloatArray


@dataclass(frozen=True)
class BeatMessage:
    """A received `beat/<stream>`; `tracks` (T, N, 3) as in TrackMessage, `seq` (T,) the frames."""

    header: BeatHeader
    tracks: FloatArray
    seq: NDArray[np.int64]


def encode_frame(frame: Frame) -> list[bytes | memoryview]:
    """A frame becomes topic, header and pixels; the pixels are the frame's own memory where it is contiguous.

    Raises WireError for what no server would take, a stream name with a blank for example.
    """
    try:
        header = _frame_header(frame)
    except ValidationError as error:
        raise WireError(f"frame {frame.seq} cannot be sent: {first_error(error)}") from error
    pixels = np.ascontiguousarray(frame.pixels, _DTYPES[header.dtype])
    return [b"frame/" + frame.stream.encode(), pack(header), pixels.data.cast("B")]


def decode_frame(parts: Sequence[Part], limits: LimitsConfig) -> Frame:
    """Topic, header and pixels become a Frame whose pixels are a read-only view of part 2."""
    expect_parts(parts, 3, "frame")
    header = read(FrameHeader, parts[1], "frame header")
    expect_topic(parts[0], "frame", header.stream)
    side = max(header.height, header.width)
    if side > limits.max_side_px:
        raise WireError(f"frame {header.seq}: side of {side} px is over limits.max_side_px = {limits.max_side_px}")
    shape = (header.height, header.width, 3) if header.channels == 3 else (header.height, header.width)
    geometry = Geometry(header.height, header.width, header.mm_per_px)
    return Frame(
        stream=header.stream,
        seq=header.seq,
        t_acq_ns=header.t_acq_ns,
        clock=header.clock,
        pixels=array_of(parts[2], _DTYPES[header.dtype], shape, f"pixels of frame {header.seq}"),
        geometry=geometry,
        frame_rate_hz=header.frame_rate_hz,
        ecg=_ecg_chunk(header.ecg),
        r_waves_ns=header.r_waves_ns,
        is_frozen=header.frozen,
    )


def encode_track(
    stream: str, update: Update, *, state: State, counts: StreamCounts, latency_ms: Mapping[str, float], t_pub_ns: int
) -> list[bytes]:
    """What the session said about one frame becomes `track/<stream>`."""
    header = TrackHeader(
        stream=stream,
        seq=update.seq,
        t_acq_ns=update.t_acq_ns,
        clock=update.clock,
        t_pub_ns=t_pub_ns,
        latency_ms={name: round(float(ms), 3) for name, ms in latency_ms.items()},
        state=state,
        n_points=len(update.points),
        groups=_group_headers(update.groups),
        phase=_phase_header(update.phase),
        anchor=_anchor_header(update.anchor),
        strain=_strain_header(update.strain),
        dropped=min(counts.dropped, _INT64_MAX),
        gaps=min(counts.gaps, _INT64_MAX),
    )
    return [b"track/" + stream.encode(), pack(header), raw_bytes(update.points, "<f4")]


def decode_track(parts: Sequence[Part]) -> TrackMessage:
    """The parts of `track/<stream>` become header and points."""
    expect_parts(parts, 3, "track")
    header = read(TrackHeader, parts[1], "track header")
    expect_topic(parts[0], "track", header.stream)
    points = array_of(parts[2], np.dtype("<f4"), (header.n_points, 3), f"points of frame {header.seq}")
    return TrackMessage(header, points)


def encode_beat(stream: str, clock: str, beat: SettledBeat, groups: Iterable[Group] = ()) -> list[bytes]:
    """A settled beat becomes `beat/<stream>`."""
    seq, t_ns = beat.seq, beat.t_acq_ns
    diastasis = beat.diastasis_index
    header = BeatHeader(
        stream=stream,
        beat=int(beat.beat),
        clock=clock,
        ed_seq=int(seq[beat.ed_index]),
        es_seq=int(seq[beat.es_index]),
        next_ed_seq=int(seq[beat.next_ed_index]),
        diastasis_seq=None if diastasis is None else int(seq[diastasis]),
        ed_ns=int(t_ns[beat.ed_index]),
        es_ns=int(t_ns[beat.es_index]),
        next_ed_ns=int(t_ns[beat.next_ed_index]),
        diastasis_ns=None if diastasis is None else int(t_ns[diastasis]),
        heart_rate_bpm=float(beat.heart_rate_bpm),
        gls_percent=_finite(beat.gls_percent),
        peak_percent=_finite(beat.peak_percent),
        segments_percent=_finite_all(beat.segments_percent),
        strain_percent=_finite_all(beat.strain_percent.tolist()),
        drift_percent=_finite(beat.drift_percent),
        mapse_mm=_finite(beat.mapse_mm),
        quality=tuple(_finite(q) or 0.0 for q in beat.quality),
        accepted=bool(beat.accepted),
        why=beat.why,
        segments_why=beat.segments_why,
        segments_peak_percent=_finite_all(beat.segments_peak_percent),
        segments_post_systolic_index_percent=_finite_all(beat.segments_post_systolic_index_percent),
        segments_time_to_peak_ms=_finite_all(beat.segments_time_to_peak_ms),
        time_to_peak_ms=_finite(beat.time_to_peak_ms),
        post_systolic_index_percent=_finite(beat.post_systolic_index_percent),
        dispersion_ms=_finite(beat.dispersion_ms),
        rate_per_s=_finite_all(beat.rate_per_s.tolist()),
        peak_rates_per_s=_finite_all(beat.peak_rates_per_s),
        annulus_mm=_finite_all(beat.annulus_mm),
        layers=tuple(LayerHeader(name=layer.name, gls_percent=_finite(layer.gls_percent)) for layer in beat.layers),
        retracked=bool(beat.is_retracked),
        groups=_group_headers(groups),
    )
    return [b"beat/" + stream.encode(), pack(header), raw_bytes(beat.tracks, "<f4"), raw_bytes(seq, "<i8")]


def decode_beat(parts: Sequence[Part]) -> BeatMessage:
    """The parts of `beat/<stream>` become header, tracks and frame numbers; the shape follows from the frame count."""
    expect_parts(parts, 4, "beat")
    header = read(BeatHeader, parts[1], "beat header")
    expect_topic(parts[0], "beat", header.stream)
    what = f"beat {header.beat}"
    n_frames = size_of(parts[3]) // 8
    seq = array_of(parts[3], np.dtype("<i8"), (n_frames,), f"frame numbers of {what}")
    n_points = size_of(parts[2]) // (12 * n_frames) if n_frames else 0
    tracks = array_of(parts[2], np.dtype("<f4"), (n_frames, n_points, 3), f"tracks of {what}")
    return BeatMessage(header, tracks, seq)


def encode_status(status: StatusHeader) -> list[bytes]:
    """A status becomes `status/<stream>`."""
    return [b"status/" + status.stream.encode(), pack(status)]


def decode_status(parts: Sequence[Part]) -> StatusHeader:
    """The parts of `status/<stream>` become a StatusHeader."""
    expect_parts(parts, 2, "status")
    header = read(StatusHeader, parts[1], "status header")
    expect_topic(parts[0], "status", header.stream)
    return header


def encode_request(request: ControlRequest) -> bytes:
    """A control request becomes its one part."""
    return pack(request)


def decode_request(part: Part) -> ControlRequest:
    """The one part of a control request; its `args` are checked by the command."""
    return read(ControlRequest, part, "control request")


def encode_reply(reply: ControlReply) -> bytes:
    """A control reply becomes its one part: `result` or `error`, never both."""
    return pack(reply, exclude={"error" if reply.ok else "result"})


def decode_reply(part: Part) -> ControlReply:
    """The one part of a control reply."""
    return read(ControlReply, part, "control reply")


def _frame_header(frame: Frame) -> FrameHeader:
    height, width = frame.pixels.shape[:2]
    return FrameHeader(
        v=PROTOCOL_VERSION,
        stream=frame.stream,
        seq=frame.seq,
        t_acq_ns=frame.t_acq_ns,
        clock=frame.clock,
        height=height,
        width=width,
        channels=3 if frame.pixels.ndim == 3 else 1,
        dtype="u2" if frame.pixels.dtype.itemsize == 2 else "u1",
        mm_per_px=frame.geometry.mm_per_px,
        frame_rate_hz=frame.frame_rate_hz,
        ecg=_ecg_header(frame.ecg),
        r_waves_ns=frame.r_waves_ns,
        frozen=frame.is_frozen,
    )


def _ecg_header(ecg: EcgChunk | None) -> EcgHeader | None:
    if ecg is None:
        return None
    return EcgHeader(rate_hz=ecg.rate_hz, t0_ns=ecg.t0_ns, samples=tuple(ecg.samples.tolist()))


def _ecg_chunk(ecg: EcgHeader | None) -> EcgChunk | None:
    if ecg is None:
        return None
    return EcgChunk(ecg.rate_hz, ecg.t0_ns, np.asarray(ecg.samples, np.float32))


def _phase_header(phase: PhaseEstimate | None) -> PhaseHeader | None:
    if phase is None:
        return None
    return PhaseHeader(
        fraction=float(phase.fraction),
        label=phase.label,
        beat=int(phase.beat),
        heart_rate_bpm=float(phase.heart_rate_bpm),
        source=phase.source,
        locked=bool(phase.is_locked),
    )


def _anchor_header(anchor: AnchorInfo | None) -> AnchorHeader | None:
    if anchor is None:
        return None
    return AnchorHeader(seq=int(anchor.seq), age_s=float(anchor.age_s), count=int(anchor.count))


def _strain_header(strain: StrainSample | None) -> StrainHeader | None:
    if strain is None:
        return None
    return StrainHeader(
        global_percent=_finite(strain.global_percent),
        segments_percent=_finite_all(strain.segments_percent),
        rate_per_s=_finite(strain.rate_per_s),
        since_ed_s=_finite(strain.since_ed_s),
        provisional=bool(strain.provisional),
    )


def _group_headers(groups: Iterable[Group]) -> tuple[GroupHeader, ...]:
    return tuple(
        GroupHeader(name=g.name, kind=g.kind, first=g.first, count=g.count, segments=g.segments) for g in groups
    )


def _finite(value: float | None) -> float | None:
    """Where there is no number, the wire says null, never NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def _finite_all(values: Iterable[float | None]) -> tuple[float | None, ...]:
    return tuple(_finite(value) for value in values)
