"""Binding and connecting with errors a user can act on."""

import errno

import zmq

from specktrack.rt.errors import ConfigError

CLOSE_LINGER_MS = 200  # the last results still leave, a dead subscriber holds nothing up

MAX_PORT = 65535

_REASONS = {
    errno.EADDRINUSE: "is already in use; stop the other program or choose another with --{name} tcp://127.0.0.1:PORT",
    errno.EACCES: "is not allowed for this user; choose a port above 1023 with --{name} tcp://127.0.0.1:PORT",
    errno.ENODEV: "names no network address of this machine; use one that 'ip address' lists, or tcp://127.0.0.1:PORT",
    errno.EADDRNOTAVAIL: "names no network address of this machine; use one that 'ip address' lists, or tcp://127.0.0.1:PORT",
}
_MALFORMED = "cannot be used ({error}); expected something like tcp://127.0.0.1:5555"


def bind(socket: zmq.Socket[bytes], endpoint: str, name: str) -> str:
    """Bind and return the real endpoint (a port of 0 or * is chosen by the system); raises ConfigError."""
    _expect_port(endpoint, name)
    try:
        socket.bind(endpoint)
    except (zmq.ZMQError, OSError, ValueError) as error:
        raise _explained(error, endpoint, name) from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def connect(socket: zmq.Socket[bytes], endpoint: str, name: str) -> str:
    """Connect, now or whenever the other side appears; raises ConfigError for an endpoint that cannot work."""
    _expect_port(endpoint, name)
    try:
        socket.connect(endpoint)
    except (zmq.ZMQError, OSError, ValueError) as error:
        raise _explained(error, endpoint, name) from error
    return endpoint


def _expect_port(endpoint: str, name: str) -> None:
    """libzmq takes a port of 99999 and silently uses another."""
    scheme, _, address = endpoint.partition("://")
    port = address.rpartition(":")[2]
    if scheme == "tcp" and port.isdigit() and int(port) > MAX_PORT:
        raise ConfigError(f"{name}.endpoint {endpoint} has no valid port; choose one up to {MAX_PORT}.")


def _explained(error: Exception, endpoint: str, name: str) -> ConfigError:
    reason = _REASONS.get(getattr(error, "errno", None) or 0, _MALFORMED)
    text = str(error).removesuffix(f" (addr={endpoint!r})")
    return ConfigError(f"{name}.endpoint {endpoint} {reason.format(name=name, error=text)}.")
