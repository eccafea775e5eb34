"""How measurements are weighed: alike in every direction, never far, and in the stream as in training."""

import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_fusion import random_context, random_state, random_vectors, random_weights

from specktrack.rt.errors import EngineError
from specktrack.rt.fusion import (
    LARGEST_CORRECTION,
    N_MEASURED,
    N_VECTORS,
    SHAPES,
    Context,
    Fused,
    FusionNet,
    load_fusion,
    save_fusion,
    scalars,
    steady_weights,
)
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FOLLOWS_POINT, MEASUREMENTS
from specktrack.rt.position import closeness
from specktrack.training.fusion import FusionModel

N = 7


def model_of(weights: dict[str, FloatArray]) -> FusionModel:
    model = FusionModel()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return model


def near_of(rng: np.random.Generator, n: int = N) -> FloatArray:
    return closeness(rng.uniform(90, 130, (n, 2)).astype(np.float32), 10.0)


def with_lost_point(context: Context) -> Context:
    """One more point, of which nothing is known."""
    added = {
        f.name: np.concatenate((getattr(context, f.name).T, getattr(context, f.name).T[:1])).T for f in fields(context)
    }
    return Context(**added)


@given(seed=st.integers(0, 10_000), angle=st.floats(0, 2 * np.pi), is_mirrored=st.booleans())
def test_a_turned_or_mirrored_heart_is_corrected_exactly_alike(seed: int, angle: float, is_mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    net, vectors, near = FusionNet(random_weights(seed)), random_vectors(rng, N), near_of(rng)
    context, state = random_context(rng, N), random_state(rng, N)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if is_mirrored:
        turn = turn @ np.diag([-1.0, 1.0])
    upright = net.step(vectors, context, state, near)
    turned = net.step((vectors @ turn.T).astype(np.float32), context, state, near)
    np.testing.assert_allclose(turned.correction, upright.correction @ turn.T, atol=2e-4)
    np.testing.assert_allclose(turned.confidence, upright.confidence, atol=1e-4)
    np.testing.assert_allclose(turned.state, upright.state, atol=1e-4)
    assert np.abs(upright.correction).max() > 1e-3


@given(seed=st.integers(0, 1000))
def test_the_order_of_the_points_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net, vectors, near = FusionNet(random_weights(seed)), random_vectors(rng, N), near_of(rng)
    context, state, order = random_context(rng, N), random_state(rng, N), rng.permutation(N)
    shuffled = Context(**{f.name: getattr(context, f.name)[..., order] for f in fields(context)})
    there = net.step(vectors[:, order], shuffled, state[order], near[order][:, order])
    here = net.step(vectors, context, state, near)
    np.testing.assert_allclose(there.correction, here.correction[order], atol=1e-4)


@pytest.mark.parametrize("which", ["all of it", "one measurement"])
def test_a_lost_point_stays_lost_and_changes_nothing_for_others(which: str) -> None:
    rng = np.random.default_rng(3)
    net, vectors, context, state = (
        FusionNet(random_weights(3)),
        random_vectors(rng, N),
        random_context(rng, N),
        random_state(rng, N),
    )
    places = rng.uniform(90, 130, (N + 1, 2)).astype(np.float32)
    alone = net.step(vectors, context, state, closeness(places[:N], 10.0))
    lost = random_vectors(rng, 1)
    lost[slice(None) if which == "all of it" else -1] = np.nan
    more = np.concatenate((vectors, lost), 1)
    beside = net.step(more, with_lost_point(context), np.concatenate((state, state[:1])), closeness(places, 10.0))
    assert np.isnan(beside.correction[-1]).all()
    assert beside.confidence[-1] == 0.0
    assert np.isfinite(beside.state).all()
    np.testing.assert_allclose(beside.correction[:-1], alone.correction, atol=1e-5)
    np.testing.assert_allclose(beside.confidence[:-1], alone.confidence, atol=1e-6)


def test_no_correction_is_larger_than_a_point_can_have_gone_astray() -> None:
    rng = np.random.default_rng(4)
    net = FusionNet(random_weights(4, size=20.0))
    fused = net.step(random_vectors(rng, N, length=200.0), random_context(rng, N), random_state(rng, N), near_of(rng))
    length = np.hypot(*fused.correction.T)
    assert length.max() <= LARGEST_CORRECTION * 1.0001
    assert length.max() > LARGEST_CORRECTION / 2


@given(seed=st.integers(0, 1000))
def test_nothing_measured_is_nothing_corrected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    none = np.zeros((N_VECTORS, N, 2), np.float32)
    fused = FusionNet(random_weights(seed)).step(none, random_context(rng, N), random_state(rng, N), near_of(rng))
    assert not fused.correction.any()
    assert ((fused.confidence > 0) & (fused.confidence < 1)).all()


def test_neighbours_of_equal_certainty_share_their_corrections() -> None:
    """The fixed gains know no certainty: each point gets the mean over itself and its neighbours."""
    rng = np.random.default_rng(5)
    net, near = FusionNet(steady_weights()), np.array([[1.0, 0.5], [0.5, 1.0]], np.float32)
    vectors, context, state = random_vectors(rng, 2), random_context(rng, 2), net.start(2)
    apart = net.step(vectors, context, state, np.eye(2, dtype=np.float32)).correction
    together = net.step(vectors, context, state, near).correction
    np.testing.assert_allclose(together[0], (apart[0] + 0.5 * apart[1]) / 1.5, atol=1e-6)


def test_fixed_gains_pull_gently_towards_where_all_evidence_points() -> None:
    rng = np.random.default_rng(6)
    vectors = np.broadcast_to(np.array([2.0, -1.0], np.float32), (N_VECTORS, N, 2))
    net = FusionNet(steady_weights())
    fused = net.step(vectors, random_context(rng, N), net.start(N), near_of(rng))
    share = fused.correction / vectors[0]
    assert (share > 0).all()
    assert (share < 1).all()
    assert fused.confidence.tolist() == [0.5] * N


def test_the_memory_of_past_frames_counts() -> None:
    rng = np.random.default_rng(7)
    net, vectors, context, near = (
        FusionNet(random_weights(7)),
        random_vectors(rng, N),
        random_context(rng, N),
        near_of(rng),
    )
    new = net.step(vectors, context, net.start(N), near)
    later = net.step(vectors, context, new.state, near)
    assert np.abs(later.correction - new.correction).max() > 1e-3


@given(seed=st.integers(0, 1000))
def test_training_computes_the_numbers_of_the_stream_over_several_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, near = random_weights(seed), near_of(rng)
    net, model, state = FusionNet(weights), model_of(weights), FusionNet(weights).start(N)
    theirs = torch.from_numpy(state)[None]
    for _ in range(4):
        vectors, context = random_vectors(rng, N), random_context(rng, N)
        ours: Fused = net.step(vectors, context, state, near)
        told = torch.from_numpy(scalars(vectors, context))[None]
        correction, logit, theirs = model.step(
            torch.from_numpy(vectors)[None], told, theirs, torch.from_numpy(near)[None]
        )
        np.testing.assert_allclose(correction[0].detach().numpy(), ours.correction, atol=1e-5)
        np.testing.assert_allclose(logit[0].sigmoid().detach().numpy(), ours.confidence, atol=1e-5)
        state = ours.state


def test_training_begins_with_the_fixed_gains_whatever_the_seed() -> None:
    rng = np.random.default_rng(8)
    vectors, context, state, near = random_vectors(rng, N), random_context(rng, N), random_state(rng, N), near_of(rng)
    fixed = FusionNet(steady_weights()).step(vectors, context, state, near)
    for seed in range(3):
        fused = FusionNet(FusionModel(seed).arrays()).step(vectors, context, state, near)
        np.testing.assert_allclose(fused.correction, fixed.correction, atol=1e-6)
    assert not torch.equal(FusionModel(0).get_parameter("a"), FusionModel(1).get_parameter("a"))


def test_the_fusion_knows_as_many_measurements_as_a_frame_gives() -> None:
    assert len(MEASUREMENTS) == len(FOLLOWS_POINT) == N_MEASURED == N_VECTORS - 3


def test_saved_weights_come_back_and_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    rng, weights = np.random.default_rng(9), random_weights(9)
    inputs = random_vectors(rng, N), random_context(rng, N), random_state(rng, N), near_of(rng)
    for name in ("one.npz", "two.npz"):
        save_fusion(tmp_path / name, weights)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as file:
        assert {entry.date_time[0] for entry in file.infolist()} == {1980}, "the time of writing is in the file"
    loaded, given_ = load_fusion(tmp_path / "one.npz"), FusionNet(weights)
    np.testing.assert_array_equal(loaded.step(*inputs).correction, given_.step(*inputs).correction)


@pytest.mark.parametrize("key", SHAPES)
def test_weights_missing_or_of_another_shape_are_named(key: str, tmp_path: Path) -> None:
    weights = random_weights(0)
    with pytest.raises(EngineError, match=f"fusion weights: {key} missing or of another shape"):
        FusionNet({**weights, key: weights[key][:-1]})
    np.savez(tmp_path / "old.npz", **{name: value for name, value in weights.items() if name != key})
    with pytest.raises(EngineError, match=rf"old\.npz.* {key} missing") as failure:
        load_fusion(tmp_path / "old.npz")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("content", ["nothing", "text", "half", "array", "missing"])
def test_a_file_without_weights_is_refused_in_one_sentence(content: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    save_fusion(path, steady_weights())
    whole = path.read_bytes()
    path.write_bytes({"nothing": b"", "text": b"no weights", "half": whole[: len(whole) // 2]}.get(content, whole))
    if content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    if content == "missing":
        path.unlink()
    with pytest.raises(EngineError, match=r"weights\.npz: not readable fusion weights") as failure:
        load_fusion(path)
    assert "\n" not in str(failure.value)
