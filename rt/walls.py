"""Names of the segments of a contour by view, and the 18-, 17- and 16-segment models of the left ventricle.

A contour runs from the base on the left of the image over the apex to the base on its right, so its six parts are
basal, mid, apical of one wall and apical, mid, basal of the other. Walls: A4C inferoseptal and anterolateral, A2C
inferior and anterior, A3C inferolateral and anteroseptal; the RV-focused view begins at the free wall. Models after
Cerqueira et al., Circulation 2002 (17) and Lang et al., JASE 2015 (16, 18); see docs/strain.md.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from specktrack.rt.errors import InputError

LEFT_VENTRICLE = ("a4c", "a2c", "a3c")
WALLS: dict[str, tuple[str, str]] = {
    "a4c": ("inferoseptal", "anterolateral"),
    "a2c": ("inferior", "anterior"),
    "a3c": ("inferolateral", "anteroseptal"),
    "rv": ("free wall", "septal"),
}
AROUND = ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral")
AROUND_APEX = ("anterior", "septal", "inferior", "lateral")
# The four apical segments of 16 and 17, from the six of 18.
APICAL = {
    "anterior": ("anterior",),
    "septal": ("inferoseptal", "anteroseptal"),
    "inferior": ("inferior",),
    "lateral": ("anterolateral", "inferolateral"),
}
LEVELS = ("basal", "mid", "apical")

Values = Mapping[str, float | None]


def check_view(view: str) -> None:
    """Raises InputError for a view whose walls have no names here."""
    if view not in WALLS:
        raise InputError(f"view {view}: unknown; choose one of {', '.join(WALLS)}")


def segment_names(view: str, segments: int = 6) -> tuple[str, ...]:
    """Names of a contour's segments in order, such as "basal inferoseptal"; raises InputError.

    Only a contour of six segments has names; for any other number they are "segment 1" and so on.
    """
    check_view(view)
    if segments != 6:
        return tuple(f"segment {k + 1}" for k in range(segments))
    first, last = WALLS[view]
    return tuple(f"{level} {first}" for level in LEVELS) + tuple(f"{level} {last}" for level in reversed(LEVELS))


def eighteen(views: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """The 18-segment model from six segments of each view; what no view or no accepted segment tells is None."""
    values: dict[str, float | None] = {f"{level} {wall}": None for level in LEVELS for wall in AROUND}
    for view, six in views.items():
        if view not in LEFT_VENTRICLE:
            raise InputError(f"view {view}: not one of the left ventricle's, {', '.join(LEFT_VENTRICLE)}")
        values.update(zip(segment_names(view), six, strict=True))
    return values


def sixteen(of_eighteen: Values) -> dict[str, float | None]:
    """The 16-segment model: apical septal and lateral are means of two of the 18."""
    values = {f"{level} {wall}": of_eighteen[f"{level} {wall}"] for level in LEVELS[:2] for wall in AROUND}
    for wall in AROUND_APEX:
        values[f"apical {wall}"] = mean([of_eighteen[f"apical {part}"] for part in APICAL[wall]])
    return values


def seventeen(of_eighteen: Values) -> dict[str, float | None]:
    """The 17-segment model: 16 and the apex, the mean of those around it: a contour has no cap of its own."""
    values = sixteen(of_eighteen)
    return {**values, "apex": mean([values[f"apical {wall}"] for wall in AROUND_APEX])}


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
