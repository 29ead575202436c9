"""Ray Tune's events -> the observer's, in the driver."""

import math
from typing import Any

from ray.tune import Callback

from reconv.search.budget import BudgetedASHA
from reconv.search.space import from_tune
from reconv.training.observer import Observer
from reconv.training.shortage import what_follows


class ReportToObserver(Callback):  # type: ignore[misc]
    def __init__(self, observer: Observer, scheduler: BudgetedASHA, max_epochs: int) -> None:
        self._observer = observer
        self._scheduler = scheduler
        self._max_epochs = max_epochs
        self._is_first_step = True
        self._started: set[str] = set()
        self._beginning: set[str] = set()  # trials whose worker has reported no epoch yet

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._is_first_step:
            self._is_first_step = False
            history = {trial.trial_id: self._scheduler.history.get(trial.trial_id, {}) for trial in trials}
            self._observer.resumed(history, {trial.trial_id for trial in trials if trial.is_finished()})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell_shortage(trial, is_retried=True)

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
            self._observer.begins(trial.trial_id, result["epoch"] - 1, worker)
        metrics = {name: value for name, value in result.items() if "/" in name}
        self._observer.epoch(trial.trial_id, result["epoch"], metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        self._observer.finished(trial.trial_id, status_of(trial, {last.get("epoch", 0): last}, self._max_epochs))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell_shortage(trial, is_retried=False)
        self._observer.finished(trial.trial_id, "failed")

    def _tell_shortage(self, trial: Any, is_retried: bool) -> None:
        place = self._scheduler.ran_out.get(trial.trial_id)
        if place and trial.trial_id in self._started:
            self._observer.out_of_memory(trial.trial_id, what_follows(place, is_retried))


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
