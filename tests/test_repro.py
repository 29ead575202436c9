"""What a run of the pipeline prints of DVC's own."""

import subprocess
import sys
from pathlib import Path

from project_folder import environment, git

_RUN = "import sys; from reconv.repro import repro; sys.exit(repro(sys.argv[1:]))"


def test_a_run_ends_without_advice_on_git(folder: Path) -> None:
    (folder / "dvc.yaml").write_text("stages: {one: {cmd: echo done > out.txt, outs: [out.txt]}}")
    git(folder, "init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], env=environment(), check=True)

    first, again = (
        subprocess.run(
            [sys.executable, "-c", _RUN, *words], env=environment(), capture_output=True, text=True, check=True
        )
        for words in (["one"], [])
    )

    assert "Running stage 'one'" in first.stdout
    assert "git add" not in first.stdout + first.stderr
    assert "autostage" not in first.stdout + first.stderr
    assert "up to date" in again.stdout


def test_what_stops_dvc_is_still_said(folder: Path) -> None:
    (folder / "dvc.yaml").write_text("stages: {one: {cmd: exit 3}}")
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], env=environment(), check=True)

    done = subprocess.run([sys.executable, "-c", _RUN], env=environment(), capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "failed to reproduce 'one'" in done.stderr
