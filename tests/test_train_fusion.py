"""`train-fusion`: rounds of recording and learning make the tracker better, stop and go on, and say what is wrong."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_fusion import random_weights
from tiny_beats import write_sheets
from tiny_runs import assert_equal

from specktrack.rt.errors import ConfigError
from specktrack.rt.fusion import LARGEST_CORRECTION, N_MEASURED, N_VECTORS, SHAPES, STATE, steady_weights
from specktrack.rt.geometry import FloatArray
from specktrack.rt.measure import FOLLOWS_POINT, MEASUREMENTS
from specktrack.rt.settings import load_settings
from specktrack.training import train_fusion
from specktrack.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from specktrack.training.fusion import FusionModel, Sequences, uneven_walls
from specktrack.training.record import Record, stacked
from specktrack.training.specknet import build
from specktrack.training.train_fusion import FusionConfig, apart, fit, fusion_loss

CONFIGS = Path(__file__).parents[1] / "configs" / "train"
TINY = {
    "rounds": 2,
    "sequences": 4,
    "n_points": 5,
    "max_frames": 8,
    "steps": 25,
    "batch": 3,
    "size": 128,
    "jobs": 1,
    "gains": "learned",
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and an untrained network."""
    folder = tmp_path_factory.mktemp("fusion")
    write_sheets(folder / "clips", {"a4c": 2})
    torch.manual_seed(0)
    state = {"network": build("specknet-s").state_dict()}
    save_checkpoint(folder / "network.pt", Checkpoint("specknet-s", 0, state, {"data": ["clips"], "seed": 1}))
    return folder


