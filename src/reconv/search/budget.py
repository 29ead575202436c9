"""Asynchronous successive halving within a budget of epochs, and the searcher that starts trials until it is spent.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), section 3: ASHA. Ray Tune has the
halving; what is added is the budget, and that both survive a killed driver.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from reconv.training.shortage import Place, Shortage, as_tune_resources

METRIC = "validation/accuracy"
ShortageOf = Callable[[Any], Shortage | None]
"""What memory a trial's last failure was for want of; None for other failures."""
_MAX_FAILURES_IN_A_ROW = 3


class BudgetedASHA(ASHAScheduler):  # type: ignore[misc]
    """ASHA that never lets all trials together report more than `budget_epochs` epochs.

    Each running trial holds one epoch of the budget, the one it is training; it goes on only if another is free.

    A trial that ran out of memory goes on alone. No other begins before it does: it would wait for them all.
    """

    def __init__(
        self,
        budget_epochs: int,
        max_epochs: int,
        grace_epochs: int,
        reduction_factor: int,
        shortage_of: ShortageOf = lambda _: None,
    ) -> None:
        super().__init__(
            time_attr="epoch",
            metric=METRIC,
            mode="max",
            max_t=max_epochs,
            grace_period=grace_epochs,
            reduction_factor=reduction_factor,
        )
        self.budget_epochs = budget_epochs
        self.history: dict[str, dict[int, dict[str, float]]] = {}
        """Trial -> epoch -> metrics that it reported."""
        self.running: set[str] = set()
        self.failures_in_a_row = 0
        self.ran_out: dict[str, Place] = {}
        """Trial whose last failure was one of memory -> whose memory."""
        self.waiting: set[str] = set()
        """Those that are to go alone and have not started."""
        self._shortage_of = shortage_of
        self._decisions: dict[tuple[str, int], str] = {}

    @property
    def spent_epochs(self) -> int:
        return sum(len(epochs) for epochs in self.history.values())

    @property
    def has_free_epoch(self) -> bool:
        return self.spent_epochs + len(self.running) < self.budget_epochs

    @property
    def has_failed(self) -> bool:
        return self.failures_in_a_row >= _MAX_FAILURES_IN_A_ROW

    @property
    def is_over(self) -> bool:
        return self.spent_epochs >= self.budget_epochs or self.has_failed

    def __getstate__(self) -> dict[str, Any]:
        of_this_session = ("waiting", "_shortage_of")
        return {name: value for name, value in self.__dict__.items() if name not in of_this_session}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        if not trial.is_finished():
            self.running.add(trial.trial_id)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        trial_id, epoch = trial.trial_id, result["epoch"]
        if (trial_id, epoch) in self._decisions:  # a resumed trial repeats the epoch that it was killed in
            return self._decisions[trial_id, epoch]
        self.failures_in_a_row = 0
        metrics = {name: value for name, value in result.items() if "/" in name and not name.startswith("config/")}
        self.history.setdefault(trial_id, {})[epoch] = metrics
        decision: str = super().on_trial_result(tune_controller, trial, result)
        others = len(self.running - {trial_id})
        if self.spent_epochs + others >= self.budget_epochs:
            decision = TrialScheduler.STOP
        if decision == TrialScheduler.STOP:
            self.running.discard(trial_id)
        self._decisions[trial_id, epoch] = decision
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.running.discard(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Also of a trial that Ray Tune tries again: that one's status is ERROR by now, and it is queued next."""
        self.running.discard(trial.trial_id)
        is_tried_again = trial.status == "ERROR"
        shortage = self._shortage_of(trial)
        self.ran_out.pop(trial.trial_id, None)
        self.waiting.discard(trial.trial_id)
        if shortage:
            self.ran_out[trial.trial_id] = shortage.place
        if shortage and is_tried_again:
            self.waiting.add(trial.trial_id)
            trial.update_resources(as_tune_resources(shortage.needs_alone))
        else:
            self.failures_in_a_row += 1

    def on_trial_start(self, trial: Any) -> None:
        self.waiting.discard(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.running.discard(trial.trial_id)
        self.waiting.discard(trial.trial_id)


class BudgetedOptunaSearch(OptunaSearch):  # type: ignore[misc]
    """Optuna's TPE, which suggests a trial whenever an epoch of the budget is free.

    The scheduler's state is saved and restored with the searcher's, as Ray Tune keeps none of a scheduler's.
    """

    def __init__(self, scheduler: BudgetedASHA, **options: Any) -> None:
        super().__init__(metric=METRIC, mode="max", **options)
        self.scheduler = scheduler

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.scheduler.is_over:
            finished: str = Searcher.FINISHED
            return finished
        if not self.scheduler.has_free_epoch or self.scheduler.waiting:
            return None
        suggestion: dict[str, Any] | None = super().suggest(trial_id)
        return suggestion

    def restore(self, checkpoint_path: str) -> None:
        """Of what ran out of memory, nothing: in this session it may fit beside others."""
        live = self.scheduler
        super().restore(checkpoint_path)
        live.__dict__.update(self.scheduler.__dict__)
        self.scheduler = live
