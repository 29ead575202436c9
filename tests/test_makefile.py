""".venv where the project was moved or copied: `make` makes it again, and only then."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = {
    "short path": "#!{python}\nimport dvc\n",
    "long path or blanks": "#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\nimport dvc\n",
}


@pytest.fixture(params=SCRIPTS.values(), ids=SCRIPTS)
def made(folder: Path, repository: Path, request: pytest.FixtureRequest) -> Path:
    """A project with a finished .venv, as far as make looks at it."""
    project = folder / "a project"
    scripts = project / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        shutil.copy(repository / name, project)
    (scripts / "python").symlink_to(sys.executable)
    (scripts / "dvc").write_text(request.param.format(python=scripts / "python"))
    (project / ".venv" / "ready").touch()
    return project


def would_make_it(project: Path) -> bool:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--dry-run", "setup"], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    return "-m venv" in done.stdout


def moved(project: Path) -> Path:
    return project.rename(project.with_name("elsewhere"))


def copied(project: Path) -> Path:
    return Path(shutil.copytree(project, project.with_name("copy"), symlinks=True))


def without_its_python(project: Path) -> Path:
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python-that-was-removed")
    return project


def test_a_venv_that_works_is_kept(made: Path) -> None:
    assert not would_make_it(made)


@pytest.mark.parametrize("change", [moved, copied, without_its_python])
def test_one_that_does_not_work_is_made_again(made: Path, change: Callable[[Path], Path]) -> None:
    assert would_make_it(change(made))
