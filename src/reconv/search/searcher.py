"""Optuna's TPE in several searches within their budgets, which go on where a killed driver left them."""

from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from reconv.domains import Space
from reconv.errors import TrainingError
from reconv.search.budget import METRIC, BudgetedASHA
from reconv.search.journal import Event, Journal
from reconv.search.space import numbered, to_tune


def optuna_search(space: Space, **options: Any) -> OptunaSearch:
    """One search of the validation accuracy; `options` are OptunaSearch's."""
    return OptunaSearch(space=OptunaSearch.convert_search_space(to_tune(space)), metric=METRIC, mode="max", **options)


class BudgetedOptunaSearch(Searcher):  # type: ignore[misc]
    """Suggests a trial whenever an epoch of a search's budget is free: of the search with most of it left.

    What a journal tells of is told to Optuna and to the scheduler again, in the same order: the same seed and the same
    results give the same suggestions. Trials that had not ended are suggested again first, under their numbers, then
    those that failed.
    """

    def __init__(self, scheduler: BudgetedASHA, journal: Journal, searches: list[OptunaSearch]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._scheduler = scheduler
        self._journal = journal
        self._searches = searches
        self.suggested: dict[int, dict[str, Any]] = {}
        """Trial -> its config, without number and search."""
        self._numbers: dict[str, int] = {}  # Ray Tune's id -> number
        self._go_on(journal.past)
        self._interrupted, self._failed_before = sorted(scheduler.running), sorted(scheduler.failed)

    def _go_on(self, events: Iterable[Event]) -> None:
        scheduler = self._scheduler
        for event in events:
            number = event["trial"]
            if "values" in event:
                if self._ask(number, event["search"]) != event["values"]:
                    raise TrainingError(
                        f"the search cannot go on: Optuna no longer suggests for trial {number} what it did, as after "
                        f"an update. Delete the folder {self._journal.folder}, and the search begins anew."
                    )
                scheduler.add(number, event["search"])
            elif "metrics" in event:
                if scheduler.decide(number, event["epoch"], event["metrics"]) == TrialScheduler.STOP:
                    self._tell(number)
            else:
                scheduler.fail(number)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if (number := self._next()) is None:
            finished: str = Searcher.FINISHED
            return finished if self.is_over else None
        self._numbers[trial_id] = number
        return numbered(number, self._scheduler.search_of[number], self.suggested[number])

    @property
    def is_over(self) -> bool:
        return self._scheduler.is_over and not self._interrupted

    def _next(self) -> int | None:
        scheduler = self._scheduler
        if self._interrupted:
            return self._interrupted.pop(0)
        search = scheduler.search_with_free_epoch()
        if scheduler.is_over or search is None or scheduler.waiting:
            return None
        again = next((number for number in self._failed_before if scheduler.search_of[number] == search), None)
        if again is not None:
            self._failed_before.remove(again)
        number = len(self.suggested) + 1 if again is None else again
        # Kept before it begins: no other trial may ever have its number, and so its checkpoints.
        self._journal.append({"trial": number, "search": search, "values": self._ask(number, search)})
        scheduler.add(number, search)
        return number

    def _ask(self, number: int, search: int) -> dict[str, Any]:
        values: dict[str, Any] = self._searches[search].suggest(str(number))  # the same again for the same trial
        self.suggested[number] = values
        return values

    def _tell(self, number: int) -> None:
        """The last result, by which Optuna judges; of those before it, TPE makes no use."""
        epochs = self._scheduler.history[number]
        self._searches[self._scheduler.search_of[number]].on_trial_complete(str(number), epochs[max(epochs)])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers[trial_id]
        if not error and self._scheduler.history.get(number):
            self._tell(number)

    def save_to_dir(self, checkpoint_dir: str, session_str: str) -> None:
        """Nothing: the journal is its state."""
