"""The contract is docs/protocol.md: a client that knows only that page works against the real command."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from protocol_client import Client, Header

WAIT_MS = 20_000
SIDE = 128
CONTOUR = [[40.0, 100.0], [36.0, 60.0], [64.0, 30.0], [92.0, 60.0], [88.0, 100.0]]


def free_endpoints(count: int) -> list[str]:
    """Ports that were free a moment ago; both daemons of the test must use the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    endpoints = [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return endpoints


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "specktrack.rt.cli", "--model", "block", *options]


@contextmanager
def rt_serve(endpoints: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The real command, ready to serve; it must end with 0 when asked to."""
    names = ("--frames", "--results", "--control")
    options = [text for pair in zip(names, endpoints, strict=True) for text in pair]
    with subprocess.Popen(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            printed = [process.stdout.readline() for _ in range(5)]
            assert printed[-1].startswith("Research use only"), process.stderr and process.stderr.read()
            assert all(endpoint in line for endpoint, line in zip(endpoints, printed, strict=False))
            yield process
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=WAIT_MS / 1000)
            assert process.returncode == 0
            assert "p99" in log
            assert "Traceback" not in log
        finally:
            process.kill()


def track_with_points(client: Client, first_seq: int) -> Header:
    """Send frames, and the contour whenever the server has none, until a track with points arrives."""
    texture = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8).tobytes()
    for seq in range(first_seq, first_seq + 3000):
        client.send_frame(seq, texture, SIDE, SIDE)
        message = client.receive(20)
        if message is None or message[0] != "track" or message[1]["seq"] < first_seq:
            continue  # the last messages of the server before may still be in our queue
        _, header, points = message
        if header["n_points"]:
            assert len(points) == header["n_points"]
            return header
        client.request("set_points", WAIT_MS, stream=client.stream, points=CONTOUR, kind="contour", seq=header["seq"])
    raise AssertionError("no track with points came")


def test_a_client_written_from_the_protocol_survives_a_restart_of_the_server() -> None:
    endpoints = free_endpoints(3)
    client = Client(*endpoints, stream="probe-1")
    try:
        for run in range(2):
            with rt_serve(endpoints):
                header = track_with_points(client, first_seq=5000 * run)
                assert header["v"] == 1
                assert header["stream"] == "probe-1"
                assert [group["kind"] for group in header["groups"]] == ["contour"]
                assert set(header["latency_ms"]) >= {"queue", "total"}
    finally:
        client.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--set", "frames.que=3"], "did you mean 'queue'"),
        (["--frames", "tcp://127.0.0.1:99999"], "valid port"),
        (["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(options: list[str], said: str) -> None:
    done = subprocess.run(command(*options), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "INFO" not in line]
    assert len(errors) == 1
    assert said in errors[0]


def test_a_busy_port_is_one_sentence_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(command("--frames", endpoint), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"frames.endpoint {endpoint} is already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_prints_all_settings_and_stops() -> None:
    done = subprocess.run(
        command("--check-config", "--set", "frames.queue=7"), capture_output=True, text=True, timeout=60, check=True
    )
    assert "queue: 7" in done.stdout
    assert "stalled_after_ms" in done.stdout


def test_help_fits_a_screen() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) <= 24
    assert max(map(len, done.stdout.splitlines())) <= 80
