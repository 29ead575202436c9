"""The folder of a local Ray session: nobody else's, and gone when its process is."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest
from project_folder import environment

from reconv.errors import UnavailableError
from reconv.training import session_folder
from reconv.training.session_folder import new_session_folder, remove_session_folders

HOLDS = """
import sys, time
from reconv.training.session_folder import new_session_folder
print(new_session_folder().parent, flush=True)
time.sleep(60)
"""
STAGE = """
import os, time
from pathlib import Path
from reconv.stage import stage
from reconv.training.cluster import ray_session
with stage("train", "cnn", lambda params: ray_session(params.resources, 1)):
    place = Path(os.environ["TMPDIR"])
    folder, = place.glob("rv-ray-*")
    others = [path.name for path in place.iterdir() if path.name == "ray"]
    Path("seen").write_text(f"{folder.stat().st_mode & 0o777:o} {len(list(folder.rglob('raylet')))} {others}")
    while Path("wait").exists():
        time.sleep(0.05)
"""


TWO_SESSIONS = """
from reconv.params import THIS_MACHINE
from reconv.training.cluster import ray_session
for _ in range(2):
    with ray_session(THIS_MACHINE):
        pass
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder with a path as short as a real one's."""
    with TemporaryDirectory(prefix="t") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield Path(folder)
        remove_session_folders()


def held_by_another(place: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process that holds a folder."""
    running = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    return running, Path(running.stdout.readline().strip())


def test_only_its_user_may_enter_it(place: Path) -> None:
    folder = new_session_folder()

    assert folder.parent.parent == place
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_it_is_removed_with_what_is_in_it(place: Path) -> None:
    folder = new_session_folder()
    (folder / "session" / "logs").mkdir(parents=True)

    remove_session_folders()

    assert not list(place.iterdir())


def test_that_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_stays(place: Path) -> None:
    (dead, of_dead), (living, of_living) = held_by_another(place), held_by_another(place)
    dead.kill()
    dead.communicate()

    mine = new_session_folder().parent

    assert {*place.iterdir()} == {of_living, mine}
    assert of_dead != of_living
    living.kill()
    living.communicate()


def test_a_planted_link_is_neither_followed_nor_made_writable(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o755)
    for name in ("rv-ray-planted", "ray"):
        (place / name).symlink_to(tmp_path)

    new_session_folder()

    assert (tmp_path / "file").exists()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_left_alone(place: Path) -> None:
    other = place / "rv-ray-of-other"
    other.mkdir()
    os.chown(other, 65534, 65534)

    new_session_folder()

    assert other.exists()


def test_the_longest_place_leaves_room_for_sockets_and_a_longer_one_is_passed_over(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for extra, is_taken in ((0, True), (1, False)):
        long = place / ("x" * (session_folder._MOST_BYTES - len(str(place)) - 1 + extra))
        long.mkdir()
        monkeypatch.setenv("TMPDIR", str(long))
        monkeypatch.setattr("tempfile.tempdir", None)
        assert gettempdir() == str(long)

        folder = new_session_folder()

        assert folder.is_relative_to(long) == is_taken
        sockets = folder / "session_2026-11-28_11-23-49_545380_4194303" / "sockets"
        sockets.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(sockets / "plasma_store"))  # which refuses a path that is too long


@pytest.mark.ray
@pytest.mark.slow
def test_a_stage_leaves_nothing_and_removes_what_a_killed_one_left(place: Path, project: Path) -> None:
    command = [sys.executable, "-c", STAGE]
    (project / "wait").touch()
    killed = subprocess.Popen(command, env=environment(TMPDIR=str(place)), start_new_session=True)
    deadline = time.monotonic() + 90
    while not (project / "seen").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (left,) = place.glob("rv-ray-*")
    (project / "wait").unlink()
    (project / "seen").unlink()

    done = subprocess.run(command, env=environment(TMPDIR=str(place)), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "seen").read_text() == "700 1 []"
    assert not list(place.glob("rv-ray-*"))
    assert not left.exists()


@pytest.mark.ray
@pytest.mark.slow
def test_the_second_session_of_a_process_does_not_use_the_folder_of_the_first(place: Path) -> None:
    command = [sys.executable, "-c", TWO_SESSIONS]

    done = subprocess.run(command, env=environment(TMPDIR=str(place)), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert not list(place.glob("rv-ray-*"))


def test_a_file_system_without_locks_keeps_no_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)

    with suppress(UnavailableError):  # every temporary folder is refused
        new_session_folder()

    assert not list(place.glob("rv-ray-*"))
