"""The server as a client reaches it: its address, and the keys with which both prove themselves."""

from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth import load_certificate

from specktrack.rt.errors import InputError


@dataclass(frozen=True)
class Keys:
    """Of CURVE: the client's own pair, and what the server must prove."""

    public: bytes
    secret: bytes
    server: bytes


@dataclass(frozen=True)
class Peer:
    """One socket of the server."""

    endpoint: str
    keys: Keys | None = None

    def connect(self, socket: "zmq.Socket[bytes]", option: str) -> None:
        """Connect, now or whenever the server appears; raises InputError for what is no address."""
        if self.keys is not None:
            socket.curve_publickey, socket.curve_secretkey = self.keys.public, self.keys.secret
            socket.curve_serverkey = self.keys.server
        try:
            socket.connect(self.endpoint)
        except (zmq.ZMQError, ValueError) as error:
            raise InputError(
                f"{option} {self.endpoint}: not an address; give one such as tcp://127.0.0.1:5555"
            ) from error


def peer_of(server: "Peer | str") -> Peer:
    """An address alone stands for a server without CURVE."""
    return server if isinstance(server, Peer) else Peer(server)


def load_keys(folder: Path | None) -> Keys | None:
    """The keys that rt-keys made for a client; None where no folder is given. Raises InputError."""
    if folder is None:
        return None
    try:
        public, secret = load_certificate(folder / "client.key_secret")
        server, _ = load_certificate(folder / "server.key")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--keys {folder}: expected client.key_secret and server.key in it, as rt-keys makes them"
        ) from error
    if secret is None:
        raise InputError(f"--keys {folder}: client.key_secret holds no secret key; make it again with rt-keys")
    return Keys(public, secret, server)
