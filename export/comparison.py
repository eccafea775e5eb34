"""What files and plans are compared on, and the table of it; needs no torch, so it also runs where plans are built."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from specktrack.rt.clip import open_clip
from specktrack.rt.errors import InputError
from specktrack.rt.manifest import Parity
from specktrack.rt.parity import Deviation, VerifyClip, arch
from specktrack.rt.points import read_points

TABLE_WIDTH = 110  # a figure cut off is worse than a line too long


def user_clip(path: Path, contour: Path | None) -> VerifyClip:
    """The clip of --verify with the contour of --contour, or an arch where a ventricle usually is."""
    clip = open_clip(path)
    drawn, first = arch(clip.geometry.height_px, clip.geometry.width_px), 0
    if contour is not None:
        points = read_points(contour, clip.geometry, clip.frame_count)
        drawn, first = points.points, points.frame
    frames = np.stack(list(clip.frames())[first:])
    if len(frames) < 2:
        raise InputError(f"{path}: has {len(frames)} frames from frame {first} on; at least 2 are needed")
    return VerifyClip(path.name, frames, drawn)


def parity_of(rows: Sequence[Deviation], against: str, max_feature_error: float | None = None) -> Parity:
    """The worst of all rows, for a card."""
    return Parity(
        against=against,
        max_feature_error=max_feature_error,
        max_px=max(row.read_px for row in rows),
        p99_px=max(row.p99_px for row in rows),
        strain_points=max(row.strain_points for row in rows),
        frames=sum({row.clip: row.n_frames for row in rows}.values()),
    )


def print_table(rows: Sequence[Deviation], against: str) -> None:
    """All figures: pixels of an image 256 wide, percent points of strain."""
    table = Table(title=f"Against {against}: px of 256, strain in percent points")
    for column in ("clip", "frames", "file", "run by", "read", "median", "p99", "max", "strain"):
        is_text = column in ("clip", "file", "run by")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column != "run by")
    for row in rows:
        figures = (row.read_px, row.median_px, row.p99_px, row.max_px, row.strain_points)
        table.add_row(row.clip, str(row.n_frames), row.precision, row.engine, *(f"{value:.1e}" for value in figures))
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)
