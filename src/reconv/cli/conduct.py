"""How every command behaves: one message and its exit code for what went wrong, quiet libraries, JSON where it is asked
for.
"""

import functools
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import click

from reconv.environment import complete_environment
from reconv.errors import BusyError, ReconvError
from reconv.interruption import INTERRUPTED, interruptible
from reconv.untrusted import printable, printable_lines

FAILED, BUSY = 1, 75
"""Exit codes; 0 is success, 2 a command line that is not understood. 75 is EX_TEMPFAIL of sysexits.h: try again."""
P = ParamSpec("P")
R = TypeVar("R")

as_json = click.option("--json", "wants_json", is_flag=True, help="Print JSON, for scripts.")
named = click.option("--name", help="Registered model; by default that of params.yaml.")


def well_behaved(function: Callable[P, R]) -> Callable[P, R]:
    """Print one message for an error that a user can fix, and exit with its code; a traceback means a bug."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        quieten()
        complete_environment()
        try:
            with interruptible():
                return function(*args, **kwargs)
        except ReconvError as error:
            echo(f"reconv: {error}".replace("\n", "\n        "), err=True)
            sys.exit(BUSY if isinstance(error, BusyError) else FAILED)
        except KeyboardInterrupt:
            echo("\nreconv: interrupted. Run the same command again to resume.", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # `reconv models | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except Exception as error:
            from reconv.files import refusal
            from reconv.tracking.remedies import refused_by_store

            if not (refused := refusal(error) or refused_by_store(error)):
                raise
            echo(f"reconv: {refused}".replace("\n", "\n        "), err=True)
            sys.exit(FAILED)

    return guarded


def quieten() -> None:
    """Let libraries log errors only, unless RECONV_VERBOSE=1. Levels of their own they set when they are imported."""
    if os.environ.get("RECONV_VERBOSE") == "1":
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


@contextmanager
def silent() -> Iterator[None]:
    """Nothing of what a library writes past Python's own channels, to file descriptor 2, is seen."""
    if os.environ.get("RECONV_VERBOSE") == "1":
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def only_json() -> Iterator[None]:
    """What this process and those that it starts print goes to the error output: the output is left to JSON."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def echo(text: str = "", *, before: str = "", err: bool = False, nl: bool = True) -> None:
    """Print `text` so that names in it cannot control the terminal; `before` is our own control code."""
    click.echo(before + printable_lines(text), err=err, nl=nl)


def say_warning(text: str) -> None:
    """Print one line on stderr; nothing if `text` is empty."""
    if text:
        echo(f"reconv: {text}", err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def table(rows: list[list[str]]) -> str:
    """Columns under each other, two spaces apart; the last one as wide as it is."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] + [0]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
