"""`rt-ask`: one request of the control socket from a shell, its result as JSON.

rt-ask ping
rt-ask record stream=a4c action=start path=heart
rt-ask stats stream=a4c
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from specktrack.rt import console
from specktrack.rt.errors import InputError
from specktrack.tools.client import ask
from specktrack.tools.peer import Peer, load_keys

app = console.new_app()


@app.command()
def send(
    command: Annotated[str, typer.Argument(help="ping, describe, set_points, clear_points, reanchor, record, stats.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, values as in YAML.")] = None,
    control: Annotated[str, typer.Option(help="Where rt-serve answers.")] = "tcp://127.0.0.1:5557",
    keys: Annotated[Path | None, typer.Option(help="Keys of rt-keys, for CURVE.", metavar="DIR")] = None,
    wait: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 3.0,
) -> None:
    """Ask rt-serve to do something (docs/protocol.md, section 3). Research use only; not a medical device."""
    wanted = dict(_argument(text) for text in arguments or ())
    typer.echo(json.dumps(ask(Peer(control, load_keys(keys)), command, wanted, wait), indent=1))


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"{text}: expected KEY=VALUE, for example stream=a4c")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"{text}: the value is no YAML; quote it") from error


def main() -> None:
    """rt-ask."""
    console.run(app)


if __name__ == "__main__":
    main()