def settings_of(folder: Path, out: Path, **changes: object) -> list[str]:
    settings = {"checkpoint": folder / "network.pt", "data": f"[{folder / 'clips'}]", "out": out, **TINY, **changes}
    return [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `train-fusion` as a user does; the exit code."""
    monkeypatch.setattr(sys, "argv", ["train-fusion", *arguments])
    with pytest.raises(SystemExit) as stopped:
        train_fusion.main()
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> Path:
    out = folder / "whole"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert command(monkeypatch, *settings_of(folder, out)) == 0
    return out


def records_of(out: Path) -> list[Record]:
    saved = [row for number in range(2) for row in torch.load(out / f"records-{number}.pt", weights_only=True)]
    return [Record(**{key: value.numpy() for key, value in row.items()}) for row in saved]


def fusion_of(path: Path) -> FusionModel:
    model = FusionModel()
    model.load_state_dict(load_checkpoint(path).state["fusion"])
    return model


def test_a_run_ends_with_network_and_fusion_in_one_checkpoint(folder: Path, whole_run: Path) -> None:
    found, network = load_checkpoint(whole_run / "tracker.pt"), load_checkpoint(folder / "network.pt")
    assert (found.model, found.step, found.settings) == (network.model, network.step, network.settings)
    assert_equal(found.state["network"], network.state["network"])
    assert found.state["fusion"].keys() == SHAPES.keys()
    assert not torch.equal(found.state["fusion"]["out"], FusionModel(1).get_parameter("out"))


def test_learning_lowers_the_loss_and_the_error_of_the_tracks(whole_run: Path) -> None:
    batch = stacked(records_of(whole_run))
    with torch.no_grad():
        before, error_before = fusion_loss(FusionModel(FusionConfig().seed), batch)
        after, error_after = fusion_loss(fusion_of(whole_run / "tracker.pt"), batch)
    assert float(after) < float(before)
    assert error_after < error_before


def test_with_fixed_gains_only_the_confidence_is_learned(
    folder: Path, whole_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "fixed"
    assert command(monkeypatch, *settings_of(folder, out, gains="fixed", rounds=1)) == 0
    learned, start = fusion_of(out / "tracker.pt"), FusionModel(1)
    gains = N_VECTORS + 1  # and the certainty among neighbours
    for name in ("out", "out_bias"):
        found, was = learned.get_parameter(name), start.get_parameter(name)
        assert torch.equal(found[..., :gains], was[..., :gains])
        assert not torch.equal(found[..., gains:], was[..., gains:])


def test_the_second_round_records_the_tracker_that_the_first_one_taught(whole_run: Path) -> None:
    """Recorded positions are those the fusion of the round before arrives at, not those of the fixed gains."""
    rows = torch.load(whole_run / "records-1.pt", weights_only=True)
    batch = stacked([Record(**{key: value.numpy() for key, value in row.items()}) for row in rows])
    taught, untaught = FusionModel(), FusionModel(FusionConfig().seed)
    taught.load_state_dict(torch.load(whole_run / "round-0.pt", weights_only=True))
    with torch.no_grad():
        missed, missed_untaught = (far_from_recorded(model, batch) for model in (taught, untaught))
    assert missed < 0.01 < missed_untaught


def test_half_believed_gains_lie_half_way_and_confidence_is_kept() -> None:
    model = FusionModel(3)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    given = torch.randn(1, 5, SHAPES["a"][0]), torch.zeros(1, 5, STATE), torch.eye(5)[None]
    vectors = torch.randn(1, N_VECTORS, 5, 2)
    whole, none, half = FusionModel(3), FusionModel(3), FusionModel(3)
    whole.load_state_dict(model.believed(1.0))
    none.load_state_dict(model.believed(0.0))
    half.load_state_dict(model.believed(0.5))
    with torch.no_grad():
        (learned, said, _), (fixed, _, _), (between, also_said, _) = (
            each.step(vectors, *given) for each in (whole, none, half)
        )
    steady = torch.einsum("m,bmnx->bnx", torch.from_numpy(steady_weights()["out_bias"])[:N_VECTORS], vectors)
    torch.testing.assert_close(fixed, steady, atol=1e-5, rtol=0)
    is_small = learned.norm(dim=-1) < 0.99 * LARGEST_CORRECTION  # larger ones are cut
    torch.testing.assert_close(between[is_small], ((learned + fixed) / 2)[is_small], atol=1e-4, rtol=0)
    torch.testing.assert_close(also_said, said)


def test_uneven_walls_err_in_every_direction_alike_and_neighbours_err_together() -> None:
    near = torch.exp(-0.5 * ((torch.arange(40.0)[:, None] - torch.arange(40.0)) / 3.0) ** 2).expand(4000, -1, -1)
    uneven = uneven_walls(near, 0.5, torch.Generator().manual_seed(0))
    spread = uneven.square().mean((0, 1)).sqrt()
    torch.testing.assert_close(spread, torch.full((2, 2), 0.5 / 3**0.5), atol=0.02, rtol=0)  # uniform up to 0.5
    beside = (uneven[:, 20] * uneven[:, 21]).mean() / uneven[:, 20].square().mean()
    far = (uneven[:, 5] * uneven[:, 35]).mean() / uneven[:, 5].square().mean()
    assert beside > 0.9
    assert abs(far) < 0.1


def far_from_recorded(model: FusionModel, batch: Sequences) -> float:
    """The largest distance of unrolled positions from the recorded ones, in frames that count."""
    distance = (model.unroll(batch).points - batch.points).norm(dim=-1)
    return float(distance[batch.counts].max())


def test_a_run_stopped_in_its_second_round_goes_on_to_the_same_weights(
    folder: Path, whole_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "stopped"

    def dies_in_the_second_round(model: FusionModel, records: list[Record], settings: Any, number: int) -> float:
        if number == 1:
            raise KeyboardInterrupt
        return fit(model, records, settings, number)

    with monkeypatch.context() as power_cut:
        power_cut.setattr(train_fusion, "fit", dies_in_the_second_round)
        assert command(power_cut, *settings_of(folder, out)) != 0
    assert (out / "round-0.pt").is_file()
    assert not (out / "round-1.pt").exists()
    recorded = (out / "records-1.pt").read_bytes()
    assert command(monkeypatch, *settings_of(folder, out)) == 0
    assert (out / "records-1.pt").read_bytes() == recorded
    assert_equal(load_checkpoint(out / "tracker.pt").state, load_checkpoint(whole_run / "tracker.pt").state)


def test_a_finished_run_is_not_done_again(
    folder: Path, whole_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_checkpoint(whole_run / "tracker.pt").state
    assert command(monkeypatch, *settings_of(folder, whole_run, jobs=2)) == 0  # how many record is no other run
    said = capsys.readouterr().out
    assert "round" not in said
    assert f"next: export-trt {whole_run / 'tracker.pt'}" in said
    assert_equal(load_checkpoint(whole_run / "tracker.pt").state, before)


def test_a_fusion_learned_with_one_network_can_be_taken_as_it_is_for_another(
    folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"network": build("specknet-b").state_dict()}
    save_checkpoint(tmp_path / "wide.pt", Checkpoint("specknet-b", 0, other, {}))
    taken = {"checkpoint": tmp_path / "wide.pt", "init_from": whole_run / "tracker.pt", "rounds": 0}
    assert command(monkeypatch, *settings_of(folder, tmp_path / "out", **taken)) == 0
    found = load_checkpoint(tmp_path / "out" / "tracker.pt")
    assert found.model == "specknet-b"
    assert_equal(found.state["fusion"], load_checkpoint(whole_run / "tracker.pt").state["fusion"])


def test_a_round_can_begin_with_a_fusion_learned_before(
    folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first round records is the tracker with that fusion."""
    out = tmp_path / "out"
    begun = {"init_from": whole_run / "tracker.pt", "rounds": 1}
    assert command(monkeypatch, *settings_of(folder, out, **begun)) == 0
    rows = torch.load(out / "records-0.pt", weights_only=True)
    batch = stacked([Record(**{key: value.numpy() for key, value in row.items()}) for row in rows])
    with torch.no_grad():
        assert far_from_recorded(fusion_of(whole_run / "tracker.pt"), batch) < 0.01


def test_what_a_round_began_with_can_be_kept_in_part(
    folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, begun = tmp_path / "out", load_checkpoint(whole_run / "tracker.pt").state["fusion"]
    fusions = []
    for kept in (0.0, 0.25, 1.0):  # the finished round is on disk: only what is written differs
        changes = {"init_from": whole_run / "tracker.pt", "rounds": 1, "kept": kept}
        assert command(monkeypatch, *settings_of(folder, out, **changes)) == 0
        fusions.append(load_checkpoint(out / "tracker.pt").state["fusion"])
    learned, mixed, same = fusions
    assert_equal(same, begun)
    for key, value in mixed.items():
        torch.testing.assert_close(value, 0.25 * begun[key] + 0.75 * learned[key])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"data": "[nowhere]"}, "nowhere: no .npz clips found"),
        ({"n_points": 400}, "no clip shows 400 points; lower n_points"),
        ({"checkpoint": "specknet-x"}, "specknet-x: not a checkpoint file and not a shipped network"),
        ({"checkpoint": "none.pt"}, "none.pt: no such checkpoint"),
        ({"n_point": 4}, "did you mean 'n_points'"),
        ({"size": 100}, "size: "),
        ({"rounds": 0}, "rounds: 0 learns nothing; name the fusion to take as init_from"),
        ({"kept": 0.5}, "kept: there is nothing to keep; name the fusion to begin with as init_from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_one_sentence(
    changes: dict[str, object],
    complaint: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, *settings_of(folder, tmp_path / "out", **changes)) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_a_run_goes_on_only_with_the_settings_it_was_begun_with(
    folder: Path, whole_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, *settings_of(folder, whole_run, learning_rate=0.1)) == 2
    assert "whole: holds a run with other settings; choose another out" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("fusion*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    load_settings(FusionConfig, path, ())


def test_a_setting_out_of_range_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="rounds: "):
        load_settings(FusionConfig, None, ["rounds=-1"])


