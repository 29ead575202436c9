"""Run `dvc repro` in this folder. Called by `reconv run` and `reconv retrain`."""

import os
import subprocess
import sys
from collections.abc import Sequence

from reconv.dead_locks import busy, check_not_busy, check_why, forget_the_dead
from reconv.running import running_stage

# DVC without its advice on `git add` and autostage after each run: six lines that repeat every output. It is recognised
# by the word `dvc` in its command line.
_DVC = (
    "import logging, sys; from dvc.cli import main; del sys.argv[0]; "
    "logging.getLogger('dvc.repo.scm_context').setLevel('WARNING'); sys.exit(main())"
)


def repro(arguments: Sequence[str]) -> int:
    """Run `dvc repro`, print its output as it comes, and return its exit code.

    Raises:
        BusyError: another `dvc` runs here, or a stage that outlived its own.
    """
    forget_the_dead()
    check_not_busy()
    sys.stdout.flush()
    code = _wait(subprocess.Popen([sys.executable, "-c", _DVC, "dvc", "repro", *arguments]))
    if code:
        check_why()
        if stage := running_stage():
            raise busy(stage)
    return code


def _wait(dvc: "subprocess.Popen[bytes]") -> int:
    """After Ctrl-C, which reaches the stage as well, wait for both to end: `subprocess.run` would kill `dvc`."""
    try:
        return dvc.wait()
    except KeyboardInterrupt:
        if not _has_terminal():  # the signal may be for this process only; a stage ends with its dvc
            dvc.terminate()
        dvc.wait()
        raise


def _has_terminal() -> bool:
    """Return whether Ctrl-C in a terminal reaches this process and its children."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # no terminal, or no input
        return False
