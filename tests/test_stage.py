"""What a stage says when a disk refuses what it writes."""

import subprocess
import sys
from pathlib import Path

import pytest
from project_folder import environment

COPIES = """
import resource, shutil, sys
from reconv.stage import stage
with stage("prepare"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
    shutil.copyfile(sys.argv[1], "copy")
"""


@pytest.mark.slow
def test_a_copy_that_does_not_fit_names_the_place_it_was_to_go_to(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("elsewhere") / "source"
    with source.open("wb") as file:
        file.truncate(30_000_000)

    command = [sys.executable, "-c", COPIES, str(source)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 1
    assert f"stopped: File too large ({project / 'copy'})." in done.stdout
