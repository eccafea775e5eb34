"""Each windowed model behind the real `rt-serve`: a phantom heart streams through, every frame answered once, in order.

Weights are untrained (scaled down, so that points stay): the stream is what is tested here.
"""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zmq
from protocol_client import Client, Header
from test_baselines import calm
from test_client_from_protocol import free_endpoints

from specktrack.rt.windowed import NAMES
from specktrack.training.phantom import PhantomClip, simulate_clip, standard_spec
from specktrack.training.windowed_models import MODELS

WAIT_MS = 240_000
N_FRAMES = 33
OPTIONS = ("--set", "frames.queue=256", "--set", "model.window=12")


@pytest.fixture(scope="module")
def heart() -> PhantomClip:
    return simulate_clip(standard_spec(rate_bpm=70, size_px=256), N_FRAMES, n_points=16)


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_every_frame_of_a_heart_is_answered_once_in_order(name: str, heart: PhantomClip, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(calm(MODELS[name][0]()).state_dict(), tmp_path / "weights.pt")
    frames, results, control = free_endpoints(3)
    where = ("--frames", frames, "--results", results, "--control", control)
    told = ("--model", name, "--weights", str(tmp_path / "weights.pt"), *where, *OPTIONS)
    with subprocess.Popen(
        [sys.executable, "-m", "specktrack.rt.cli", *told], stdout=subprocess.PIPE, text=True
    ) as serve:
        try:
            assert serve.stdout is not None
            printed = [serve.stdout.readline() for _ in range(5)]
            assert "frames late" in printed[3], printed
            client = Client(frames, results, control, "probe")
            tracks = stream(client, heart, serve)
            assert serve.wait(WAIT_MS / 1000) == 0
            client.close()
        finally:
            serve.kill()
    headers = [header for header, _ in tracks]
    assert [header["seq"] for header in headers] == list(range(1, N_FRAMES))
    assert headers[-1]["dropped"] == headers[-1]["gaps"] == 0
    assert all(len(points) == 16 for _, points in tracks)
    late_ms = np.array([header["latency_ms"]["total"] for header in headers])
    print(f"\n{name}: {printed[3].strip()}; {len(tracks)} frames, latency median {np.median(late_ms):.0f} ms")


def stream(client: Client, heart: PhantomClip, serve: subprocess.Popen[str]) -> list[tuple[Header, list]]:
    """All tracks with points; the server is asked to stop once all frames are sent, and must answer them first."""
    tracks: list[tuple[Header, list]] = []

    def send(seq: int) -> None:
        assert client.frames.poll(WAIT_MS, zmq.POLLOUT)
        pixels = np.ascontiguousarray(heart.frames[seq])
        client.send_frame(seq, pixels.tobytes(), *pixels.shape, t_acq_ns=round(seq * 1e9 / heart.frame_rate_hz))

    def hear(timeout_ms: int) -> bool:
        while (message := client.receive(timeout_ms)) is not None and message[0] != "track":
            pass
        if message is not None and message[1]["n_points"]:
            tracks.append((message[1], message[2]))
        return message is not None

    send(0)
    while not hear(500):  # a subscription needs a moment
        send(0)
    reply = client.request("set_points", WAIT_MS, stream="probe", points=heart.tracks[:, 0].tolist(), kind="points")
    assert reply is not None
    assert reply["ok"], reply
    for seq in range(1, N_FRAMES):
        send(seq)
    while not tracks or tracks[-1][0]["seq"] < N_FRAMES - 12:
        assert hear(WAIT_MS)
    serve.send_signal(signal.SIGTERM)
    while tracks[-1][0]["seq"] < N_FRAMES - 1:
        assert hear(WAIT_MS)
    return tracks