def still_heart(n_frames: int = 6, n_points: int = 3, seed: int = 0) -> Record:
    """Nothing moves; the recorded tracker wandered, its anchors always knew the truth, all else is noise."""
    rng = np.random.default_rng(seed)

    def noise(*shape: int) -> FloatArray:
        return rng.normal(0, 1, shape).astype(np.float32)

    truth = np.broadcast_to(100 + 20 * noise(n_points, 2), (n_frames, n_points, 2)).astype(np.float32)
    points = truth + noise(n_frames, n_points, 2)
    points[0] = truth[0]
    offset = noise(n_frames, N_MEASURED, n_points, 2)
    offset[1:, ~FOLLOWS_POINT] = (truth[1:] - points[:-1])[:, None]
    share = np.full((n_frames, n_points), 0.5, np.float32)
    near = np.eye(n_points, dtype=np.float32)
    spread = np.ones((n_frames, N_MEASURED, n_points), np.float32)
    still = np.zeros_like(truth)
    counts = np.ones((n_frames, n_points), bool)
    return Record(points, still, noise(*truth.shape), offset, spread, share, share, near, near.sum(1), truth, counts)


def anchors_only() -> FusionModel:
    """A fusion that goes all the way to where the anchor and its neighbours see the point."""
    model = FusionModel()
    with torch.no_grad():
        model.get_parameter("out_bias").zero_()[MEASUREMENTS.index("near")] = 1.0
    return model


