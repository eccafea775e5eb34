"""Synthetic echo clips: reproducible, and true to their own hearts."""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch
from plain_tissue import BARE, PLAIN_LOOK, PlainTissue, without_artefacts
from tiny_clips import centroid
from torch import Tensor

from specktrack.training import phantom as phantom_module
from specktrack.training.imaging import Imaging
from specktrack.training.phantom import (
    Phantom,
    PhantomClip,
    PhantomSpec,
    frames_of_a_beat,
    holding_breath,
    simulate_clip,
    standard_spec,
)
from specktrack.training.random_phantom import random_spec, view_of
from specktrack.training.rhythm import diastasis_window
from specktrack.training.views import VIEWS

SEEDS = (900_011, 900_012, 900_014, 900_016, 900_025)  # psax (too fast for a diastasis), a3c, a2c, a4c, rv


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clip() -> PhantomClip:
    return simulate_clip(standard_spec(rate_bpm=70, seed=4, size_px=256), n_frames=10, n_points=60)


def small(seed: int, view: str = "a4c") -> PhantomClip:
    return simulate_clip(standard_spec(seed=seed, size_px=96, view=view), n_frames=3, n_points=8)


def clean(spec: PhantomSpec) -> PhantomSpec:
    """The same heart, nothing between it and its picture."""
    return replace(spec, imaging=without_artefacts(spec.imaging))


def tiny(seed: int) -> PhantomSpec:
    """A random clip of the mixed set on a display of 64 pixels."""
    return random_spec(seed, view_of(seed), size_px=64)


@lru_cache(maxsize=len(SEEDS))
def whole_beat(seed: int) -> PhantomClip:
    """A random clip of the length that clips have unless said otherwise."""
    return simulate_clip(tiny(seed), n_points=4)


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_seed_gives_the_same_clip_bit_for_bit(view: str) -> None:
    first, second, other = small(1, view), small(1, view), small(2, view)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.tracks, second.tracks)
    assert not np.array_equal(first.frames, other.frames)


def test_random_clips_of_one_seed_are_equal_bit_for_bit() -> None:
    first, second = (simulate_clip(tiny(900_003), 4, 8) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.tracks, second.tracks)


def test_frames_come_one_after_another_like_single_ones() -> None:
    spec = standard_spec(seed=9, size_px=64)
    stream = Phantom(spec).frames()
    single = Phantom(spec)
    for k in range(3):
        assert np.array_equal(next(stream), single.frame(k))


def test_a_clip_has_the_layout_it_promises(clip: PhantomClip) -> None:
    assert clip.frames.shape == (10, 256, 256)
    assert clip.frames.dtype == np.uint8
    assert clip.tracks.shape == (60, 10, 2)
    assert clip.visible.shape == (60, 10)
    assert clip.wall_depth.shape == (60,)
    assert clip.contour.shape == (61, 10, 2)
    assert clip.time_s.shape == clip.state.shape == clip.phase.shape == (10,)


# Truth


@pytest.mark.parametrize("seed", SEEDS)
def test_tracks_are_the_positions_of_the_heart_to_a_thousandth_of_a_pixel(seed: int) -> None:
    """Against the motion in double precision, at the moment of each line."""
    spec = replace(tiny(seed), imaging=replace(tiny(seed).imaging, size_px=256))
    phantom, n_frames = Phantom(spec), 40
    points = phantom.material_points(30, n_frames=n_frames)
    exact, imaging, sweep = points.double(), spec.imaging, spec.imaging.sweep_s
    for k in range(0, n_frames, 3):
        time_s = k / spec.frame_rate_hz
        here = spec.heart.position(exact, time_s)
        speed = (spec.heart.position(exact, time_s + sweep) - here) / sweep
        truth = imaging.to_pixels(here + speed * imaging.line_delay_s(here)[:, None])
        assert float((phantom.truth(points, k) - truth).abs().max()) < 1e-3


@dataclass
class LoneScatterer:
    """Takes the place of `Scatterers`: one echo in darkness."""

    points: Tensor

    def answer(self, time_s: float) -> tuple[Tensor, Tensor]:
        return torch.full((1,), 30.0), torch.zeros(1)


