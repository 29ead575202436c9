"""A stage that dvc runs on a real cluster, whose parts are killed or fail meanwhile; and what has to hold afterwards.

A harness that would also pass if trainings silently began anew would be worthless: what counts is the epoch after which
each went on, which its log file says.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from faults.cluster import Cluster
from faults.tracking import Tracking

_NEVER_SECONDS = 180
_SLOW_SECONDS = 6
_FULL_SECONDS = 6
_SAID_SECONDS = 10
_EPOCH = re.compile(r"  epoch (\d+)  ")
_BEGINS = re.compile(r"  (?:begins|goes on after epoch (\d+)) on ")
_TORN = re.compile(r"  the checkpoint .* is not as it was written")
_ENDED = re.compile(r"  (?:finished|stopped)$")


@dataclass
class Attempt:
    """A stage in a project's folder, started again by the same command until it succeeds."""

    project: Path
    cluster: Cluster
    tracking: Tracking
    stage: str
    """search or train"""
    process: "subprocess.Popen[bytes]" = field(init=False)
    run_ids: set[str] = field(default_factory=set)
    """Of the stage: all that were seen."""
    nested: set[str] = field(default_factory=set)
    """Ids of all nested runs that were seen."""
    torn: int = 0
    """Checkpoints of trainings that go on."""

    def start(self) -> None:
        """Once there is an MLflow server: without one a stage does not start."""
        self.tracking.server.wait()
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                ["dvc", "repro", "--single-item", f"{self.stage}@cnn"],
                cwd=self.project,
                env={**self.cluster.environment, "MLFLOW_TRACKING_URI": self.tracking.proxy.uri},
                stdout=output,
                stderr=output,
            )

    def wait_for_epochs(self, count: int) -> bool:
        """Until so many are reported in all; False if the stage ends before."""
        deadline = time.monotonic() + _NEVER_SECONDS
        while self.process.poll() is None:
            if self.num_epochs() >= count:
                return True
            assert time.monotonic() < deadline, f"{count} epochs are not reached:\n{self.output()}"
            time.sleep(0.05)
        return False

    def look(self) -> None:
        """At the ids that MLflow has by now."""
        stages = json.loads((self.project / ".reconv" / "pipeline.json").read_text())["stages"]
        for run_id in stages.values():
            self.run_ids.add(run_id)
            self.nested |= self.tracking.nested_runs(run_id)

    def finish(self) -> None:
        """Run it to its end, by the same command where it was stopped, then once more: there is nothing left to do."""
        for _ in range(3):
            if self.process.wait(timeout=_NEVER_SECONDS) == 0:
                break
            self.start()
        else:
            raise AssertionError(self.output())
        before = self.output()
        self.start()
        assert self.process.wait(timeout=_NEVER_SECONDS) == 0
        assert "didn't change, skipping" in self.output()[len(before) :]

    def end(self) -> None:
        """Kill whatever is left of it."""
        for process in [*self.stages(), self.process]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def stages(self) -> list[psutil.Process]:
        """The stage's own process, also if its dvc is gone."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.NoSuchProcess):
                is_stage = f"pipeline/{self.stage}.py" in (process.info["cmdline"] or ()) and process.cwd() == str(
                    self.project
                )
                found += [process] if is_stage else []
        return found

    def output(self) -> str:
        return self._output.read_text()

    @property
    def _output(self) -> Path:
        """Not on the disk that may be full."""
        return self.project.parent.with_suffix(".txt")

    def logs(self) -> dict[str, list[str]]:
        """Name of a trial or seed -> lines of its log file."""
        folder = self.project / "logs" / f"{self.stage}-cnn"
        return {path.stem.replace("-", " "): path.read_text().splitlines() for path in sorted(folder.glob("*.log"))}

    def num_epochs(self) -> int:
        """That the log files tell of."""
        return sum(len({found[1] for found in map(_EPOCH.search, lines) if found}) for lines in self.logs().values())

    def assert_nothing_was_lost(self, epochs: dict[str, int]) -> None:
        """Every trial or seed (name -> number of its epochs) is there once, in a run that was not made anew, with every
        epoch's metrics once; no training began again before its last reported epoch."""
        self._deliver_what_waits()
        run_id = json.loads((self.project / "results" / "runs" / f"{self.stage}-cnn.json").read_text())["run_id"]
        assert self.run_ids <= {run_id}
        assert self.nested <= self.tracking.nested_runs(run_id)
        assert self.tracking.epochs(run_id) == [(name, [*range(1, last + 1)]) for name, last in sorted(epochs.items())]
        for name, lines in self.logs().items():
            assert_it_went_on(name, lines)
        noticed = sum(bool(_TORN.search(line)) for lines in self.logs().values() for line in lines)
        # A search may go on from the one before without having looked: its state is written less often.
        assert noticed <= self.torn if self.stage == "search" else noticed == self.torn

    def _deliver_what_waits(self) -> None:
        """The next stage does, whatever it is."""
        self.tracking.server.wait()
        if list((self.project / ".reconv" / "records").glob("*/*")):
            environment = {**self.cluster.environment, "MLFLOW_TRACKING_URI": self.tracking.proxy.uri}
            command = [sys.executable, "pipeline/fetch.py"]
            subprocess.run(command, cwd=self.project, env=environment, check=True, capture_output=True)
        assert not list((self.project / ".reconv" / "records").glob("*/*"))


