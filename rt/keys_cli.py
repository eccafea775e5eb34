"""`rt-keys DIR --client NAME ...`: the certificates that CURVE needs, for the server and for each client.

DIR/server.key_secret   stays with rt-serve      security.server_key
DIR/allow/NAME.key      who may connect          security.allow = DIR/allow
DIR/NAME/               goes to that client      rt-feed --keys NAME, rt-view --keys NAME
"""

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from zmq.auth import create_certificates

from specktrack.rt import console
from specktrack.rt.errors import InputError

SERVER, CLIENT, ALLOW = "server", "client", "allow"

app = console.new_app()


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where the keys are kept; what is there already stays.")],
    client: Annotated[list[str], typer.Option("--client", help="Name of a client; repeatable.", metavar="NAME")],
) -> None:
    """Make keys for rt-serve and its clients. Research use only; not a medical device."""
    for name in client:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or name in (ALLOW, ".", ".."):
            raise InputError(
                f"--client {name}: use 1 to 64 letters, digits, dots, dashes or underscores, not '{ALLOW}'"
            )
        if (folder / name).exists():
            raise InputError(f"--client {name}: {folder / name} is there already; choose another name, or remove it")
    try:
        (folder / ALLOW).mkdir(parents=True, exist_ok=True)
        if not (folder / f"{SERVER}.key_secret").exists():
            _certificate(folder, SERVER)
        for name in client:
            _client(folder, name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    typer.echo(
        f"rt-serve --set security.curve=true --set security.server_key={folder / SERVER}.key_secret "
        f"--set security.allow={folder / ALLOW}"
    )
    for name in client:
        typer.echo(f"{name}: give it the folder {folder / name}, for rt-feed --keys or rt-view --keys")


def _client(folder: Path, name: str) -> None:
    own = folder / name
    own.mkdir()
    _certificate(own, CLIENT)
    shutil.copyfile(folder / f"{SERVER}.key", own / f"{SERVER}.key")
    shutil.copyfile(own / f"{CLIENT}.key", folder / ALLOW / f"{name}.key")


def _certificate(folder: Path, name: str) -> None:
    _, secret = create_certificates(folder, name)
    Path(secret).chmod(0o600)


def main() -> None:
    """Entry point."""
    console.run(app)


if __name__ == "__main__":
    main()
