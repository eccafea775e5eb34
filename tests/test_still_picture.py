"""What does not move with the heart is learned from the stream and taken out of the picture, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import SIDE, frame, grid, shifted, speckle

from specktrack.rt.config import MatchConfig, ModelConfig, SessionConfig
from specktrack.rt.engine import Engine, open_engine
from specktrack.rt.lucas_kanade import SMALL, fit, padded
from specktrack.rt.session import Session
from specktrack.rt.still_picture import BLIND_S, MEMORY_FRAMES, SURE_S, StillPicture, memory_frames, share_for

Image = NDArray[np.uint8]
SHARE = 0.3
RATE_HZ = 50.0
N_FRAMES = 100


def sway_px(k: int, reach_px: float = 12.0) -> float:
    """To and fro, a beat in fifty frames."""
    return float(reach_px * np.sin(2 * np.pi * k / 50))


def swaying(n_frames: int = N_FRAMES, reach_px: float = 12.0) -> list[Image]:
    """Speckle that sways."""
    picture = speckle()
    return [shifted(picture, sway_px(k, reach_px), 0) for k in range(n_frames)]


def hazy(images: list[Image]) -> list[Image]:
    """The same behind speckle that stands still."""
    haze = speckle(1, SIDE).astype(np.float32)
    return [np.clip(0.5 * image + 0.5 * haze, 0, 255).astype(np.uint8) for image in images]


def learned(images: list[Image], share: float = SHARE) -> StillPicture:
    still = StillPicture(share)
    for k, image in enumerate(images):
        still.learn(image, k / RATE_HZ)
    return still


def alike(a: Image, b: Image) -> float:
    """Correlation of two pictures in their middle."""
    middle = slice(SIDE // 4, 3 * SIDE // 4)
    return float(np.corrcoef(a[middle, middle].ravel(), b[middle, middle].ravel())[0, 1])


def test_of_haze_over_moving_speckle_a_part_is_taken_out() -> None:
    shown, behind = hazy(swaying()), swaying()
    still = learned(shown)
    assert alike(still.taken_out(shown[12]), behind[12]) > alike(shown[12], behind[12]) + 0.05


def test_flow_behind_haze_is_pulled_to_a_standstill_less() -> None:
    shown = hazy(swaying())
    still = learned(shown)
    points = grid()
    before, after = 48, 50  # where it moves fastest
    true_px = sway_px(after) - sway_px(before)

    def seen_px(images: list[Image]) -> float:
        found = fit(padded(images[before]), padded(images[after]), points, points, SMALL)
        return float(np.mean(found.points[:, 0] - points[:, 0]))

    plain, cleaned = seen_px(shown), seen_px([still.taken_out(image) for image in shown])
    assert abs(cleaned - true_px) < abs(plain - true_px)


def test_speckle_that_moves_far_keeps_its_picture() -> None:
    images = swaying(reach_px=40.0)
    still = learned(images)
    assert alike(still.taken_out(images[12]), images[12]) > 0.97


def test_coarse_structure_is_left_alone() -> None:
    """A wall that rests would be in any mean: only fine detail is taken out."""
    wall = np.zeros((SIDE, SIDE), np.uint8)
    wall[:, SIDE // 2 :] = 200
    taken_out = learned([wall] * N_FRAMES).taken_out(wall)
    far = np.s_[:, SIDE // 2 + SIDE // 8 :]
    np.testing.assert_array_equal(taken_out[far], wall[far])


def test_a_picture_that_never_moves_stays_as_it_is() -> None:
    picture = shifted(speckle(), 0, 0)
    np.testing.assert_array_equal(learned([picture] * N_FRAMES).taken_out(picture), picture)


@pytest.mark.parametrize("share", [0.0, SHARE])
def test_before_a_beat_has_passed_images_stay_as_they_are(share: float) -> None:
    images = hazy(swaying(int(BLIND_S * RATE_HZ)))
    assert learned(images, share).taken_out(images[0]) is images[0]


def test_without_a_share_nothing_is_ever_taken_out() -> None:
    images = hazy(swaying())
    assert learned(images, 0.0).taken_out(images[3]) is images[3]


def test_a_clip_at_hand_is_known_from_its_first_frame_as_a_stream_is_later() -> None:
    images = hazy(swaying())
    at_once, later = StillPicture.of(images, SHARE).taken_out(images[3]), learned(images).taken_out(images[3])
    assert len(images) / RATE_HZ > SURE_S
    assert np.abs(at_once.astype(int) - later.astype(int)).mean() < 1.5


def test_a_short_clip_is_known_as_a_whole_and_learned_only_once() -> None:
    images = hazy(swaying(50))
    still = StillPicture.of(images, SHARE)
    before = still.taken_out(images[3])
    for k, image in enumerate(images):
        still.learn(image, k / RATE_HZ)
    np.testing.assert_array_equal(still.taken_out(images[3]), before)


def test_another_picture_begins_from_nothing() -> None:
    still = learned(hazy(swaying()))
    still.reset()
    image = swaying(1)[0]
    assert still.taken_out(image) is image


def test_a_fast_scanner_is_remembered_for_as_long_as_a_slow_one() -> None:
    """At 400 frames a second a hundred frames are a quarter of a beat: what they have in common is no haze."""
    assert memory_frames(50.0) == memory_frames(55.0) == MEMORY_FRAMES
    assert memory_frames(400.0) == 720
    images = [shifted(speckle(), sway_px(k / 8), 0) for k in range(0, 800, 2)]
    slow, fast = StillPicture(SHARE), StillPicture(SHARE)
    for k, image in enumerate(images[::4]):
        slow.learn(image, k / RATE_HZ)
    for k, image in enumerate(images):
        fast.learn(image, k / (4 * RATE_HZ))
    difference = slow.taken_out(images[6]).astype(int) - fast.taken_out(images[6]).astype(int)
    assert np.abs(difference).mean() < 1.0


def test_a_pause_is_no_beat() -> None:
    images = hazy(swaying(32))
    still = StillPicture(SHARE)
    for k, image in enumerate(images):
        still.learn(image, 0.001 * k + (3600.0 if k >= 10 else 0.0))
    assert still.taken_out(images[0]) is images[0]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(ModelConfig(name="specknet-s", engine="onnxruntime", threads=1))


def test_only_trackers_with_flow_see_a_cleaned_picture(engine: Engine) -> None:
    assert share_for(engine, MatchConfig()) == MatchConfig().still_share > 0.0
    assert share_for(open_engine(ModelConfig(name="block")), MatchConfig()) == 0.0


def test_what_is_encoded_ahead_is_what_the_session_asks_for(engine: Engine) -> None:
    """Between two looks at the mean; the picture prepared for a waiting frame is the one it is followed in."""
    session = Session("s", SessionConfig(), engine)
    shown = hazy(swaying())
    for k in range(81):
        session.update(frame(shown[k], k))
    waiting = frame(shown[81], 81)
    prepared = session.prepared(waiting)
    assert not np.array_equal(prepared, shown[81])
    session.update(waiting)
    np.testing.assert_array_equal(session._window.back(0).image, prepared)


def test_a_new_epoch_forgets_what_stood_still(engine: Engine) -> None:
    session = Session("s", SessionConfig(), engine)
    shown = hazy(swaying())
    for k, image in enumerate(shown):
        session.update(frame(image, k))
    again = replace(frame(shown[0], 200), t_acq_ns=0)  # the clock went back
    assert session.update(again).is_new_epoch
    np.testing.assert_array_equal(session._window.back(0).image, shown[0])
