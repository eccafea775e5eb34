"""Calibration of confidence at export: evidence against truth, with the tracker of the stream."""

from pathlib import Path

import numpy as np
from rich.progress import track

from specktrack.rt.config import MatchConfig
from specktrack.rt.engine_ort import OrtEngine
from specktrack.rt.position import CONFIDENCE_RADIUS_PX
from specktrack.training.calibration import Curve, fit_curve
from specktrack.training.cases import EvalConfig, load_cases
from specktrack.training.follow import track_case
from specktrack.training.metrics import errors_px


def calibrate(model: Path, folder: Path) -> Curve:
    """The curve from evidence to confidence, measured on a folder of clips with truth."""
    engine = OrtEngine(model)  # its card still has the neutral curve
    shares, is_right = [], []
    for case in track(load_cases(EvalConfig(data=(str(folder),))), description="calibrating confidence"):
        tracks, share = track_case(engine, case, MatchConfig())
        counts = case.visible.copy()
        counts[:, case.query_frame] = False
        size = case.frames.shape[1], case.frames.shape[2]
        shares.append(share[counts])
        is_right.append(errors_px(tracks, case.truth, size)[counts] < CONFIDENCE_RADIUS_PX)
    return fit_curve(np.concatenate(shares), np.concatenate(is_right))
