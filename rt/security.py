"""CURVE on the daemon's sockets: who has no key on the allow-list gets nothing in and nothing out (docs/protocol.md).

Certificates are files as pyzmq writes them; `rt-keys` makes them. Every socket of the server proves itself by the
server's key, and lets in clients whose public key lies in the folder `security.allow` (ZAP, RFC 27). The list is read
when the server starts.
"""

from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

from specktrack.rt.config import SecurityConfig
from specktrack.rt.errors import ConfigError

DOMAIN = "specktrack"
MAKE = "make keys with: rt-keys DIR --client NAME"


class Guard:
    """Secures sockets before they bind or connect; does nothing where `security.curve` is off."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises ConfigError for keys that cannot be read, and for an allow-list that lets nobody in."""
        self._is_on = config.curve
        self._authenticator: ThreadAuthenticator | None = None
        if not self._is_on:
            return
        self._public, self._secret = key_pair(config.server_key, "security.server_key")
        self._scanner = public_key(config.scanner_key, "security.scanner_key") if config.scanner_key else None
        self._allowed = _allow_list(config.allow)

    def start(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Begin to let clients in, before any socket of the context binds."""
        if self._is_on:
            self._authenticator = ThreadAuthenticator(context)
            self._authenticator.start()
            self._authenticator.configure_curve(domain=DOMAIN, location=str(self._allowed))

    def serve(self, socket: "zmq.Socket[bytes]") -> None:
        """A socket that will bind."""
        if self._is_on:
            socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
            socket.curve_server = True
            socket.zap_domain = DOMAIN.encode()

    def visit(self, socket: "zmq.Socket[bytes]") -> None:
        """A socket that will connect to a publishing scanner; raises ConfigError without that scanner's key."""
        if self._is_on:
            if self._scanner is None:
                raise ConfigError(
                    "security.scanner_key is missing: with frames.mode sub the scanner proves itself by it"
                )
            socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
            socket.curve_serverkey = self._scanner

    def close(self) -> None:
        """End the thread that lets clients in."""
        if self._authenticator is not None:
            self._authenticator.stop()


def key_pair(file: str, setting: str) -> tuple[bytes, bytes]:
    """Public and secret key of a certificate; raises ConfigError."""
    public, secret = _load(file, setting)
    if secret is None:
        raise ConfigError(f"{setting}: {file} holds no secret key; give the .key_secret file, or {MAKE}")
    return public, secret


def public_key(file: str, setting: str) -> bytes:
    """Public key of a certificate; raises ConfigError."""
    return _load(file, setting)[0]


def _load(file: str, setting: str) -> tuple[bytes, bytes | None]:
    if not file:
        raise ConfigError(f"{setting} is missing and security.curve is on; {MAKE}")
    try:
        return load_certificate(Path(file).expanduser())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting}: {file} is no readable certificate; {MAKE}") from error


def _allow_list(folder: str) -> Path:
    path = Path(folder).expanduser()
    if not folder or not any(path.glob("*.key")):
        where = f"{folder} holds no client's .key file" if folder else "is missing"
        raise ConfigError(f"security.allow {where} and security.curve is on: nobody could connect; {MAKE}")
    for file in path.glob("*.key"):
        public_key(str(file), "security.allow")
    return path
