"""The metrics of a running server: what status says is what Prometheus reads, and health is told from silence."""

from collections.abc import Iterator
from http.client import HTTPResponse
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_daemon import POINTS, WAIT_MS, Running, drain, first_track, send

from specktrack.rt.config import DaemonConfig, MetricsConfig
from specktrack.rt.errors import ConfigError
from specktrack.rt.headers import StatusHeader
from specktrack.rt.metrics import Metrics
from specktrack.rt.stream import Stream


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running("metrics.port=0")
    yield running
    running.stop()


class Idle:
    """A server without a stream whose loop last went round so many seconds ago."""

    def __init__(self, idle_s: float) -> None:
        self.streams: dict[str, Stream] = {}
        self._idle_s = idle_s

    def idle_s(self) -> float:
        return self._idle_s

    def status_of(self, stream: Stream) -> StatusHeader:
        raise AssertionError("there is no stream")


def asked(running: Running, path: str) -> tuple[int, str]:
    address = running.endpoints.metrics
    assert address is not None
    try:
        response: HTTPResponse = urlopen(address.replace("/metrics", path), timeout=10)
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    with response:
        return response.status, response.read().decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, which are in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_frames_points_state_and_latency_of_a_stream_can_be_read(running: Running) -> None:
    start = first_track(running.client)
    running.client.request("set_points", WAIT_MS, stream="probe", points=POINTS, kind="points")
    for seq in range(start, start + 10):
        send(running.client, seq)
    drain(running.client, start + 9)
    said = running.client.request("stats", WAIT_MS, stream="probe")
    assert said is not None
    found = samples(asked(running, "/metrics")[1])
    assert found["specktrack_frames_in_total", "probe"] == said["result"]["frames_in"] >= 10
    assert found["specktrack_frames_out_total", "probe"] == said["result"]["frames_out"]
    assert found["specktrack_dropped_total", "probe"] == said["result"]["dropped"]
    assert found["specktrack_points", "probe"] == len(POINTS)
    assert sum(value for key, value in found.items() if key[0] == "specktrack_state") == 1
    middle, slowest = (found["specktrack_latency_seconds", q, "total", "probe"] for q in ("0.5", "1"))
    assert 0 < middle <= slowest < 5
    assert found["specktrack_latency_worst_frame", "probe"] == said["result"]["latency_ms"]["seq"]


def test_a_server_is_live_at_once_and_ready_when_frames_arrive(running: Running) -> None:
    assert asked(running, "/livez")[0] == 200
    assert asked(running, "/readyz")[0] == 503
    first_track(running.client)
    assert asked(running, "/readyz")[0] == 200


def test_a_loop_that_no_longer_goes_round_is_not_live() -> None:
    assert Metrics(MetricsConfig(), Idle(0.1)).answer("/livez")[0] == 200
    assert Metrics(MetricsConfig(), Idle(60.0)).answer("/livez")[0] == 503
    assert Metrics(MetricsConfig(), Idle(60.0)).answer("/readyz")[0] == 503


def test_another_path_says_what_is_there(running: Running) -> None:
    code, text = asked(running, "/")
    assert code == 404
    assert "/metrics, /livez and /readyz" in text


def test_nothing_listens_unless_it_is_asked_to() -> None:
    assert DaemonConfig().metrics.port is None
    assert Metrics(MetricsConfig(), Idle(0.0)).start() is None


def test_a_port_that_is_taken_is_one_sentence(running: Running) -> None:
    address = running.endpoints.metrics
    assert address is not None
    port = int(address.rpartition(":")[2].removesuffix("/metrics"))
    with pytest.raises(ConfigError, match=rf"metrics\.port {port}: .*in use; choose another port"):
        Metrics(MetricsConfig(port=port), Idle(0.0)).start()
