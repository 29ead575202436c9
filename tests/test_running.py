"""A stage whose dvc is killed, and the next one of its name."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from project_folder import environment

from reconv.errors import UnavailableError
from reconv.running import run_alone

STAGE = """
import os, sys, time
from reconv.running import end_with_dvc, run_alone

end_with_dvc(lambda text: print(text, flush=True))
with run_alone("search-cnn", lambda text: print(text, flush=True)):
    print("runs as", os.getpid(), flush=True)
    try:
        time.sleep(float(sys.argv[1]))
    except KeyboardInterrupt:
        time.sleep(1)
        print("interrupted", flush=True)
"""


def wait_for(text: str, file: Path) -> str:
    """The line with `text`."""
    deadline = time.monotonic() + 60
    while True:
        found = [line for line in file.read_text().splitlines() if text in line]
        if found:
            return found[0]
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("before", ["", "trap '' INT; "], ids=["", "in the background"])  # as cron and nohup do
def test_a_stage_ends_with_its_dvc_and_the_next_one_waits_for_that(folder: Path, before: str) -> None:
    (folder / "stage.py").write_text(STAGE)
    command = f"{sys.executable} stage.py 100; true"  # the shell stays between dvc and the stage
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"search": {"cmd": command}}}))
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], env=environment(), check=True)
    said = folder / "said.txt"
    with said.open("w") as output:
        dvc = subprocess.Popen(["sh", "-c", f"{before}exec dvc repro"], env=environment(), stdout=output, stderr=output)
    pid = int(wait_for("runs as", said).split()[-1])

    dvc.kill()
    dvc.wait()
    following = subprocess.run(
        [sys.executable, "stage.py", "0"], env=environment(), capture_output=True, text=True, check=True
    )

    assert not psutil.pid_exists(pid)
    assert said.read_text().splitlines()[-2:] == [
        "the dvc that started this stage is gone: it ends as well.",
        "interrupted",
    ]
    waits, runs = following.stdout.splitlines()
    assert waits.startswith(f"waits for another one to end that runs search-cnn in this project (process {pid} on ")
    assert runs.startswith("runs as")


def test_one_that_does_not_end_is_named() -> None:
    with run_alone("search-cnn", print), run_alone("search-feedforward", print):
        refused = pytest.raises(UnavailableError, match=rf"process {os.getpid()} on .* since .* kill it")
        with refused, run_alone("search-cnn", print, wait_seconds=0.1):
            pass
    with run_alone("search-cnn", print):
        pass
