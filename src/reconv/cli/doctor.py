"""reconv doctor: what this machine and this folder are, what is wrong, and how to mend it."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconv.cli.conduct import FAILED, as_json, echo, print_json, silent, well_behaved

if TYPE_CHECKING:
    from reconv.doctor import Check

_MARKS = {"fine": "ok", "warning": "!", "problem": "X"}
_COLOURS = {"fine": "green", "warning": "yellow", "problem": "red"}


@click.command()
@as_json
@well_behaved
def doctor(wants_json: bool) -> None:
    """Say what this machine and this folder lack, and how to mend it.

    Looks at Python, torch, devices, Ray, MLflow, DVC, disk and images, and says what a run will use. Exit code 1 if
    something would stop it.

    \b
    Examples:
      reconv doctor
      reconv doctor --json | jq '.[] | select(.state != "fine")'
    """
    from reconv.doctor import examine

    checks = []
    for check in examine_silently(examine()):
        checks.append(check)
        if not wants_json:
            mark = click.style(f"{_MARKS[check.state]:>2}", fg=_COLOURS[check.state])
            echo(f"  {check.name:<12} {check.text}", before=mark)
            if check.remedy:
                echo(f"{'':<17}{check.remedy}")
    if wants_json:
        print_json([asdict(check) for check in checks])
    sys.exit(FAILED if any(check.state == "problem" for check in checks) else 0)


def examine_silently(checks: Iterator["Check"]) -> Iterator["Check"]:
    """Each as it is found; importing torch and mlflow writes what nobody asked for."""
    while True:
        with silent():
            check = next(checks, None)
        if check is None:
            return
        yield check