@pytest.mark.parametrize("sweep_s", [0.0, 0.03])
@pytest.mark.parametrize("place_mm", [(-32.0, 70.0), (5.0, 40.0), (40.0, 90.0)])
def test_a_lone_bright_scatterer_appears_where_the_truth_says(
    sweep_s: float, place_mm: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it moves under the sweep of the lines, which is slow here: up to two pixels between the edges."""
    point = torch.tensor([place_mm])
    monkeypatch.setattr(phantom_module, "Scatterers", lambda *_: LoneScatterer(point))
    imaging = replace(BARE, sweep_s=sweep_s)
    phantom = Phantom(PhantomSpec(PlainTissue(velocity=(90.0, -60.0)), imaging, PLAIN_LOOK, frame_rate_hz=50.0))
    for k in range(4):
        truth = phantom.truth(point, k)[0].numpy()
        assert centroid(phantom.frame(k), truth, 14) == pytest.approx(truth, abs=0.3)


def test_a_sweep_shows_the_edges_of_the_sector_at_other_moments_than_its_middle() -> None:
    imaging = replace(BARE, sweep_s=0.03)
    phantom = Phantom(PhantomSpec(PlainTissue(velocity=(0.0, 100.0)), imaging, PLAIN_LOOK))
    points = torch.tensor([[-40.0, 60.0], [0.0, 60.0], [40.0, 60.0]])
    moved_mm = imaging.to_mm(phantom.truth(points, 0))[:, 1] - points[:, 1]
    delay = imaging.line_delay_s(points)
    assert moved_mm.tolist() == pytest.approx((100.0 * delay).tolist(), abs=1e-3)
    assert float(moved_mm[2]) == pytest.approx(-float(moved_mm[0]), abs=1e-3)
    assert float(moved_mm[2]) > 1.0


def test_the_true_contour_is_the_contour_of_the_heart(clip: PhantomClip) -> None:
    spec = standard_spec(rate_bpm=70, seed=4, size_px=256)
    truth = spec.imaging.to_pixels(spec.heart.position(spec.heart.contour(61), 9 / spec.frame_rate_hz))
    assert np.abs(clip.contour[:, 9] - truth.numpy()).max() < 1e-3


def test_false_motion_of_oblique_structures_leaves_the_truth_alone() -> None:
    spec = standard_spec(seed=3, size_px=64)
    sloping = replace(spec, look=replace(spec.look, oblique=1.2, turnover_mm=1.2, slide_mm=(6.0, 0.0)))
    straight, false = (simulate_clip(s, 8, 30) for s in (spec, sloping))
    assert np.array_equal(straight.tracks, false.tracks)
    assert np.array_equal(straight.contour, false.contour)
    assert not np.array_equal(straight.frames, false.frames)


def test_ordinary_flow_follows_the_truth_of_a_clean_clip() -> None:
    """Frames and tracks agree: dense inverse search, chained over a systole, stays near the truth."""
    clip = simulate_clip(clean(standard_spec(rate_bpm=70, seed=2, size_px=256)), n_frames=16, n_points=60)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    at = clip.tracks[:, 0].copy()
    for k in range(1, 16):
        field = flow.calc(clip.frames[k - 1], clip.frames[k], None)
        step = cv2.remap(field, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR)
        at = at + step.reshape(-1, 2)
    moved = np.linalg.norm(clip.tracks[:, -1] - clip.tracks[:, 0], axis=1)
    error = np.linalg.norm(clip.tracks[:, -1] - at, axis=1)
    assert np.median(moved) > 3.0
    assert np.median(error) < 1.5


# Material points


@pytest.mark.parametrize("seed", range(900_000, 900_012))
def test_material_points_lie_in_the_tracked_wall_and_stay_in_the_sector(seed: int) -> None:
    spec = tiny(seed)
    phantom, n_frames = Phantom(spec), 24
    points = phantom.material_points(60, n_frames=n_frames)
    depth, is_wall = spec.heart.wall_coordinate(points), spec.heart.is_tracked_wall(points)
    assert len(points) == 60
    assert int((is_wall & (depth > 0.05) & (depth < 0.95)).sum()) >= round(0.9 * 60)
    for k in (0, n_frames // 3, n_frames - 1):
        seen = spec.imaging.to_mm(phantom.truth(points, k))
        assert spec.imaging.in_sector(seen, 2.9).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_visible_points_lie_in_the_sector_and_on_the_image(seed: int) -> None:
    spec = tiny(seed)
    clip = simulate_clip(spec, n_frames=6, n_points=40)
    seen = clip.tracks[clip.visible]
    assert clip.visible.mean() > 0.95
    assert (seen >= 0).all()
    assert (seen <= 63).all()
    assert spec.imaging.in_sector(spec.imaging.to_mm(torch.from_numpy(seen)), 0.0).all()


def test_wall_depth_is_known_in_the_tracked_wall_and_nowhere_else(clip: PhantomClip) -> None:
    known = clip.wall_depth[np.isfinite(clip.wall_depth)]
    assert len(known) == pytest.approx(0.9 * 60, abs=3)
    assert (known >= 0).all()
    assert (known <= 1).all()
    assert known.std() > 0.15  # spread over the layers


def test_most_query_points_lie_on_tissue_bright_enough_to_follow(clip: PhantomClip) -> None:
    x, y = clip.tracks[:, 0].round().astype(int).T
    smooth = cv2.GaussianBlur(clip.frames[0], (0, 0), 2.0)
    assert np.median(smooth[y, x]) > 60


def test_tissue_is_brighter_than_blood() -> None:
    spec = clean(standard_spec(seed=1, size_px=192))
    phantom = Phantom(spec)
    image = cv2.GaussianBlur(phantom.frame(0), (0, 0), 2.0)

    def mean_level(points: Tensor) -> float:
        x, y = phantom.truth(points, 0).round().long().T.numpy()
        return float(image[y, x].mean())

    cavity = torch.tensor([[x, 55.0] for x in (-8.0, -4.0, 0.0, 4.0, 8.0)])
    assert mean_level(spec.heart.contour(41)[5:-5]) > mean_level(cavity) + 30


# The beat


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clip_is_one_whole_beat_unless_said_otherwise(seed: int) -> None:
    spec, clip = tiny(seed), whole_beat(seed)
    period_s = spec.heart.rhythm.beat_at(0.0)[2]
    assert len(clip.frames) == frames_of_a_beat(spec)
    assert clip.time_s[-1] == pytest.approx(period_s, abs=0.5 / spec.frame_rate_hz)
    assert len(simulate_clip(spec, n_frames=5, n_points=4).frames) == 5


def test_end_diastoles_lie_at_the_beats_of_the_rhythm() -> None:
    clip = simulate_clip(standard_spec(rate_bpm=120, size_px=64), n_frames=60, n_points=4)
    assert clip.ed_frames == (0, 28, 55)  # 0, 0.5 and 1.0 s at 55 frames a second
    assert clip.state[0] == pytest.approx(0.0, abs=1e-6)
    assert len(clip.es_frames) == 2
    for frame in clip.es_frames:
        assert clip.state[frame] > 0.98


def test_a_beat_cut_off_in_systole_has_no_end_systole() -> None:
    assert simulate_clip(standard_spec(rate_bpm=60, size_px=64), n_frames=12, n_points=2).es_frames == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_phase_events_and_contraction_tell_the_same_story(seed: int) -> None:
    spec, clip = tiny(seed), whole_beat(seed)
    frame = 1.0 / spec.frame_rate_hz / spec.heart.rhythm.beat_at(0.0)[2]  # as a share of the beat
    assert (clip.phase >= 0).all()
    assert (clip.phase < 1).all()
    assert ((np.diff(clip.phase) > 0) | (clip.phase[1:] < 1.5 * frame)).all()  # only ever back to the next beat
    for ed in clip.ed_frames:
        assert min(clip.phase[ed], 1 - clip.phase[ed]) < frame
        assert clip.state[ed] < 0.15
    for es in clip.es_frames:
        assert 0.25 < clip.phase[es] < 0.6
        assert clip.state[es] == clip.state[max(0, es - 2) : es + 3].max()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_query_frame_lies_in_diastasis_when_there_is_one(seed: int) -> None:
    """Within 30 ms: diastasis is taken from the heart rate, while some hearts have a longer systole than theirs."""
    spec, clip = tiny(seed), whole_beat(seed)
    rhythm, rate = spec.heart.rhythm, spec.frame_rate_hz

    def from_diastasis_s(frame: int) -> float:
        period = rhythm.beat_at(frame / rate)[2]
        start, end = diastasis_window(period, rhythm.course, rhythm.has_kick)
        phase = rhythm.phase(frame / rate)
        return period * max(start - phase, phase - end) if end > start else np.inf

    has_one = min(from_diastasis_s(k) for k in range(len(clip.frames))) <= 0
    assert has_one != (seed == 900_011)
    if has_one:
        assert from_diastasis_s(clip.query_frame) < 0.03


def test_an_ordinary_heart_is_queried_in_the_middle_of_diastasis() -> None:
    clip = simulate_clip(standard_spec(rate_bpm=60, size_px=64), n_points=2)
    start, end = diastasis_window(1.0)
    assert clip.phase[clip.query_frame] == pytest.approx((start + end) / 2, abs=0.02)


@pytest.mark.parametrize("view", VIEWS)
def test_a_heart_whose_breath_is_held_is_back_in_place_after_a_beat(view: str) -> None:
    spec = standard_spec(rate_bpm=60.0, view=view, size_px=64)
    held = holding_breath(spec)
    points = Phantom(spec).material_points(20)
    places = [Phantom(held).truth(points, frame) for frame in (0, 55)]
    assert float((places[1] - places[0]).abs().max()) < 1e-3
    breathing = [Phantom(spec).truth(points, frame) for frame in (0, 55)]
    assert float((breathing[1] - breathing[0]).abs().max()) > 0.5


def test_a_compressed_clip_differs_from_the_raw_one_a_little() -> None:
    raw, coarse = (
        simulate_clip(standard_spec(seed=1, size_px=96), 2, 4).frames.astype(int),
        simulate_clip(
            PhantomSpec(standard_spec(seed=1).heart, Imaging(size_px=96, jpeg_quality=50), seed=1), 2, 4
        ).frames,
    )
    assert 0.5 < np.abs(raw - coarse).mean() < 10.0
