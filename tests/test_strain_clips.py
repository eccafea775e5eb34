"""One beat of an annotated clip, tracked there and back, at its true events."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shrinking import ES_S, PERIOD_S, RATE_HZ, REST_S, shrinking

from specktrack.rt.config import SessionConfig
from specktrack.rt.engine_block import BlockEngine
from specktrack.training.clip_format import TrainingClip, save_clip
from specktrack.training.strain_clips import clips_of, try_clip

ENGINE = BlockEngine()


def clip() -> TrainingClip:
    """A wall that shortens by 12 %, from end-diastole to end-diastole."""
    frames, contour = shrinking(beats=1)
    inner = contour[5:-5:5]
    return TrainingClip(
        name="a4c-1",
        frames=np.maximum(frames, 8),
        tracks=inner,
        visible=np.ones(inner.shape[:2], bool),
        frame_rate_hz=RATE_HZ,
        mm_per_px=(0.7, 0.7),
        ed_frames=(0,),
        es_frames=(round(ES_S * RATE_HZ),),
        view="a4c",
        contour=contour,
        query_frame=round(REST_S * RATE_HZ),
    )


def saved(folder: Path, made: TrainingClip) -> Path:
    path = folder / f"{made.name}.npz"
    save_clip(path, made)
    return path


def test_a_beat_of_known_strain_is_measured_at_its_true_events(tmp_path: Path) -> None:
    score = try_clip(saved(tmp_path, clip()), SessionConfig(), ENGINE)
    assert score is not None
    (beat,) = score.beats
    assert beat.truth == pytest.approx(-12.0, abs=0.1)
    assert beat.tracked == pytest.approx(beat.truth, abs=1.0)
    assert (beat.ed_late_ms, beat.es_late_ms, beat.retracked) == (0.0, 0.0, True)


def test_a_wall_that_leaves_the_picture_is_not_assessable(tmp_path: Path) -> None:
    made = clip()
    made.frames[:, :, 180:] = 0
    assert try_clip(saved(tmp_path, made), SessionConfig(), ENGINE) is None


def test_a_clip_without_a_systole_after_end_diastole_has_no_score(tmp_path: Path) -> None:
    assert try_clip(saved(tmp_path, replace(clip(), es_frames=())), SessionConfig(), ENGINE) is None


def test_only_views_of_the_left_ventricle_are_taken(tmp_path: Path) -> None:
    made = clip()
    for name in ("a4c-1", "psax-2", "a3c-3"):
        saved(tmp_path, replace(made, name=name))
    assert [path.stem for path in clips_of([str(tmp_path)])] == ["a3c-3", "a4c-1"]
    assert clips_of([]) == []
    assert PERIOD_S > REST_S
