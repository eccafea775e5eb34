"""A bell one thread rings and another polls: the way to wake a zmq poller from another thread or a signal handler."""

import contextlib
import socket


class Wake:
    """Rings stay until cleared; ringing never blocks and is safe from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._reader.fileno()

    def ring(self) -> None:
        """Wake the poller; a bell that is already ringing needs no more."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._writer.send(b"!")

    def clear(self) -> None:
        """Stop ringing; call it before looking at what the bell stands for."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(1024):
                pass

    def close(self) -> None:
        """Free both ends."""
        self._reader.close()
        self._writer.close()
