"""The phase of the one real clip, played in a loop: events where they were marked by eye."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from test_phase import play

from specktrack.rt.config import ModelConfig, SessionConfig
from specktrack.rt.engine import open_engine
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.session import Session


def real_loop(shared_folder: Path) -> tuple[list[np.ndarray], dict[str, Any], Path]:
    clips = shared_folder / "clips"
    events = json.loads((clips / "a4c_events.json").read_text())
    capture = cv2.VideoCapture(str(clips / "a4c.mp4"))
    return [capture.read()[1][:, :, 0] for _ in range(events["cycle_frames"])], events, clips


def test_a_real_clip_in_a_loop_gives_its_events_within_two_frames(shared_folder: Path) -> None:
    frames, events, clips = real_loop(shared_folder)
    contour = np.array(json.loads((clips / "a4c_contour.json").read_text())["points"], np.float32)
    session = Session("real", SessionConfig(), open_engine(ModelConfig(threads=1)))
    fps, loop = 50.0, events["cycle_frames"]
    ed, es, lock_s = [], [], None
    for k in range(6 * loop):
        pixels = frames[k % loop]
        update = session.update(Frame("real", k, round(k * 1e9 / fps), "made up", pixels, Geometry(*pixels.shape)))
        if k == 0:
            session.set_points(contour, "contour")
        if lock_s is None and update.phase and update.phase.is_locked:
            lock_s = k / fps
        ed += [(b.seq[b.ed_index] + loop / 2) % loop - loop / 2 for b in update.beats]
        es += [b.seq[b.es_index] % loop - events["es_frames"][0] for b in update.beats]
    assert len(ed) >= 3
    assert np.abs(ed).max() <= 2
    assert np.abs(es).max() <= 2
    assert lock_s is not None
    assert lock_s <= 2 * loop / fps + 0.15  # the loop begins in end-diastole: its end must still be seen


def test_a_real_clip_without_a_contour_gives_rate_end_diastole_and_rest(shared_folder: Path) -> None:
    frames, events, _ = real_loop(shared_folder)
    small = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in frames]
    fps, loop = 50.0, events["cycle_frames"]
    told = play(8.0, image=lambda t: small[round(t * fps) % loop], fps=fps)
    beats = [u.completed for _, u in told if u.completed]
    ed = [(b.ed_s * fps + loop / 2) % loop - loop / 2 for b in beats]
    assert len(beats) >= 5
    assert np.abs(ed).max() < 3.0
    assert np.median([b.heart_rate_bpm for b in beats]) == pytest.approx(60 * fps / loop, rel=0.01)
    rest = [b.diastasis_s * fps % loop for b in beats if b.diastasis_s]
    assert len(rest) >= 4
    assert np.median(rest) == pytest.approx(np.mean(events["quietest_frames"]), abs=3.0)
