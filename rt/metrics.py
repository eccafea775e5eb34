"""What a monitoring system asks: `/metrics` for Prometheus, `/livez` and `/readyz`, on loopback, when switched on.

    /metrics  frames, losses, points, states and latencies of every stream
    /livez    200 while the serving loop goes round, else 503
    /readyz   200 while frames of some stream arrive and are answered, else 503

A thread of its own answers; it only reads numbers, so no stream ever waits for it.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from specktrack.rt.config import MetricsConfig
from specktrack.rt.errors import ConfigError
from specktrack.rt.headers import State, StatusHeader
from specktrack.rt.latency import STAGES
from specktrack.rt.stream import Stream

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
STUCK_AFTER_S = 30.0  # without a round of the loop; a window of the slowest model takes ten seconds on a CPU
FRESH: tuple[State, ...] = ("waiting", "live", "degraded", "frozen")  # states of a stream whose frames arrive
COUNTERS = {
    "frames_in": "Frames received",
    "frames_out": "Frames answered",
    "dropped": "Frames dropped because newer ones were waiting",
    "gaps": "Frames that never came",
}


class Watched(Protocol):
    """What is asked of the daemon."""

    @property
    def streams(self) -> Mapping[str, Stream]:
        """Streams that have sent a frame, by name."""
        ...

    def status_of(self, stream: Stream) -> StatusHeader:
        """What `status/<stream>` would say now."""
        ...

    def idle_s(self) -> float:
        """Seconds since the serving loop last went round."""
        ...


class StreamCollector(Collector):
    """Reads every number at the moment it is asked for."""

    def __init__(self, server: Watched) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """One family for each number, one sample for each stream."""
        streams = list(self._server.streams.values())
        said = [self._server.status_of(stream) for stream in streams]
        for key, words in COUNTERS.items():
            family = CounterMetricFamily(f"specktrack_{key}", words, labels=["stream"])
            for status in said:
                family.add_metric([status.stream], getattr(status, key))
            yield family
        invalid = max((status.invalid for status in said), default=0)
        yield CounterMetricFamily("specktrack_invalid", "Messages that broke the protocol", value=invalid)
        points = GaugeMetricFamily("specktrack_points", "Points followed", labels=["stream"])
        states = StateSetMetricFamily("specktrack_state", "Whether the stream is to be trusted", labels=["stream"])
        for status in said:
            points.add_metric([status.stream], status.points)
            states.add_metric([status.stream], {state: state == status.state for state in get_args(State)})
        yield points
        yield states
        yield from _latencies(streams)


def _latencies(streams: list[Stream]) -> Iterator[Metric]:
    """Percentiles over the remembered frames of each stage, and which frame was the slowest."""
    labels = ["stream", "stage", "quantile"]
    times = GaugeMetricFamily("specktrack_latency_seconds", "Of the last frames, from receipt on", labels=labels)
    worst = GaugeMetricFamily("specktrack_latency_worst_frame", "Number of the slowest frame", labels=["stream"])
    for stream in streams:
        for stage in STAGES:
            found = stream.latency.summary(stage)
            if found is None:
                continue
            for quantile, ms in (
                ("0.5", found.p50_ms),
                ("0.95", found.p95_ms),
                ("0.99", found.p99_ms),
                ("1", found.max_ms),
            ):
                times.add_metric([stream.name, stage, quantile], ms / 1e3)
            if stage == "total":
                worst.add_metric([stream.name], found.max_seq)
    yield times
    yield worst


class Metrics:
    """The HTTP server; does nothing where `metrics.port` is not set."""

    def __init__(self, config: MetricsConfig, server: Watched) -> None:
        self._config, self._server = config, server
        self._registry = CollectorRegistry()
        self._registry.register(StreamCollector(server))
        self._http: ThreadingHTTPServer | None = None

    def start(self) -> str | None:
        """Begin to answer; the address, or None where it is off. Raises ConfigError for a port that is taken."""
        if self._config.port is None:
            return None
        try:
            self._http = ThreadingHTTPServer((HOST, self._config.port), self._handler())
        except OSError as error:
            raise ConfigError(f"metrics.port {self._config.port}: {error.strerror}; choose another port.") from error
        threading.Thread(target=self._http.serve_forever, name="metrics", daemon=True).start()
        address = f"http://{HOST}:{self._http.server_port}/metrics"
        log.info("metrics at %s", address)
        return address

    def close(self) -> None:
        """End it; safe to call twice."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body for a path."""
        is_live = self._server.idle_s() < STUCK_AFTER_S
        match path:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case "/livez":
                is_fine = is_live
            case "/readyz":
                is_fine = is_live and any(stream.state in FRESH for stream in list(self._server.streams.values()))
            case _:
                return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /livez and /readyz are here\n"
        status = HTTPStatus.OK if is_fine else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "text/plain", b"yes\n" if is_fine else b"no\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", content)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a monitor asks every few seconds."""

        return Handler