def assert_it_went_on(name: str, lines: list[str]) -> None:
    """Each worker after the last reported epoch, or the one before it; one more for each torn checkpoint."""
    last = lost = 0
    for line in lines:
        if _TORN.search(line):
            lost += 1
        if begins := _BEGINS.search(line):
            after = int(begins[1] or 0)
            assert after >= last - 1 - lost, f"{name}: epoch {last} was reported, but its worker began after {after}"
            lost = 0
        if epoch := _EPOCH.search(line):
            last = max(last, int(epoch[1]))


def _kill_driver(attempt: Attempt) -> None:
    for process in attempt.stages():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    attempt.process.wait(timeout=_NEVER_SECONDS)
    attempt.start()


def _kill_dvc(attempt: Attempt) -> None:
    """The stage goes on without it, until it notices; the next dvc is there before."""
    stages, before = attempt.stages(), len(attempt.output())
    attempt.process.kill()
    attempt.process.wait()
    attempt.start()
    for stage in stages:
        stage.wait(timeout=_NEVER_SECONDS)
    assert "the dvc that started this stage is gone" in attempt.output()[before:]


def _kill_head(attempt: Attempt) -> None:
    """Which is lost with its nodes; the stage has to notice, and not to hang."""
    before, began = len(attempt.output()), time.monotonic()
    attempt.cluster.stop()
    code, took = attempt.process.wait(timeout=_NEVER_SECONDS), time.monotonic() - began
    attempt.cluster.start()
    if code == 0:  # it was just leaving the cluster
        return
    if took > _SAID_SECONDS:
        assert "does not answer. If it is gone, Ray ends this stage" in attempt.output()[before:]
    attempt.start()


def _slow_node(attempt: Attempt) -> None:
    with attempt.cluster.stopped_node():
        time.sleep(_SLOW_SECONDS)


def _tear_checkpoint(attempt: Attempt) -> None:
    """The newest of every training that goes on, while nobody trains."""
    for process in [*attempt.stages(), *attempt.cluster.workers()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    attempt.process.wait(timeout=_NEVER_SECONDS)
    while attempt.cluster.workers():
        time.sleep(0.1)
    for name, lines in attempt.logs().items():
        begun = max((index for index, line in enumerate(lines) if "  started" in line), default=0)
        if any(map(_EPOCH.search, lines)) and not any(map(_ENDED.search, lines[begun:])):
            newest = _checkpoints(attempt, name)[-1]
            newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
            attempt.torn += 1
    attempt.start()


def _checkpoints(attempt: Attempt, name: str) -> list[Path]:
    """Of a seed or a trial, the oldest first; in the project or in its storage, which lie beside each other."""
    return sorted(attempt.project.parent.rglob(f"{name.replace(' ', '-')}.*.ckpt"))


def _kill_server(attempt: Attempt) -> None:
    attempt.tracking.server.kill()
    _assert_it_trains(attempt)
    attempt.tracking.server.launch()


def _kill_postgres(attempt: Attempt) -> None:
    attempt.tracking.postgres.kill()
    _assert_it_trains(attempt)
    attempt.tracking.postgres.start()


def _server_answers_500(attempt: Attempt) -> None:
    proxy, before = attempt.tracking.proxy, attempt.tracking.proxy.num_failed
    proxy.fail("request")
    _assert_it_trains(attempt)
    while proxy.num_failed == before:  # a record of the machine, at the latest
        time.sleep(0.1)
    proxy.fail(None)


def _assert_it_trains(attempt: Attempt) -> None:
    """Until two epochs more are reported, or the stage has come to its end."""
    assert attempt.wait_for_epochs(attempt.num_epochs() + 2) or attempt.process.wait() == 0


def _fill_disk(attempt: Attempt) -> None:
    filler = attempt.project.parent / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    before = len(attempt.output())
    deadline = time.monotonic() + _FULL_SECONDS
    while attempt.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    filler.unlink()
    if not attempt.wait_for_epochs(attempt.num_epochs() + 1) and attempt.process.returncode != 0:
        assert "No space left on device" in attempt.output()[before:]
        assert "Traceback" not in attempt.output()[before:]
        attempt.start()


FAULTS: dict[str, Callable[[Attempt], None]] = {
    "worker": lambda attempt: attempt.cluster.kill_worker(),
    "node": lambda attempt: attempt.cluster.kill_node(),
    "slow node": _slow_node,
    "head": _kill_head,
    "driver": _kill_driver,
    "dvc": _kill_dvc,
    "torn checkpoint": _tear_checkpoint,
    "full disk": _fill_disk,
    "MLflow server": _kill_server,
    "PostgreSQL": _kill_postgres,
    "server answers 500": _server_answers_500,
}
"""What is killed, by kill -9, or fails for a while."""
