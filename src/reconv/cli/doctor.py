"""reconv doctor: checks the machine and suggests fixes."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconv.cli.conduct import FAILED, as_json, echo, print_json, silent, well_behaved

if TYPE_CHECKING:
    from reconv.doctor import Check

_MARKS = {"fine": "ok", "unchecked": "-", "warning": "!", "problem": "X"}
_COLOURS = {"fine": "green", "unchecked": "blue", "warning": "yellow", "problem": "red"}


@click.command()
@as_json
@well_behaved
def doctor(wants_json: bool) -> None:
    """Check this machine and this folder, and suggest fixes.

    Looks at Python, the versions of the packages, params.yaml, DVC, disk, images, MLflow, Ray, memory, git and devices,
    and says what a run will use. torch is only loaded where there is a GPU. Exit code 1 if something would stop a run.

    \b
    Marks: ok checked, - not checked, ! warning, X problem.

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
    """Yield each check as it is found, without what libraries write."""
    while True:
        with silent():
            check = next(checks, None)
        if check is None:
            return
        yield check
