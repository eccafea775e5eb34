"""The results socket: one PUB for tracks, beats and status of all streams."""

from collections.abc import Sequence

import zmq

from specktrack.rt.config import ResultsConfig
from specktrack.rt.security import Guard
from specktrack.rt.sockets import CLOSE_LINGER_MS, bind


class Publisher:
    """Sends and never waits: a subscriber that is too slow misses messages, the stream does not."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], config: ResultsConfig, guard: Guard) -> None:
        self._config = config
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, config.high_water_mark)
        self._socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
        guard.serve(self._socket)

    def bind(self) -> str:
        """Bind and return the endpoint in use; raises ConfigError."""
        return bind(self._socket, self._config.endpoint, "results")

    def send(self, parts: Sequence[bytes]) -> None:
        """Publish one encoded message (wire.encode_*)."""
        self._socket.send_multipart(parts, zmq.NOBLOCK)

    def close(self) -> None:
        """Let the last messages go, then close."""
        self._socket.close()
