"""What every command line shares: one voice for errors, exit code 2 for bad input, no tracebacks for users."""

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from specktrack.rt.errors import SpeckError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def new_app() -> typer.Typer:
    """A typer application as all our commands use it: no completion options, real tracebacks for real bugs."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def run(command: Callable[[], object]) -> NoReturn:
    """Run a typer app (or any callable) as a program: a SpeckError becomes its sentence on stderr and exit code 2.

    Ctrl-C ends with 130. Anything else is a bug and keeps its traceback.
    """
    try:
        command()
    except SpeckError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    raise SystemExit(0)


def fail(error: SpeckError) -> NoReturn:
    """Say what was wrong and end with exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(EXIT_BAD_INPUT) from error


def start_logging(level: int = logging.INFO) -> None:
    """Log to stderr, one line a record; stdout stays for what the user asked for."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
