"""What git says of this folder, and why where it says nothing. Nothing else runs git."""

import os
import re
import subprocess
from pathlib import Path

from reconv.errors import GitError

_SECONDS = 20


def ask_git(*words: str) -> str:
    """Return what `git` with these words prints.

    Raises:
        GitError: there is no git, or it refuses. The first line says why, the second what to do.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},  # its messages are read below
        )
    except FileNotFoundError:
        raise GitError("git is not installed.\nInstall it.") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be used ({error}).\nRun `git status` here to see why.") from None
    if done.returncode:
        raise GitError(_reason(done.stderr))
    return done.stdout


def is_in_git() -> bool:
    """Return whether this folder or one above it is a git repository, usable or not; runs no process."""
    here = Path.cwd()
    return any((folder / ".git").exists() for folder in (here, *here.parents))


def _reason(said: str) -> str:
    if "not a git repository" in said:
        return f"{Path.cwd()} is not in a git repository.\nRun `git init`, then `git add` and `git commit`."
    if remedy := re.search(r"git config --global --add safe\.directory .+", said):
        return f"git refuses to read this folder: it belongs to another user.\nIf you trust it: {remedy[0]}"
    if "unknown revision" in said:
        return "nothing is committed in this git repository yet.\nRun `git add` and `git commit`."
    return f"{said.strip().partition(chr(10))[0]}\nRun `git status` here to see why."
