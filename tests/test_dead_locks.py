"""Locks of a `dvc` that was killed, whose process id is gone, taken by another program or not collected yet."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from project_folder import environment

from reconv.dead_locks import forget_the_dead

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def locks(folder: Path) -> Path:
    path = folder / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    return path


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", SLEEP, *words]) as one:
        try:
            yield one
        finally:
            one.kill()


def holder(pid: int) -> dict[str, object]:
    return {"pid": pid, "cmd": "dvc repro register"}


def test_only_what_a_living_dvc_holds_is_kept(locks: Path) -> None:
    with process("dvc", "repro") as alive, process("postgres") as other, process("dvc", "repro") as zombie:
        zombie.kill()
        while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        gone = 2**22 + 1  # beyond any id of this system
        pids = [alive.pid, other.pid, zombie.pid, gone]
        held = {f"{pid}.json": holder(pid) for pid in pids}
        locks.write_text(json.dumps({"write": held, "read": {"params.yaml": [*held.values()]}}))

        forget_the_dead()

        kept = holder(alive.pid)
        assert json.loads(locks.read_text()) == {"write": {f"{alive.pid}.json": kept}, "read": {"params.yaml": [kept]}}


@pytest.mark.parametrize("torn", ["", '{"write": {"results'])
def test_a_torn_file_stops_nothing(locks: Path, torn: str) -> None:
    locks.write_text(torn)

    forget_the_dead()

    assert json.loads(locks.read_text()) == {"write": {}, "read": {}}


def test_dvc_runs_where_the_id_of_a_killed_one_is_taken(folder: Path) -> None:
    """Which dvc alone calls busy for ever."""
    (folder / "dvc.yaml").write_text("stages: {one: {cmd: echo done > out.txt, outs: [out.txt]}}")
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], env=environment(), check=True)
    locks = folder / ".dvc" / "tmp" / "rwlock"
    with process("postgres") as other:
        locks.write_text(json.dumps({"write": {str(folder / "out.txt"): holder(other.pid)}}))
        blocked = subprocess.run(["dvc", "repro"], env=environment(), capture_output=True, text=True, check=False)
        assert "is busy" in blocked.stderr

        forget_the_dead()

        subprocess.run(["dvc", "repro", "--quiet"], env=environment(), check=True)
    assert (folder / "out.txt").read_text() == "done\n"
