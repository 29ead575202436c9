"""What follows from Ray Tune's events, in the driver: the observer hears of them, checkpoints are deleted."""

import os
import re
from pathlib import Path
from typing import Any

from ray.tune import Callback

from reconv.files import REFUSED_BY_DISK
from reconv.search.budget import BudgetedASHA
from reconv.search.journal import Journal
from reconv.search.space import from_tune, key, number_of, search_of
from reconv.search.trial import KEPT, NOTICED
from reconv.training.checkpoints import Checkpoints
from reconv.training.observer import Observer
from reconv.training.room import WaitForRoom
from reconv.training.shortage import what_follows


class ReportToObserver(Callback):  # type: ignore[misc]
    def __init__(self, observer: Observer, scheduler: BudgetedASHA, seed: int) -> None:
        """`seed` is that of the first search."""
        self._observer = observer
        self._seed = seed
        self._scheduler = scheduler
        self._told = {(number, epoch) for number, epochs in scheduler.history.items() for epoch in epochs}
        self._refused: OSError | None = None
        self._started: set[int] = set()
        self._beginning: set[int] = set()  # trials whose worker has reported no epoch of its own yet

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._scheduler.on_trial_start(trial)
        number = number_of(trial)
        self._beginning.add(number)
        self._started.add(number)
        values = {"seed": self._seed + search_of(trial), **from_tune(trial.config)}
        self._observer.started(key(number), key(number).replace("-", " "), values)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number, epoch = number_of(trial), result["epoch"]
        if result.get(KEPT) and (number, epoch) in self._told:
            return
        self._told.add((number, epoch))
        if number in self._beginning and not result.get(KEPT):
            self._beginning.remove(number)
            worker = f"{result['hostname']}, process {result['pid']}"
            for what in result.get(NOTICED, ()):
                self._observer.noticed(key(number), what)
            self._observer.begins(key(number), epoch - 1, worker)
        metrics = {name: value for name, value in result.items() if "/" in name}
        self._observer.epoch(key(number), epoch, metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = number_of(trial)
        self._observer.finished(key(number), self._scheduler.status_of(number))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._refused = self._refused or _refused_by_disk(trial)
        self._tell_shortage(trial, is_retried=True)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """A full disk would fail one trial after the other, each chosen without what those before might have shown."""
        if self._refused:
            raise self._refused  # from any other of these methods Ray Tune would raise it as an error of its own

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._refused = self._refused or _refused_by_disk(trial)
        self._tell_shortage(trial, is_retried=False)
        self._observer.finished(key(number_of(trial)), "failed")

    def _tell_shortage(self, trial: Any, is_retried: bool) -> None:
        number = number_of(trial)
        place = self._scheduler.ran_out.get(number)
        if place and number in self._started:
            self._observer.noticed(key(number), what_follows(place, is_retried))


class WatchRoom(Callback):  # type: ignore[misc]
    """Report what trials wait for if none of them finds room in the cluster, and end the search after the limit."""

    def __init__(self, room: WaitForRoom) -> None:
        self._room = room

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        waiting, running = (any(trial.status == status for trial in trials) for status in ("PENDING", "RUNNING"))
        self._room.look(some_wait=waiting, some_run=running)


class DeleteEnded(Callback):  # type: ignore[misc]
    """Checkpoints of trials that ended, once the journal says that they did; a large network's would fill the disk."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ended: list[int] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended.append(number_of(trial))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._ended:
            self._journal.write()
        while self._ended:
            Checkpoints(self._journal.folder, key(self._ended.pop())).delete()


def _refused_by_disk(trial: Any) -> OSError | None:
    """What the user has to mend, if that is why the trial failed."""
    found = re.search(r"\[Errno (\d+)\].*$", last_failure(trial))
    if found and int(found[1]) in REFUSED_BY_DISK:
        return OSError(int(found[1]), os.strerror(int(found[1])))
    return None


def last_failure(trial: Any) -> str:
    """What Ray Tune wrote of it, below those that the trial had before; empty if it had none."""
    if not trial.error_file:
        return ""
    return Path(trial.error_file).read_text(encoding="utf-8", errors="replace").rpartition("Failure # ")[2].strip()
