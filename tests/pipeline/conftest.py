"""Stage scripts, run as DVC starts them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project_folder import environment

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_stage(project: Path, repository: Path) -> Run:
    """run_stage("search", "cnn", MLFLOW_TRACKING_URI=...): a stage's script in the project's folder."""

    def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        name, *arguments = words
        script = repository / "pipeline" / f"{name}.py"
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=project,
            env=environment(**changes),
            capture_output=True,
            text=True,
            timeout=300,  # a search with all cores takes minutes beside other work
            check=False,
        )

    return run
