"""What a user drew on a frame, checked before it is followed."""

import numpy as np

from specktrack.rt.errors import ControlError
from specktrack.rt.geometry import FloatArray, Geometry
from specktrack.rt.update import GroupKind


def checked_points(points: FloatArray, kind: GroupKind, geometry: Geometry) -> FloatArray:
    """Points a user drew, or a ControlError that says what is wrong with them."""
    points = np.asarray(points, np.float32)
    least = 3 if kind == "contour" else 1
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least:
        raise ControlError("bad_points", f"a {kind} needs at least {least} points as [[x, y], ...]")
    outside = ~geometry.contains(points)
    if outside.any():
        n = int(outside.argmax())
        raise ControlError(
            "bad_points",
            f"point {n} at ({points[n, 0]:g}, {points[n, 1]:g}) lies outside the "
            f"{geometry.width_px}x{geometry.height_px} image; give pixels of the frame as sent",
        )
    return points
