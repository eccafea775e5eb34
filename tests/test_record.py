"""Recorded sequences: what the stream measured on clips of known truth, in the order and units of training."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from random_fusion import random_weights
from tiny_beats import beating_sheet

from specktrack.rt.fusion import N_MEASURED, FusionNet, steady_weights
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import MEASUREMENTS
from specktrack.training.clip_format import TrainingClip
from specktrack.training.encoder import TorchEncoder
from specktrack.training.fusion import FusionModel
from specktrack.training.record import Record, record_sequence, stacked
from specktrack.training.specknet import build

SIZE, N, LONGEST = 128, 6, 12
UNITS_PER_PX = 256 / SIZE


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights() -> dict[str, FloatArray]:
    """Small, so that the tracker does not leave the picture."""
    return random_weights(0, size=0.3)


@pytest.fixture(scope="module")
def engine(weights: dict[str, FloatArray]) -> TorchEncoder:
    torch.manual_seed(0)
    return TorchEncoder(build("specknet-s"), "specknet-s", FusionNet(weights), (SIZE, SIZE))


def recorded(engine: TorchEncoder, clip: TrainingClip, seed: int, n_points: int = N) -> Record | None:
    return record_sequence(engine, clip, np.random.default_rng(seed), n_points, LONGEST)


@pytest.fixture(scope="module")
def records(engine: TorchEncoder) -> list[Record]:
    clip = beating_sheet(pull_px=2.5)
    found = [recorded(engine, clip, seed) for seed in range(8)]
    return [record for record in found if record is not None]


def model_of(weights: dict[str, FloatArray]) -> FusionModel:
    model = FusionModel()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model


def test_points_begin_at_their_true_places(records: list[Record]) -> None:
    assert len(records) >= 4
    for record in records:
        n_frames = len(record.points)
        assert 4 <= n_frames <= LONGEST
        assert record.offset.shape == (n_frames, N_MEASURED, N, 2)
        assert record.counts[0].all()
        np.testing.assert_allclose(record.points[0], record.truth[0], atol=1e-4)


def test_the_flow_recorded_is_that_of_the_true_motion(records: list[Record]) -> None:
    """Order of the frames, units and augmentation in one: the picture moves as the points do."""
    for record in records:
        moved = np.diff(record.truth, axis=0)
        assert np.abs(moved).max() > 1.0
        missed = np.hypot(*np.moveaxis(record.step[1:] - moved, -1, 0))[record.counts[1:]]
        assert np.median(missed) < 0.35 * np.hypot(*np.moveaxis(moved, -1, 0)).max()


def test_sequences_run_in_both_directions_of_time(engine: TorchEncoder) -> None:
    """In this clip everything moves ever faster, so that the first step is small only forwards."""
    clip = beating_sheet(n_frames=13)
    travelled = (np.arange(13) ** 2 / 20).astype(np.float32)
    clip = replace(clip, tracks=(clip.tracks[:, :1] + np.stack((travelled, 0 * travelled), -1)).astype(np.float32))
    is_forward = []
    for seed in range(12):
        record = recorded(engine, clip, seed)
        if record is not None:
            length = np.hypot(*np.diff(record.truth, axis=0)[:, 0].T)
            is_forward.append(bool(length[-1] > length[0]))
    assert set(is_forward) == {True, False}


def test_unrolling_with_the_weights_of_the_recording_gives_its_positions(
    records: list[Record], weights: dict[str, FloatArray]
) -> None:
    batch = stacked(records)
    with torch.no_grad():
        unrolled = model_of(weights).unroll(batch)
    assert max(np.abs(record.points - record.truth).max() for record in records) > 0.3  # the tracker errs
    for k, record in enumerate(records):
        np.testing.assert_allclose(unrolled.points[k, : len(record.points)].numpy(), record.points, atol=2e-3)


def test_unrolling_with_other_weights_goes_where_the_tracker_would_go_with_them(engine: TorchEncoder) -> None:
    """Nearly: what other positions would have measured is told from what was measured where the points were.

    True of patches, which lead all the way back; the evidence of an untrained network is too soft for that.
    """
    clip, other = beating_sheet(pull_px=2.5), steady_weights()
    other["out_bias"][MEASUREMENTS.index("patch")] = 0.5
    missed, differs = [], []
    for seed in range(6):
        first = recorded(engine, clip, seed)
        engine.fusion, before = FusionNet(other), engine.fusion
        second = recorded(engine, clip, seed)
        engine.fusion = before
        if first is None or second is None:
            continue
        with torch.no_grad():
            unrolled = model_of(other).unroll(stacked([first])).points[0].numpy()
        missed.append(np.abs(unrolled - second.points).mean())
        differs.append(np.abs(first.points - second.points).mean())
    assert np.mean(missed) < 0.3 * np.mean(differs)


def test_sequences_of_unequal_length_are_padded_with_frames_that_do_not_count(records: list[Record]) -> None:
    whole = records[0]
    per_frame = {f.name for f in fields(Record)} - {"near", "crowd_far"}
    short = replace(whole, **{name: getattr(whole, name)[:4] for name in per_frame})
    batch = stacked([whole, short])
    assert batch.points.shape[:2] == (2, len(whole.points))
    assert batch.counts[1, :4].any()
    assert not batch.counts[1, 4:].any()
    np.testing.assert_array_equal(batch.offset[1, :4].numpy(), whole.offset[:4])
    with torch.no_grad():
        assert torch.isfinite(FusionModel().unroll(batch).points).all()


def test_the_same_random_numbers_give_the_same_record(engine: TorchEncoder) -> None:
    first, again, other = (recorded(engine, beating_sheet(), seed) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    for field in fields(Record):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert other is None or not np.array_equal(first.truth[0], other.truth[0])


def test_the_contour_of_a_clip_is_followed_too(engine: TorchEncoder) -> None:
    """With one track and a contour of many points only the contour can give so many."""
    clip = beating_sheet()
    clip = replace(clip, tracks=clip.tracks[:1], visible=clip.visible[:1], contour=clip.tracks)
    found = [recorded(engine, clip, seed, n_points=4) for seed in range(12)]
    assert any(record is not None for record in found)
    assert any(record is None for record in found)  # others follow the tracks alone


def test_a_clip_with_too_few_points_in_sight_or_frames_gives_no_record(engine: TorchEncoder) -> None:
    clip = beating_sheet()
    hidden = replace(clip, visible=np.zeros_like(clip.visible))
    short = replace(clip, frames=clip.frames[:3], tracks=clip.tracks[:, :3], visible=clip.visible[:, :3], query_frame=0)
    for unusable in (hidden, short):
        assert all(recorded(engine, unusable, seed) is None for seed in range(4))
    assert all(recorded(engine, clip, seed, n_points=17) is None for seed in range(4))
