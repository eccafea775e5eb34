"""`rt-track`: a recorded clip through the live session; writes tracks, strain, beats and an overlay video.

tracks.npz   tracks float32 [N, T, 2] (x, y in clip pixels, NaN when lost), confidence float32 [N, T],
             time_s [T], phase [T] (fraction from ED to ED, NaN while unknown), strain_percent [T], query_frame
strain.csv, beats.json   see result_files.py
overlay.mp4  the clip with contour, points and strain on it
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from specktrack.rt import blas, console
from specktrack.rt.clip import Clip, open_clip
from specktrack.rt.config import AnchorConfig, ModelConfig, SessionConfig
from specktrack.rt.errors import InputError
from specktrack.rt.headers import NOTICE
from specktrack.rt.known_beat import KnownEvents, with_known_beat
from specktrack.rt.offline import TrackedClip, track_clip
from specktrack.rt.overlay import Overlay, Scene
from specktrack.rt.points import PointsFile, read_points
from specktrack.rt.result_files import About, write_beats, write_strain
from specktrack.rt.track_config import clip_with_scale, frame_rate, known_events, model_config
from specktrack.rt.video_out import VideoOut
from specktrack.rt.walls import check_view
from specktrack.rt.windowed import open_model

app = console.new_app()


@app.command()
def track(
    clip: Annotated[Path, typer.Argument(help="Video, DICOM, .npz, .npy or recording.")],
    points: Annotated[Path, typer.Option(help="Points file: what to track, drawn on one frame.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[
        str, typer.Option(help="specknet-s, specknet-b, block, a file, echotracker, pips, cotracker3.")
    ] = "specknet-s",
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of echotracker, ...; or a model file.")] = None,
    engine: Annotated[str, typer.Option(help="auto, tensorrt, torch, onnxruntime or openvino.")] = "auto",
    fps: Annotated[float | None, typer.Option(help="Frame rate, if the file does not know it.")] = None,
    mm_per_px: Annotated[float | None, typer.Option(help="Pixel size, if the file does not know it.")] = None,
    view: Annotated[str | None, typer.Option(help="a4c, a2c, a3c or rv: names the segments.")] = None,
    ed: Annotated[int | None, typer.Option(help="Frame of end-diastole, with --es: measure this beat.")] = None,
    es: Annotated[int | None, typer.Option(help="Frame of end-systole.")] = None,
    next_ed: Annotated[int | None, typer.Option(help="Frame of the next end-diastole, if it is there.")] = None,
    reanchor: Annotated[bool, typer.Option(help="Follow the diastasis from beat to beat.")] = True,
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.")] = True,
) -> None:
    """Track a recorded clip as if it were live. Research use only; not a medical device."""
    opened = clip_with_scale(open_clip(clip), mm_per_px)
    drawn = read_points(points, opened.geometry, opened.frame_count)
    rate_hz = frame_rate(opened, fps)
    if view is not None:
        check_view(view)
    events = known_events(ed, es, next_ed, drawn, opened.frame_count)
    chosen = model_config(model, engine, weights)
    settings = SessionConfig(anchor=AnchorConfig(enabled=reanchor))
    tracked = _track(opened, drawn, chosen, settings, rate_hz, events)
    _make_folder(out)
    write_tracks(out / "tracks.npz", tracked)
    write_strain(out / "strain.csv", tracked)
    about = About(chosen.name, engine, rate_hz, reanchor, view)
    write_beats(out / "beats.json", tracked, about)
    if overlay:
        write_overlay(out / "overlay.mp4", opened, tracked, rate_hz)
    _print_summary(opened, tracked, out, overlay)


def _track(
    clip: Clip,
    drawn: PointsFile,
    model: ModelConfig,
    settings: SessionConfig,
    rate_hz: float,
    events: KnownEvents | None,
) -> TrackedClip:
    blas.on_one_thread()
    engine = open_model(model)
    try:
        with _progress() as progress:
            task = progress.add_task(f"tracking, {engine.model} on {engine.name}", total=clip.frame_count + drawn.frame)
            tracked = track_clip(clip, drawn, engine, settings, rate_hz, lambda: progress.advance(task))
        return tracked if events is None else with_known_beat(tracked, clip, events, engine, settings, rate_hz)
    finally:
        engine.close()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({error.strerror}); choose another --out") from error


def write_tracks(path: Path, tracked: TrackedClip) -> None:
    """tracks.npz as the module says."""
    by_point = tracked.points.transpose(1, 0, 2)
    nan = float("nan")
    np.savez_compressed(
        path,
        tracks=np.ascontiguousarray(by_point[..., :2], np.float32),
        confidence=np.ascontiguousarray(by_point[..., 2], np.float32),
        time_s=tracked.time_s,
        phase=np.array([u.phase.fraction if u.phase else nan for u in tracked.updates]),
        strain_percent=np.array([s.global_percent if s else nan for s in tracked.strain]),
        query_frame=tracked.query_frame,
    )


def write_overlay(path: Path, clip: Clip, tracked: TrackedClip, rate_hz: float) -> None:
    """overlay.mp4: a second pass over the clip, now that every frame has its points."""
    drawing, gls = Overlay(clip.geometry), None
    with VideoOut(path, drawing.size, rate_hz) as video, _progress() as progress:
        for k, pixels in enumerate(progress.track(clip.frames(), total=len(tracked.updates), description="drawing")):
            update = tracked.updates[k]
            gls = next((beat.gls_percent for beat in reversed(update.beats)), gls)
            scene = Scene(
                update.seq,
                update.t_acq_ns * 1e-9,
                tracked.points[k],
                tracked.groups,
                "recorded",
                update.phase,
                tracked.strain[k],
                gls_percent=gls,
            )
            video.write(drawing.update(pixels, scene))


def _print_summary(clip: Clip, tracked: TrackedClip, out: Path, has_overlay: bool) -> None:
    kept = np.isfinite(tracked.points[..., 0])
    confidence = tracked.points[..., 2][kept]
    table = Table(title=str(clip.source), show_header=False, title_justify="left")
    table.add_row("frames", str(len(tracked.updates)))
    table.add_row("points", str(tracked.points.shape[1]))
    sure = f", mean confidence {confidence.mean():.2f}" if confidence.size else ""
    table.add_row("points kept", f"{100 * kept.mean():.1f} %{sure}")
    table.add_row("beats", f"{len(tracked.beats)}, {sum(beat.accepted for beat in tracked.beats)} accepted")
    table.add_row("GLS", _gls(tracked))
    table.add_row("results", f"tracks.npz, strain.csv, beats.json{', overlay.mp4' if has_overlay else ''} in {out}")
    Console().print(table)
    print(NOTICE)


def _gls(tracked: TrackedClip) -> str:
    """Median over the accepted beats; without any, what can honestly be said instead."""
    values = [beat.gls_percent for beat in tracked.beats if beat.accepted and beat.gls_percent is not None]
    if values:
        return f"{np.median(values):.1f} % (median of {len(values)})"
    known = [s.global_percent for s in tracked.strain if s and np.isfinite(s.global_percent)]
    if not known:
        return "none: no contour was drawn" if all(g.kind != "contour" for g in tracked.groups) else "none"
    zero = "end-diastole" if tracked.is_strain_from_ed else f"frame {tracked.query_frame}"
    return f"no accepted beat; lowest strain {min(known):.1f} % since {zero}"
