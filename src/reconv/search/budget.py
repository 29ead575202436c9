"""Asynchronous successive halving within a budget of epochs, in several searches at once.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), section 3: ASHA. Ray Tune has the
halving; what is added is the budget, and that both go on where a killed driver left them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from reconv.search.journal import Event
from reconv.search.space import number_of, search_of
from reconv.training.shortage import Place, Shortage, as_tune_resources

METRIC = "validation/accuracy"
ShortageOf = Callable[[Any], Shortage | None]
"""What memory a trial's last failure was for want of; None for other failures."""
_MAX_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class _Known:
    """What Ray Tune's halving asks of a trial: trials are known by their numbers, which outlive Ray Tune's own ids."""

    trial_id: int


class BudgetedASHA(FIFOScheduler):  # type: ignore[misc]
    """ASHA for several searches that know nothing of each other, none of which spends more than `budget_epochs`.

    Each running trial holds one epoch of its search's budget, the one it is training; it goes on only if another is
    free. The first trial of a search is never halved where it is the `incumbent`, the values that the others have to
    beat: it needs all its epochs to be compared with, which are kept for it.

    A trial that ran out of memory goes on alone. No other begins before it does: it would wait for them all.
    """

    def __init__(
        self,
        budget_epochs: int,
        max_epochs: int,
        grace_epochs: int,
        reduction_factor: int,
        num_searches: int = 1,
        has_incumbents: bool = False,
        shortage_of: ShortageOf = lambda _: None,
        record: Callable[[Event], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.budget_epochs = budget_epochs
        self.num_searches = num_searches
        self.history: dict[int, dict[int, dict[str, float]]] = {}
        """Trial -> epoch -> metrics that it reported."""
        self.search_of: dict[int, int] = {}
        """Trial -> its search, from 0."""
        self.incumbents: set[int] = set()
        self.running: set[int] = set()
        self.failed: set[int] = set()
        self.failures_in_a_row = 0
        self.ran_out: dict[int, Place] = {}
        """Trial whose last failure was one of memory -> whose memory."""
        self.waiting: set[int] = set()
        """Those that are to go alone and have not started."""
        self._max_epochs = max_epochs
        self._has_incumbents = has_incumbents
        self._shortage_of = shortage_of
        self._record = record
        self._decisions: dict[tuple[int, int], str] = {}
        self._spent = [0] * num_searches
        self._halving = [
            ASHAScheduler(
                time_attr="epoch",
                metric=METRIC,
                mode="max",
                max_t=max_epochs,
                grace_period=grace_epochs,
                reduction_factor=reduction_factor,
            )
            for _ in range(num_searches)
        ]

    @property
    def spent_epochs(self) -> int:
        return sum(self._spent)

    @property
    def has_failed(self) -> bool:
        return self.failures_in_a_row >= _MAX_FAILURES_IN_A_ROW

    @property
    def is_over(self) -> bool:
        return self.has_failed or min(self._spent) >= self.budget_epochs

    def search_with_free_epoch(self) -> int | None:
        """Return the search that should begin its next trial: that with most epochs left; None if none has any."""
        free = {one: self.budget_epochs - spent - self._held(one) for one, spent in enumerate(self._spent)}
        search = max(free, key=lambda one: (free[one], -one))
        return search if free[search] > 0 else None

    def add(self, number: int, search: int) -> None:
        if number not in self.search_of:
            if self._has_incumbents and search not in self.search_of.values():
                self.incumbents.add(number)
            self.search_of[number] = search
            self._halving[search].on_trial_add(None, _Known(number))
        self.running.add(number)
        self.failed.discard(number)

    def decide(self, number: int, epoch: int, metrics: Mapping[str, float]) -> str:
        """Whether the trial goes on. The same again for an epoch that it repeats."""
        if (number, epoch) in self._decisions:
            return self._decisions[number, epoch]
        self.failures_in_a_row = 0
        self.history.setdefault(number, {})[epoch] = dict(metrics)
        search = self.search_of[number]
        self._spent[search] += 1
        decision: str = self._halving[search].on_trial_result(None, _Known(number), {**metrics, "epoch": epoch})
        if number in self.incumbents and epoch < self._max_epochs:
            decision = TrialScheduler.CONTINUE
        self.running.discard(number)
        if self._spent[search] + self._held(search) >= self.budget_epochs or _is_diverged(metrics):
            decision = TrialScheduler.STOP
        if decision != TrialScheduler.STOP:
            self.running.add(number)
        self._decisions[number, epoch] = decision
        return decision

    def _held(self, search: int) -> int:
        """Return how many epochs its running trials hold: one each, an incumbent all that are before it."""
        return sum(
            self._max_epochs - len(self.history.get(number, ())) if number in self.incumbents else 1
            for number in self.running
            if self.search_of[number] == search
        )

    def fail(self, number: int) -> None:
        self.running.discard(number)
        self.failed.add(number)

    def status_of(self, number: int) -> str:
        """Of a trial that ended: finished (all its epochs), stopped (by ASHA or the end of the budget), diverged or
        failed."""
        epochs = self.history.get(number, {})
        if number in self.failed:
            return "failed"
        if any(map(_is_diverged, epochs.values())):
            return "diverged"
        return "finished" if max(epochs, default=0) >= self._max_epochs else "stopped"

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self.add(number_of(trial), search_of(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        metrics = {name: value for name, value in result.items() if "/" in name and not name.startswith("config/")}
        number, epoch = number_of(trial), result["epoch"]
        if (number, epoch) not in self._decisions:
            self._record({"trial": number, "epoch": epoch, "metrics": metrics})
        return self.decide(number, epoch, metrics)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.running.discard(number_of(trial))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Also of a trial that Ray Tune tries again: that one's status is ERROR by now, and it is queued next."""
        number = number_of(trial)
        is_tried_again = trial.status == "ERROR"
        shortage = self._shortage_of(trial)
        self.ran_out.pop(number, None)
        self.waiting.discard(number)
        if not is_tried_again:
            self.fail(number)
            self._record({"trial": number, "failed": True})
        if shortage:
            self.ran_out[number] = shortage.place
        if shortage and is_tried_again:
            self.waiting.add(number)
            trial.update_resources(as_tune_resources(shortage.needs_alone))
        else:
            self.failures_in_a_row += 1

    def on_trial_start(self, trial: Any) -> None:
        self.waiting.discard(number_of(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.running.discard(number_of(trial))
        self.waiting.discard(number_of(trial))


def _is_diverged(metrics: Mapping[str, float]) -> bool:
    return not math.isfinite(metrics.get("train/loss", 0.0))
