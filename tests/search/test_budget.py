"""The budget of a search, with trials that only pretend to train."""

import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from reconv.errors import TrainingError
from reconv.params import Params
from reconv.search.budget import METRIC, BudgetedASHA
from reconv.search.journal import Journal
from reconv.search.searcher import BudgetedOptunaSearch, optuna_search
from reconv.search.space import numbered
from reconv.training.shortage import Shortage


@dataclass
class FakeTrial:
    number: int
    epoch: int = 0
    search: int = 0
    status: str = "RUNNING"
    resources: dict | None = None

    @property
    def config(self) -> dict:
        return numbered(self.number, self.search, {})

    def update_resources(self, resources: dict) -> None:
        self.resources = resources

    def is_finished(self) -> bool:
        return self.status != "RUNNING"


def make_scheduler(budget_epochs: int = 20, num_searches: int = 1, has_incumbents: bool = False) -> BudgetedASHA:
    return BudgetedASHA(budget_epochs, 4, 1, 2, num_searches, has_incumbents)


def report(scheduler: BudgetedASHA, trial: FakeTrial, accuracy: float) -> str:
    trial.epoch += 1
    decision = scheduler.on_trial_result(None, trial, {"epoch": trial.epoch, METRIC: accuracy})
    if decision == TrialScheduler.STOP:
        trial.status = "TERMINATED"
        scheduler.on_trial_complete(None, trial, {})
    return decision


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget_epochs", [1, 5, 20, 41])
@pytest.mark.parametrize(("num_searches", "has_incumbents"), [(1, False), (1, True), (3, False), (3, True)])
def test_each_search_spends_exactly_its_budget(workers, seed, budget_epochs, num_searches, has_incumbents):
    rng = random.Random(seed)
    scheduler = make_scheduler(budget_epochs, num_searches, has_incumbents)
    running: list[FakeTrial] = []
    numbers = itertools.count(1)
    for _ in range(1000):
        while len(running) < workers and (search := scheduler.search_with_free_epoch()) is not None:
            trial = FakeTrial(next(numbers), search=search)
            scheduler.on_trial_add(None, trial)
            running.append(trial)
        if not running:
            break
        report(scheduler, rng.choice(running), rng.random())
        running = [trial for trial in running if not trial.is_finished()]
        assert scheduler.spent_epochs + len(scheduler.running) <= budget_epochs * num_searches
    assert scheduler.is_over
    spent = Counter(scheduler.search_of[number] for number, epochs in scheduler.history.items() for _ in epochs)
    assert spent == dict.fromkeys(range(num_searches), budget_epochs)
    if has_incumbents:
        assert len(scheduler.incumbents) == num_searches
        for number in scheduler.incumbents:
            assert len(scheduler.history[number]) == min(4, budget_epochs)


def test_searches_know_nothing_of_each_other():
    scheduler = make_scheduler(num_searches=2)
    good, bad = FakeTrial(1, search=0), FakeTrial(2, search=1)
    for trial in (good, bad):
        scheduler.on_trial_add(None, trial)
    assert report(scheduler, good, 0.8) == TrialScheduler.CONTINUE
    assert report(scheduler, bad, 0.1) == TrialScheduler.CONTINUE


def test_a_trial_below_the_median_is_stopped_and_one_above_goes_on():
    scheduler = make_scheduler()
    good, bad, better = (FakeTrial(number) for number in (1, 2, 3))
    for trial in (good, bad, better):
        scheduler.on_trial_add(None, trial)
    assert report(scheduler, good, 0.8) == TrialScheduler.CONTINUE
    assert report(scheduler, bad, 0.1) == TrialScheduler.STOP
    assert report(scheduler, better, 0.9) == TrialScheduler.CONTINUE


def test_a_repeated_epoch_gets_the_same_answer_and_costs_nothing():
    scheduler = make_scheduler()
    good, bad = FakeTrial(1), FakeTrial(2)
    for trial in (good, bad):
        scheduler.on_trial_add(None, trial)
    report(scheduler, good, 0.8)
    report(scheduler, bad, 0.1)
    for _ in range(3):
        again = scheduler.on_trial_result(None, bad, {"epoch": 1, METRIC: 0.1})
        assert again == TrialScheduler.STOP
    assert scheduler.spent_epochs == 2


def test_trials_that_fail_one_after_the_other_end_the_search():
    scheduler = make_scheduler()
    for number in range(3):
        assert not scheduler.is_over
        trial = FakeTrial(number)
        scheduler.on_trial_add(None, trial)
        scheduler.on_trial_error(None, trial)
    assert scheduler.has_failed
    assert scheduler.is_over


def test_a_failed_trial_gives_its_epoch_back():
    scheduler = make_scheduler(budget_epochs=1)
    trial = FakeTrial(1)
    scheduler.on_trial_add(None, trial)
    assert scheduler.search_with_free_epoch() is None
    scheduler.on_trial_error(None, trial)
    assert scheduler.search_with_free_epoch() == 0


def test_a_trial_out_of_memory_is_queued_to_go_alone_and_no_other_is_suggested_before(searcher):
    scheduler = searcher._scheduler
    scheduler._shortage_of = lambda _: Shortage("GPU", {"CPU": 1, "GPU": 1})
    trial = FakeTrial(1)
    scheduler.on_trial_add(None, trial)
    for _ in range(4):
        trial.status = "ERROR"  # as Ray Tune has it when it tries a trial again
        scheduler.on_trial_error(None, trial)
    assert trial.resources == {"cpu": 1, "gpu": 1}
    assert searcher.suggest("b") is None
    assert not scheduler.has_failed

    scheduler.on_trial_start(trial)
    assert isinstance(searcher.suggest("b"), dict)


