"""A copy of the pipeline in a folder of its own, for tests that run it as a user does."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

# Of params.yaml, for whole runs of which only the end matters.
QUICK = {
    "study.enabled": False,
    "search.budget_epochs": 2,
    "search.max_epochs": 1,
    "train.num_seeds": 1,
    "train.max_epochs": 6,
}


def environment(**changes: str) -> dict[str, str]:
    """The caller's, less what says where to run, and less what a stage in this process set."""
    ours = (
        "DVC_SYSTEM_CONFIG_DIR",
        "RAY_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        "MLFLOW_TRACKING_URI",
        "RECONV_VERBOSE",
    )
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "CI": "true", **changes}


def free_port() -> int:
    """Of the loopback address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def copy_pipeline(repository: Path, to: Path, *, in_git: bool = False) -> None:
    """`in_git` makes the folder a working copy of git, with everything committed that is in it."""
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(repository / name, to)
    for name in ("pipeline", "src"):
        shutil.copytree(repository / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    if in_git:
        git(to, "init", "--quiet")
    options = [] if in_git else ["--no-scm"]
    subprocess.run(["dvc", "init", "--quiet", *options], cwd=to, env=environment(), check=True)
    if in_git:
        commit_all(to)


def git(folder: Path, *words: str) -> str:
    someone = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *someone, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def commit_all(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "it")


def change_params(folder: Path, changes: dict[str, Any]) -> None:
    """Lay `changes` (by dotted key) over params.yaml in `folder`."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
    path.write_text(yaml.safe_dump(values, sort_keys=False))