def test_a_tracker_that_is_always_right_has_no_error() -> None:
    wandering, right = (fusion_loss(model, stacked([still_heart()])) for model in (FusionModel(), anchors_only()))
    assert right[1] < 0.01
    assert wandering[1] > 0.1
    assert float(right[0].detach()) < float(wandering[0].detach())


def test_frames_in_which_a_point_is_hidden_do_not_count() -> None:
    heart = still_heart()
    counts, truth = heart.counts.copy(), heart.truth.copy()
    counts[3:, 0], truth[3:, 0] = False, 500.0
    seen, away = (stacked([replace(heart, counts=counts, truth=t)]) for t in (heart.truth, truth))
    assert fusion_loss(FusionModel(), away)[1] == pytest.approx(fusion_loss(FusionModel(), seen)[1], rel=1e-5)
    assert fusion_loss(FusionModel(), stacked([replace(heart, truth=truth)]))[1] > 10.0


def test_sure_of_being_right_costs_less_than_sure_of_being_wrong() -> None:
    losses = []
    for logit in (4.0, -4.0):
        model = anchors_only()
        with torch.no_grad():
            model.get_parameter("out_bias")[-1] = logit
        losses.append(float(fusion_loss(model, stacked([still_heart()]))[0].detach()))
    assert losses[0] < losses[1]


def test_an_error_that_neighbours_share_costs_nothing_between_them() -> None:
    batch = stacked([still_heart(n_points=6)])
    shared = torch.ones_like(batch.truth) * torch.tensor([3.0, -1.0])
    against = shared * torch.tensor([1.0, -1.0] * 3)[:, None]
    counts = batch.counts.clone()
    assert float(apart(shared, counts, batch.truth[:, 0])) < 0.01
    assert float(apart(against, counts, batch.truth[:, 0])) > 1.0
    counts[:, :, 1::2] = False  # hidden points do not count
    assert float(apart(against, counts, batch.truth[:, 0])) < 0.01


def test_errors_between_neighbours_can_be_given_a_weight() -> None:
    batch = stacked([still_heart(n_points=6)])
    with torch.no_grad():
        plain, weighted = (float(fusion_loss(FusionModel(), batch, None, weight)[0]) for weight in (0.0, 1.0))
    assert weighted > plain + 0.1


def test_gradients_are_finite_and_reach_every_weight() -> None:
    model = FusionModel()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in random_weights(0, size=0.5).items()})
    fusion_loss(model, stacked([still_heart(seed=k) for k in range(2)]))[0].backward()  # type: ignore[no-untyped-call]
    for key in SHAPES:
        gradient = model.get_parameter(key).grad
        assert gradient is not None, key
        assert gradient.isfinite().all(), key
        assert float(gradient.abs().sum()) > 0, key
