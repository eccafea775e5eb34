import numpy as np

from specktrack.rt.config import HealthConfig
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.headers import State
from specktrack.rt.health import Health, is_same_image


class Scanner:
    """Feeds a Health with frames every 20 ms, ticking in between as the daemon does."""

    def __init__(self) -> None:
        self.health = Health(HealthConfig())
        self.time_s = 100.0
        self.n_missed = 0

    def send(
        self, n_frames: int = 1, n_points: int = 61, n_lost: int = 0, frozen: bool = False, identical: bool = False
    ) -> list[State]:
        states: list[State] = []
        for _ in range(n_frames):
            self.time_s += 0.02
            self.health.update(
                self.time_s,
                is_frozen=frozen,
                is_identical=identical,
                n_points=n_points,
                n_lost=n_lost,
                n_missed=self.n_missed,
            )
            states.append(self.health.tick(self.time_s))
        return states

    def pause(self, seconds: float) -> State:
        self.time_s += seconds
        return self.health.tick(self.time_s)


def test_a_stream_without_frames_or_points_is_waiting() -> None:
    scanner = Scanner()
    assert scanner.pause(60.0) == "waiting"
    assert scanner.send(5, n_points=0) == ["waiting"] * 5


def test_a_good_stream_is_live_from_its_first_tracked_frame() -> None:
    scanner = Scanner()
    scanner.send(n_points=0)
    assert scanner.send(200) == ["live"] * 200
    assert scanner.health.why == ""


def test_silence_is_stalled_and_long_silence_lost() -> None:
    scanner = Scanner()
    scanner.send(10)
    assert scanner.pause(0.4) == "live"
    assert scanner.pause(0.2) == "stalled"
    assert scanner.health.is_silent
    assert scanner.pause(10.0) == "lost"


def test_a_stream_that_comes_back_is_degraded_for_half_a_second() -> None:
    scanner = Scanner()
    scanner.send(10)
    scanner.pause(1.0)

    states = scanner.send(40)

    assert states[:20] == ["degraded"] * 20
    assert states[-10:] == ["live"] * 10


def test_a_lone_frame_in_a_silence_does_not_make_the_stream_live() -> None:
    scanner = Scanner()
    scanner.send(10)
    for _ in range(5):
        assert scanner.pause(1.0) == "stalled"
        assert scanner.send() == ["degraded"]


def test_the_freeze_button_is_frozen_at_once() -> None:
    scanner = Scanner()
    scanner.send(10)
    assert scanner.send(frozen=True) == ["frozen"]


def test_the_same_image_for_a_while_is_frozen_but_one_repeated_frame_is_not() -> None:
    scanner = Scanner()
    scanner.send(10)
    assert scanner.send(identical=True) == ["live"]
    assert scanner.send() == ["live"]
    states = scanner.send(30, identical=True)
    assert states[0] == "live"
    assert states[-1] == "frozen"


def test_most_points_lost_is_lost_until_clearly_fewer_are() -> None:
    scanner = Scanner()
    scanner.send(10, n_points=100)
    assert scanner.send(n_points=100, n_lost=51) == ["lost"]
    assert scanner.send(n_points=100, n_lost=45) == ["lost"]
    assert scanner.send(n_points=100, n_lost=30) == ["degraded"]
    assert scanner.send(50, n_points=100)[-1] == "live"


def test_some_points_lost_is_degraded_and_says_how_many() -> None:
    scanner = Scanner()
    assert scanner.send(n_points=60, n_lost=20) == ["degraded"]
    assert "20 of 60" in scanner.health.why


def test_every_tenth_frame_missing_is_degraded_and_one_missing_is_not() -> None:
    scanner = Scanner()
    scanner.send(200)
    scanner.n_missed += 1
    assert scanner.send(100) == ["live"] * 100
    for _ in range(30):
        scanner.n_missed += 1
        states = scanner.send(9)
    assert states[-1] == "degraded"
    assert "missing" in scanner.health.why
    assert scanner.send(300)[-1] == "live"


def test_frames_lost_before_a_restart_of_the_feed_are_not_counted_twice() -> None:
    scanner = Scanner()
    scanner.n_missed = 10**15
    scanner.send(300)
    assert scanner.health.state == "live"


def test_reset_forgets_the_stream() -> None:
    scanner = Scanner()
    scanner.send(10)
    scanner.pause(1.0)
    scanner.health.reset()
    assert scanner.health.state == "waiting"


def test_noise_tells_two_images_apart_and_a_copy_is_the_same() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 255, (300, 400), np.uint8) for _ in range(2))
    assert is_same_image(frame_of(one), frame_of(one.copy()))
    assert not is_same_image(frame_of(one), frame_of(other))
    assert not is_same_image(frame_of(one), frame_of(one[:, :-1]))


def frame_of(pixels: np.ndarray) -> Frame:
    return Frame("a", 0, 0, "utc", pixels, Geometry(*pixels.shape))
