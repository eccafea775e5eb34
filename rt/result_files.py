"""The result files of `rt-track` that tell of strain: strain.csv, and beats.json, from which bull's eyes are drawn.

strain.csv   one row a frame: frame, time_s, phase, label, beat, zero_at (ed or query_frame), strain_percent,
             segment_1_percent, ...; empty where unknown or rejected
beats.json   view, segment names, how it was measured, the average over beats, and every settled beat: its events, GLS,
             segments, curves, quality; unknown numbers are null
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from specktrack.rt.average import average
from specktrack.rt.errors import InputError
from specktrack.rt.headers import NOTICE
from specktrack.rt.offline import TrackedClip
from specktrack.rt.update import SettledBeat
from specktrack.rt.walls import segment_names

METHOD = {
    "strain": "Lagrangian, zero at end-diastole, percent, negative when shortening",
    "global": "whole line, end-systolic",
    "end_systole": "as settled by the cardiac phase",
}
_MEASURES = (
    "gls_percent",
    "peak_percent",
    "drift_percent",
    "mapse_mm",
    "time_to_peak_ms",
    "post_systolic_index_percent",
    "dispersion_ms",
)
_LISTS = (
    "segments_percent",
    "segments_peak_percent",
    "segments_post_systolic_index_percent",
    "segments_time_to_peak_ms",
    "segments_why",
    "quality",
    "annulus_mm",
)


@dataclass(frozen=True)
class About:
    """What a reader must know beside the numbers."""

    model: str
    engine: str
    frame_rate_hz: float
    reanchored: bool
    view: str | None  # a4c, ...; None: not told, segments have no names


@dataclass(frozen=True)
class ViewResult:
    """What a bull's eye needs of one view."""

    source: Path
    view: str
    gls_percent: float | None
    segments_percent: tuple[float | None, ...]  # six
    n_beats: int


def write_strain(path: Path, tracked: TrackedClip) -> None:
    """strain.csv as the module says."""
    n_segments = max((len(s.segments_percent) for s in tracked.strain if s), default=0)
    head = ["frame", "time_s", "phase", "label", "beat", "zero_at", "strain_percent"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*head, *(f"segment_{i + 1}_percent" for i in range(n_segments))])
        table.writerows(_strain_rows(tracked, n_segments))


def _strain_rows(tracked: TrackedClip, n_segments: int) -> Iterator[list[Any]]:
    for k, (update, strain) in enumerate(zip(tracked.updates, tracked.strain, strict=True)):
        phase = update.phase
        when = [k, f"{update.t_acq_ns * 1e-9:.4f}"]
        where = [f"{phase.fraction:.4f}", phase.label, phase.beat] if phase else ["", "", ""]
        if strain is None:
            yield [*when, *where, "", *[""] * (1 + n_segments)]
            continue
        zero_at = "ed" if tracked.is_strain_from_ed else "query_frame"
        values = [strain.global_percent, *strain.segments_percent]
        yield [*when, *where, zero_at, *(f"{v:.3f}" if v is not None and np.isfinite(v) else "" for v in values)]


def write_beats(path: Path, tracked: TrackedClip, about: About) -> None:
    """beats.json as the module says."""
    beats = tracked.beats
    n_segments = max((len(beat.segments_percent) for beat in beats), default=0)
    names = segment_names(about.view, n_segments) if about.view else [f"segment {k + 1}" for k in range(n_segments)]
    content = {
        "notice": NOTICE,
        "version": version("specktrack"),
        **asdict(about),
        "method": METHOD | ({"end_systole": "as named by the user"} if tracked.known is not None else {}),
        "segment_names": list(names),
        "average": _plain(asdict(average(beats))),
        "beats": [_beat(beat, about.view) for beat in beats],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _beat(beat: SettledBeat, view: str | None) -> dict[str, Any]:
    events = {
        "ed": beat.ed_index,
        "es": beat.es_index,
        "next_ed": beat.next_ed_index if beat.is_closed else None,
        "diastasis": beat.diastasis_index,
    }
    systolic, early, atrial = beat.peak_rates_per_s
    is_right = view == "rv"
    return {
        "beat": beat.beat,
        **{f"{name}_frame": None if i is None else int(beat.seq[i]) for name, i in events.items()},
        **{f"{name}_s": None if i is None else float(beat.t_acq_ns[i]) * 1e-9 for name, i in events.items()},
        "heart_rate_bpm": _plain(beat.heart_rate_bpm),
        **{name: getattr(beat, name) for name in _MEASURES},
        **({"mapse_mm": None, "tapse_mm": beat.annulus_mm[0]} if is_right else {}),
        "peak_rates_per_s": {"systolic": systolic, "early_filling": early, "atrial": atrial},
        **{name: list(getattr(beat, name)) for name in _LISTS},
        "layers": [asdict(layer) for layer in beat.layers],
        "first_frame": int(beat.seq[0]),
        "strain_percent": _plain(beat.strain_percent),
        "rate_per_s": _plain(beat.rate_per_s),
        "retracked": beat.is_retracked,
        "accepted": beat.accepted,
        "why": beat.why,
    }


def _plain(value: Any) -> Any:
    """Arrays as lists, what is not finite as null."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def read_view(folder: Path) -> ViewResult:
    """The average of the beats in a folder that `rt-track --view` wrote; raises InputError."""
    path = folder / "beats.json" if folder.is_dir() else folder
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        view, mean = content["view"], content["average"]
        segments: Sequence[float | None] = mean["segments_percent"]
        gls, n_beats = mean["gls_percent"], int(mean["n_beats"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a folder that rt-track wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a beats.json of rt-track; track the clip again") from error
    if view is None:
        raise InputError(f"{path}: does not say which view it is; track the clip again with --view a4c, a2c or a3c")
    if n_beats == 0:
        raise InputError(f"{path}: has no accepted beat; see `why` in it, and track a longer or better clip")
    if len(segments) != 6:
        raise InputError(f"{path}: has {len(segments)} segments; a bull's eye needs contours of 6")
    return ViewResult(path, view, gls, tuple(segments), n_beats)