def test_a_trial_that_is_given_up_while_it_waits_holds_up_no_other(searcher):
    scheduler = searcher._scheduler
    scheduler._shortage_of = lambda _: Shortage("machine", {"CPU": 2})
    trial = FakeTrial(1, status="ERROR")
    scheduler.on_trial_error(None, trial)
    trial.status = "RUNNING"
    scheduler.on_trial_error(None, trial)

    assert scheduler.ran_out == {1: "machine"}
    assert scheduler.failures_in_a_row == 1
    assert isinstance(searcher.suggest("b"), dict)


def make_searcher(params: Params, folder: Path, scheduler: BudgetedASHA) -> BudgetedOptunaSearch:
    """Of a session: what earlier ones kept in the folder is there."""
    journal = Journal(folder)
    scheduler._record = journal.append
    searches = [optuna_search(params.search.space["cnn"], seed=seed) for seed in range(scheduler.num_searches)]
    return BudgetedOptunaSearch(scheduler, journal, searches)


@pytest.fixture
def searcher(params, tmp_path):
    return make_searcher(params, tmp_path, make_scheduler(budget_epochs=2))


def test_the_searcher_suggests_while_an_epoch_is_free(searcher):
    scheduler = searcher._scheduler
    first, second = FakeTrial(1), FakeTrial(2)
    for trial in (first, second):
        assert isinstance(searcher.suggest(f"id{trial.number}"), dict)
        scheduler.on_trial_add(None, trial)
    assert searcher.suggest("c") is None
    for trial in (first, second):
        assert report(scheduler, trial, 0.5) == TrialScheduler.STOP
    assert searcher.suggest("c") == Searcher.FINISHED


class Session:
    """Ray Tune in short: a search that runs `room` trials at once, until it is killed."""

    def __init__(
        self, params: Params, folder: Path, room: int, killed_after: int | None = None, num_searches: int = 1
    ) -> None:
        self.scheduler = make_scheduler(40 // num_searches, num_searches)
        self.searcher = make_searcher(params, folder, self.scheduler)
        self._room, self._left = room, killed_after

    def run(self) -> list[tuple[int, int]]:
        """The results (trial, epoch) in their order. Of those that run the one with the lowest number reports next."""
        seen: list[tuple[int, int]] = []
        running: dict[int, FakeTrial] = {}
        ids = itertools.count()
        while True:
            while len(running) < self._room and isinstance(
                config := self.searcher.suggest(tune_id := f"id{next(ids)}"), dict
            ):
                trial = FakeTrial(config["trial"], search=config["search"])
                trial.id, trial.lr = tune_id, config["lr"]
                trial.epoch = max(self.scheduler.history.get(trial.number, {}), default=0)
                self.scheduler.on_trial_add(None, trial)
                running[trial.number] = trial
            if not running or self._left == len(seen):
                return seen
            trial = running[min(running)]
            accuracy = 1 - abs(math.log10(trial.lr) + 2) + trial.epoch / 100
            stopped = report(self.scheduler, trial, accuracy) == TrialScheduler.STOP
            seen.append((trial.number, trial.epoch))
            if stopped:
                self.searcher.on_trial_complete(trial.id, {METRIC: accuracy})
                del running[trial.number]


@pytest.mark.parametrize("room", [1, 3])
@pytest.mark.parametrize("killed_after", [0, 1, 7, 23, 39, 40])
@pytest.mark.parametrize("num_searches", [1, 4])
def test_a_killed_search_goes_on_as_if_it_had_not_been(params, tmp_path, room, killed_after, num_searches):
    whole = Session(params, tmp_path / "whole", room, num_searches=num_searches)
    expected = whole.run()

    first = Session(params, tmp_path / "killed", room, killed_after, num_searches)
    seen = first.run()
    second = Session(params, tmp_path / "killed", room, num_searches=num_searches)
    assert second.scheduler.history == first.scheduler.history
    assert second.scheduler.running == first.scheduler.running
    seen += second.run()

    assert seen == expected
    assert second.searcher.suggested == whole.searcher.suggested
    assert second.scheduler.history == whole.scheduler.history
    assert second.searcher.is_over


def test_a_trial_that_failed_is_tried_again_by_the_next_session(params, tmp_path):
    first = Session(params, tmp_path, room=1, killed_after=0)
    first.run()
    failing = FakeTrial(1)
    first.scheduler.on_trial_error(None, failing)
    first.searcher.on_trial_complete("id0", error=True)
    assert first.scheduler.status_of(1) == "failed"

    second = Session(params, tmp_path, room=1)
    assert second.scheduler.status_of(1) == "failed"
    assert second.run()[0] == (1, 1)
    assert second.scheduler.status_of(1) != "failed"
    assert second.scheduler.spent_epochs == 40


def test_a_search_whose_seed_no_longer_gives_its_trials_says_so(params, tmp_path):
    Session(params, tmp_path, room=1, killed_after=1).run()
    other = make_scheduler()
    with pytest.raises(TrainingError, match=r"no longer suggests for trial 1 .*Delete the folder"):
        BudgetedOptunaSearch(other, Journal(tmp_path), [optuna_search(params.search.space["cnn"], seed=1)])
