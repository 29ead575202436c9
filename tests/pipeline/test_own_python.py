"""`dvc repro` from a shell whose `python` is another one."""

import subprocess
import sys
from pathlib import Path

import pytest
from project_folder import copy_pipeline, environment


@pytest.fixture
def other_shell(project: Path, repository: Path) -> dict[str, str]:
    """The environment of a shell with an empty virtual environment; the current folder is a project."""
    copy_pipeline(repository, project)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "other"], check=True)
    return environment(PATH=f"{project}/other/bin:/usr/bin:/bin")


def repro(shell: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    dvc = [str(Path(sys.executable).with_name("dvc")), "repro", *words]
    return subprocess.run(dvc, env=shell, capture_output=True, text=True, timeout=300, check=False)


def test_a_stage_runs_in_the_environment_of_the_project(project: Path, other_shell: dict[str, str]) -> None:
    (project / ".venv").symlink_to(sys.prefix)

    done = repro(other_shell, "fetch")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[fetch]    60 images of 3 classes" in done.stdout


@pytest.mark.parametrize("stage", ["fetch", "compare"])  # the latter imports pandas first
def test_without_one_a_line_says_what_to_type(project: Path, other_shell: dict[str, str], stage: str) -> None:
    command = ["python", str(project / "pipeline" / f"{stage}.py")]

    done = subprocess.run(command, env=other_shell, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        f"stopped: {project}/other/bin/python has no reconv. Run `make repro`, or `make setup` and "
        "`. .venv/bin/activate` before `dvc repro`.\n"
    )
