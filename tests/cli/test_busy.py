"""Commands beside a `dvc` that runs in the same folder: exit code 75, and nothing recorded as a failure."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from project_folder import environment

RECONV = str(Path(sys.executable).with_name("reconv"))
WAIT = "import pathlib, time; pathlib.Path('began').touch(); time.sleep(120)"


@contextmanager
def running_dvc(folder: Path, *words: str) -> Iterator[None]:
    """Run a stage that waits."""
    stage = {"cmd": f'{sys.executable} -c "{WAIT}"', "deps": ["images"], "outs": ["out"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": stage}}))
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, env=environment(), check=True)
    with subprocess.Popen(["dvc", *words], cwd=folder, env=environment(), stdout=subprocess.DEVNULL) as dvc:
        try:
            deadline = time.monotonic() + 60
            while not (folder / "began").exists() and time.monotonic() < deadline and dvc.poll() is None:
                time.sleep(0.05)
            yield
        finally:
            for process in [*psutil.Process(dvc.pid).children(recursive=True), dvc]:
                process.kill()


@pytest.mark.parametrize("command", [["retrain"], ["retrain", "--json"], ["run"], ["run", "fetch"]])
def test_beside_a_running_dvc_it_is_busy(project: Path, command: list[str]) -> None:
    with running_dvc(project, "repro"):
        done = subprocess.run([RECONV, *command], env=environment(), capture_output=True, text=True, check=False)

    said = done.stdout + done.stderr
    assert done.returncode == 75, said
    assert "is running in this folder: wait for it to end, then run the same command again." in said
    assert "`dvc repro` (process" in said
    assert not (project / "data").exists(), "the images were fetched below a running stage"
    assert not (project / "logs" / "retrain").exists()
    assert not (project / "mlflow.db").exists()


def test_what_dvc_says_of_its_own_lock_is_understood(project: Path, hold: Callable[[Path], object]) -> None:
    """As while it hashes large outputs, where no stage is locked."""
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": {"cmd": "true"}}}))
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], env=environment(), check=True)
    hold(project / ".dvc" / "tmp" / "lock")

    done = [
        subprocess.run([RECONV, *words], env=environment(), capture_output=True, text=True, check=False)
        for words in (["retrain"], ["run"])
    ]

    assert [one.returncode for one in done] == [75, 75]
    assert all("another `dvc` is running in this folder" in one.stdout + one.stderr for one in done)


@pytest.fixture
def hold() -> Iterator[Callable[[Path], object]]:
    """hold(path): let another process lock a file."""
    script = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"
    held = []

    def lock(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        held.append(subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE))
        assert held[0].stdout is not None
        held[0].stdout.readline()

    yield lock
    for one in held:
        one.kill()
        one.communicate()
