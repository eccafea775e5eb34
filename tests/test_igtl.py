"""OpenIGTLink: images of a real sender go on as frames with their times, their millimetres and their colours."""

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from specktrack.rt.config import LimitsConfig
from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.wire import decode_frame
from specktrack.tools.feed import Feed, Tally
from specktrack.tools.igtl import open_igtl
from specktrack.tools.sender import FrameSender
from specktrack.tools.source import open_source, play

pyigtl = pytest.importorskip("pyigtl", reason="needs the extra igtl")
# While it waits for a server pyigtl leaves each socket that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Scanner:
    """An OpenIGTLink server that sends its images one by one."""

    def __init__(self) -> None:
        self.server = pyigtl.OpenIGTLinkServer(port=0, local_server=True)
        self.address = f"igtl://127.0.0.1:{self.server.server_address[1]}"

    def send(self, image: NDArray[np.generic], timestamp: float, wait: bool = True) -> None:
        matrix = np.diag([0.2, 0.3, 1.0, 1.0])
        message = pyigtl.ImageMessage(image[None], ijk_to_world_matrix=matrix, timestamp=timestamp, device_name="US")
        assert self.server.send_message(message, wait=wait)


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.server.stop()


def test_images_go_on_as_frames_with_their_own_times_and_millimetres(scanner: Scanner) -> None:
    pictures = [np.full((32, 48), 10 + k, np.uint8) for k in range(4)]
    scanner.server.send_message(pyigtl.TransformMessage(np.eye(4), device_name="probe"), wait=False)  # is let pass
    scanner.send(pictures[0], 5.0, wait=False)
    source = open_source(scanner.address)
    assert source.geometry == Geometry(32, 48, pytest.approx((0.2, 0.3)))
    with zmq.Context() as context, context.socket(zmq.PULL) as receiver:
        receiver.linger, receiver.rcvtimeo = 0, 5000
        receiver.bind("tcp://127.0.0.1:*")
        with FrameSender(receiver.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")) as sender:
            assert sender.has_receiver(5000)
            feed = Feed(source, sender, "live", 50.0, False, None, Tally())
            sent = feed.send(play(source, is_looped=True))
            frames: list[Frame] = []
            for k in range(4):
                if k:
                    scanner.send(pictures[k], 5.0 + 0.02 * k)
                assert next(sent) == k
                frames.append(decode_frame(receiver.recv_multipart(), LimitsConfig()))
            sent.close()
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]
    assert [int(frame.pixels[0, 0]) for frame in frames] == [10, 11, 12, 13]
    assert [frame.t_acq_ns for frame in frames] == pytest.approx([5.0e9, 5.02e9, 5.04e9, 5.06e9], abs=1000)
    assert {(frame.stream, frame.clock) for frame in frames} == {("live", "igtl")}


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (np.zeros((32, 48), np.float32), "pixels are float32; unsigned 8 or 16 bits are expected"),
        (np.zeros((2, 32, 48), np.uint8), r"shape \(2, 32, 48\); one slice, grey or RGB, is expected"),
    ],
)
def test_images_that_cannot_be_frames_are_said(image: NDArray[np.generic], complaint: str, scanner: Scanner) -> None:
    volume = image if image.ndim == 3 else image[None]
    scanner.server.send_message(pyigtl.ImageMessage(volume, device_name="US"), wait=False)
    with pytest.raises(InputError, match=complaint):
        open_source(scanner.address)


def test_images_without_a_time_stamp_are_dated_when_they_arrive(scanner: Scanner) -> None:
    before_ns = time.monotonic_ns()
    scanner.send(np.zeros((32, 48), np.uint8), 0.0, wait=False)
    frames = open_source(scanner.address).frames()
    frame = next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert isinstance(frame, Frame)
    assert frame.clock == "monotonic"
    assert before_ns < frame.t_acq_ns <= time.monotonic_ns()


def test_colours_stay_colours(scanner: Scanner) -> None:
    colour = np.zeros((1, 32, 48, 3), np.uint8)
    colour[..., 1] = 200
    scanner.server.send_message(pyigtl.ImageMessage(colour, device_name="US"), wait=False)
    source = open_source(scanner.address)
    frames = source.frames()
    frame = next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert isinstance(frame, Frame)
    assert frame.pixels[3, 4].tolist() == [0, 200, 0]


def test_a_sender_that_is_not_there_or_sends_no_image_is_said(scanner: Scanner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="does not answer within"):
            open_igtl(f"igtl://127.0.0.1:{taken.getsockname()[1]}", wait_s=0.2)
    with pytest.raises(InputError, match="is connected but sends no IMAGE"):
        open_igtl(scanner.address, wait_s=0.5)


@pytest.mark.parametrize("text", ["igtl://", "igtl://host:port", "igtl://host:99999", "igtl://a:b:c"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(InputError, match="expected igtl://host:port"):
        open_source(text)
