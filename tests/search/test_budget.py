"""The budget of a search, with trials that only pretend to train."""

import random
from dataclasses import dataclass

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from reconv.search.budget import METRIC, BudgetedASHA, BudgetedOptunaSearch
from reconv.search.space import to_tune
from reconv.training.shortage import Shortage


@dataclass
class FakeTrial:
    trial_id: str
    epoch: int = 0
    status: str = "RUNNING"
    resources: dict | None = None

    def update_resources(self, resources: dict) -> None:
        self.resources = resources

    def is_finished(self) -> bool:
        return self.status != "RUNNING"


def make_scheduler(budget_epochs: int = 20) -> BudgetedASHA:
    return BudgetedASHA(budget_epochs, max_epochs=4, grace_epochs=1, reduction_factor=2)


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
def test_exactly_the_budget_is_spent(workers, seed, budget_epochs):
    rng = random.Random(seed)
    scheduler = make_scheduler(budget_epochs)
    running: list[FakeTrial] = []
    for number in range(1000):
        while len(running) < workers and scheduler.has_free_epoch and not scheduler.is_over:
            trial = FakeTrial(f"{number}-{len(running)}")
            scheduler.on_trial_add(None, trial)
            running.append(trial)
        if not running:
            break
        report(scheduler, rng.choice(running), rng.random())
        running = [trial for trial in running if not trial.is_finished()]
        assert scheduler.spent_epochs + len(scheduler.running) <= budget_epochs
    assert scheduler.is_over
    assert scheduler.spent_epochs == budget_epochs


def test_a_trial_below_the_median_is_stopped_and_one_above_goes_on():
    scheduler = make_scheduler()
    good, bad, better = (FakeTrial(name) for name in ("good", "bad", "better"))
    for trial in (good, bad, better):
        scheduler.on_trial_add(None, trial)
    assert report(scheduler, good, 0.8) == TrialScheduler.CONTINUE
    assert report(scheduler, bad, 0.1) == TrialScheduler.STOP
    assert report(scheduler, better, 0.9) == TrialScheduler.CONTINUE


def test_a_repeated_epoch_gets_the_same_answer_and_costs_nothing():
    scheduler = make_scheduler()
    good, bad = FakeTrial("good"), FakeTrial("bad")
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
        trial = FakeTrial(str(number))
        scheduler.on_trial_add(None, trial)
        scheduler.on_trial_error(None, trial)
    assert scheduler.has_failed
    assert scheduler.is_over


def test_a_failed_trial_gives_its_epoch_back():
    scheduler = make_scheduler(budget_epochs=1)
    trial = FakeTrial("fails")
    scheduler.on_trial_add(None, trial)
    assert not scheduler.has_free_epoch
    scheduler.on_trial_error(None, trial)
    assert scheduler.has_free_epoch


def test_a_trial_out_of_memory_is_queued_to_go_alone_and_no_other_is_suggested_before(searcher):
    scheduler = searcher.scheduler
    scheduler._shortage_of = lambda _: Shortage("GPU", {"CPU": 1, "GPU": 1})
    trial = FakeTrial("a")
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
    scheduler = searcher.scheduler
    scheduler._shortage_of = lambda _: Shortage("machine", {"CPU": 2})
    trial = FakeTrial("a", status="ERROR")
    scheduler.on_trial_error(None, trial)
    trial.status = "RUNNING"
    scheduler.on_trial_error(None, trial)

    assert scheduler.ran_out == {"a": "machine"}
    assert scheduler.failures_in_a_row == 1
    assert isinstance(searcher.suggest("b"), dict)


@pytest.fixture
def searcher(params):
    searcher = BudgetedOptunaSearch(make_scheduler(budget_epochs=2), seed=0)
    searcher.set_search_properties(METRIC, "max", to_tune(params.search.space["cnn"]))
    return searcher


def test_the_searcher_suggests_while_an_epoch_is_free(searcher):
    scheduler = searcher.scheduler
    first, second = FakeTrial("a"), FakeTrial("b")
    for trial in (first, second):
        assert isinstance(searcher.suggest(trial.trial_id), dict)
        scheduler.on_trial_add(None, trial)
    assert searcher.suggest("c") is None
    for trial in (first, second):
        assert report(scheduler, trial, 0.5) == TrialScheduler.STOP
    assert searcher.suggest("c") == Searcher.FINISHED


def test_the_budget_is_restored_with_the_searcher(searcher, tmp_path, params):
    scheduler = searcher.scheduler
    trial = FakeTrial("a")
    searcher.suggest("a")
    scheduler.on_trial_add(None, trial)
    report(scheduler, trial, 0.5)
    searcher.save(str(tmp_path / "state"))
    expected = searcher.suggest("b")

    restored = BudgetedOptunaSearch(make_scheduler(budget_epochs=2), seed=0)
    live = restored.scheduler
    restored.restore(str(tmp_path / "state"))
    assert restored.scheduler is live
    assert live.spent_epochs == 1
    assert live.history["a"][1][METRIC] == 0.5
    assert restored.suggest("b") == expected
