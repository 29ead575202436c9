"""What DVC itself writes into folders that stages depend on."""

import subprocess
from pathlib import Path

from project_folder import commit_all, environment, git

# As evaluate, explain and register: one output in a folder that the next stage depends on as a whole.
PIPELINE = """
stages:
  evaluate:
    cmd: mkdir -p results/evaluate/cnn && echo 1 > results/evaluate/cnn/predictions
    outs: [results/evaluate/cnn/predictions]
  explain:
    cmd: echo 2 > results/explain
    deps: [results/evaluate/cnn]
    outs: [results/explain]
  register:
    cmd: test -e reachable && echo 3 > results/register
    deps: [results/explain]
    outs: [results/register]
"""


def test_after_a_failed_late_stage_only_that_stage_runs_again(folder: Path, repository: Path) -> None:
    git(folder, "init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], env=environment(), check=True)
    Path(".dvcignore").write_text((repository / ".dvcignore").read_text())
    Path("dvc.yaml").write_text(PIPELINE)
    commit_all(folder)

    assert ran() == ["evaluate", "explain", "register"]
    Path("reachable").touch()
    assert ran() == ["register"]
    assert ran() == []


def ran() -> list[str]:
    """The stages that `dvc repro` runs, whether they fail or not."""
    done = subprocess.run(["dvc", "repro"], env=environment(), capture_output=True, text=True, check=False)
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
