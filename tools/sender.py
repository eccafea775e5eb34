"""Frames onto the wire: pushed to the daemon, and published for viewers that want the pictures."""

from types import TracebackType
from typing import Self

import zmq

from specktrack.rt.errors import InputError
from specktrack.rt.frame import Frame
from specktrack.rt.wire import encode_frame
from specktrack.tools.peer import Peer, peer_of

_HIGH_WATER_MARK = 4
_LINGER_MS = 1000


class FrameSender:
    """A PUSH socket to the daemon, and optionally a PUB socket that copies every frame. Used from one thread."""

    def __init__(self, to: Peer | str, tee: str | None = None) -> None:
        """Connect to `to` and bind `tee`; raises InputError for an address that cannot be used."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._push = self._socket(zmq.PUSH)
        self._push.setsockopt(zmq.IMMEDIATE, 1)  # no queue for a receiver that is not there
        self._tee = self._socket(zmq.PUB) if tee else None
        self.tee_endpoint: str | None = None
        try:
            peer_of(to).connect(self._push, "--to")
            if self._tee is not None and tee is not None:
                _bind(self._tee, tee)
                self.tee_endpoint = self._tee.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        except InputError:
            self.close()
            raise

    def _socket(self, kind: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.set_hwm(_HIGH_WATER_MARK)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        return socket

    def has_receiver(self, timeout_ms: int) -> bool:
        """Wait until the daemon is connected, at most timeout_ms."""
        return bool(self._push.poll(timeout_ms, zmq.POLLOUT))

    def send(self, frame: Frame) -> bool:
        """Send without ever waiting; False when the daemon is gone or does not keep up and the frame is dropped."""
        parts = encode_frame(frame)
        if self._tee is not None:
            self._tee.send_multipart(parts, copy=False)
        # polling makes libzmq notice what the receiver has taken since; a bare send looks only now and then
        if not self._push.poll(0, zmq.POLLOUT):
            return False
        try:
            self._push.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:  # disconnected in between
            return False
        return True

    def close(self) -> None:
        """What was accepted still leaves, for at most a second."""
        self._context.destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bind(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    try:
        socket.bind(endpoint)
    except (zmq.ZMQError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"--tee {endpoint}: {reason}; give a free address such as tcp://127.0.0.1:5558") from error
