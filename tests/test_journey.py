"""The whole line on a phantom heart: frames through real sockets, tracks and beats back, held against the truth."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import zmq
from protocol_client import Client

from specktrack.rt.config import load_config
from specktrack.rt.daemon import Daemon
from specktrack.rt.engine import open_engine
from specktrack.rt.frame_index import burn_index, read_index
from specktrack.rt.strain import contour_length
from specktrack.training.phantom import PhantomClip, simulate_clip, standard_spec

WAIT_MS = 30_000
FRAMES = 240  # five beats at 70 per minute and 55 frames a second
ANY_PORT = [f"{name}.endpoint=tcp://127.0.0.1:*" for name in ("frames", "results", "control")]


@pytest.fixture(scope="module")
def heart() -> PhantomClip:
    torch.set_num_threads(1)
    return simulate_clip(standard_spec(rate_bpm=70, size_px=256), FRAMES, n_points=24)


@pytest.fixture(scope="module")
def journey(heart: PhantomClip) -> Iterator[list[tuple[str, dict, np.ndarray]]]:
    """All messages about the heart, one frame sent after the other has been answered."""
    config = load_config(None, ["frames.queue=256", *ANY_PORT])
    daemon = Daemon(config, open_engine(config.model))
    ends = daemon.bind()
    thread = threading.Thread(target=daemon.run)
    thread.start()
    client = Client(ends.frames, ends.results, ends.control, "probe")
    yield list(play(client, heart))
    daemon.stop()
    thread.join(WAIT_MS / 1000)
    client.close()


def play(client: Client, heart: PhantomClip) -> Iterator[tuple[str, dict, np.ndarray]]:
    is_set = False
    for seq, pixels in enumerate(heart.frames):
        numbered = burn_index(pixels.copy(), seq)
        assert read_index(numbered) == seq
        answered = False
        while not answered:
            assert client.frames.poll(WAIT_MS, zmq.POLLOUT)
            facts = {"mm_per_px": list(heart.mm_per_px), "t_acq_ns": round(seq * 1e9 / heart.frame_rate_hz)}
            client.send_frame(seq, numbered.tobytes(), *numbered.shape, **facts)
            while not answered and (message := client.receive(500 if seq == 0 else WAIT_MS)) is not None:
                answered = message[0] == "track" and message[1]["seq"] == seq
                yield message[0], message[1], np.array(message[2], np.float32).reshape(-1, 3)
            assert answered or seq == 0, "only the first frame may be missed: a subscription needs a moment"
        if not is_set:
            for kind, points in (("contour", heart.contour[:, 0]), ("points", heart.tracks[:, 0])):
                reply = client.request("set_points", WAIT_MS, stream="probe", points=points.tolist(), kind=kind, seq=0)
                assert reply["ok"], reply
            is_set = True


def test_every_frame_is_answered_once_and_in_order(journey: list) -> None:
    seqs = [header["seq"] for kind, header, _ in journey if kind == "track"]
    assert seqs[-FRAMES + 1 :] == list(range(1, FRAMES))


def test_points_follow_the_tissue_of_the_true_heart(journey: list, heart: PhantomClip) -> None:
    errors = []
    for kind, header, points in journey:
        if kind == "track" and len(header["groups"]) == 2:
            group = next(g for g in header["groups"] if g["name"] == "points")
            found = points[group["first"] :][: group["count"], :2]
            errors.append(np.hypot(*(found - heart.tracks[:, header["seq"]]).T))
    assert np.median(errors) < 1.0


def test_beats_have_the_rate_and_the_strain_of_the_true_heart(journey: list, heart: PhantomClip) -> None:
    beats = [header for kind, header, _ in journey if kind == "beat"]
    lengths = np.array([contour_length(heart.contour[:, k].astype(np.float64)) for k in range(FRAMES)])
    truth = 100 * (lengths[: FRAMES // 4].min() / lengths[0] - 1)
    assert len(beats) >= 2
    assert np.median([beat["heart_rate_bpm"] for beat in beats]) == pytest.approx(70, abs=2)
    assert np.median([beat["gls_percent"] for beat in beats]) == pytest.approx(truth, abs=2.5)
    assert all(beat["accepted"] for beat in beats[1:])


def test_live_strain_is_said_to_be_provisional(journey: list) -> None:
    live = [header["strain"] for kind, header, _ in journey if kind == "track" and header["strain"]]
    assert live
    assert all(sample["provisional"] for sample in live)
