"""Ray Tune's events -> the observer's, in the driver."""

import math
import os
import re
from pathlib import Path
from typing import Any

from ray.tune import Callback

from reconv.files import REFUSED_BY_DISK
from reconv.search.budget import BudgetedASHA
from reconv.search.space import from_tune
from reconv.search.trial import NOTICED
from reconv.training.observer import Observer
from reconv.training.shortage import what_follows


class ReportToObserver(Callback):  # type: ignore[misc]
    def __init__(self, observer: Observer, scheduler: BudgetedASHA, max_epochs: int) -> None:
        self._observer = observer
        self._scheduler = scheduler
        self._max_epochs = max_epochs
        self._is_first_step = True
        self._refused: OSError | None = None
        self._started: set[str] = set()
        self._beginning: set[str] = set()  # trials whose worker has reported no epoch yet

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._is_first_step:
            self._is_first_step = False
            history = {trial.trial_id: self._scheduler.history.get(trial.trial_id, {}) for trial in trials}
            self._observer.resumed(history, {trial.trial_id for trial in trials if trial.is_finished()})

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._scheduler.on_trial_start(trial)
        self._beginning.add(trial.trial_id)
        self._started.add(trial.trial_id)
        self._observer.started(trial.trial_id, f"trial {trial_number(trial):02d}", from_tune(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if trial.trial_id in self._beginning:
            self._beginning.remove(trial.trial_id)
            worker = f"{result['hostname']}, process {result['pid']}"
            for what in result.get(NOTICED, ()):
                self._observer.noticed(trial.trial_id, what)
            self._observer.begins(trial.trial_id, result["epoch"] - 1, worker)
        metrics = {name: value for name, value in result.items() if "/" in name}
        self._observer.epoch(trial.trial_id, result["epoch"], metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        self._observer.finished(trial.trial_id, status_of(trial, {last.get("epoch", 0): last}, self._max_epochs))

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
        self._observer.finished(trial.trial_id, "failed")

    def _tell_shortage(self, trial: Any, is_retried: bool) -> None:
        place = self._scheduler.ran_out.get(trial.trial_id)
        if place and trial.trial_id in self._started:
            self._observer.noticed(trial.trial_id, what_follows(place, is_retried))


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


def trial_number(trial: Any) -> int:
    """In the order of suggestion, from 1; Ray Tune keeps it at the head of the experiment tag."""
    return int(trial.experiment_tag.split("_", 1)[0])


def status_of(trial: Any, epochs: dict[int, dict[str, Any]], max_epochs: int) -> str:
    """finished (all its epochs), stopped (by ASHA or the end of the budget), diverged or failed."""
    if trial.status == "ERROR":
        return "failed"
    if any(not math.isfinite(metrics.get("train/loss", 0.0)) for metrics in epochs.values()):
        return "diverged"
    return "finished" if max(epochs, default=0) >= max_epochs else "stopped"
