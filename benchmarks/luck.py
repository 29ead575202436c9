"""The luck of a search: how often the verdict of whole pipelines (searches, final trainings, test) claims a difference
between a model and itself.

Trials and final trainings are real ones, recorded once (`benchmarks/recorded.py`). A search is what reconv does with
them: its scheduler halves and counts the budget, its rule chooses; the trials that it starts are drawn without
replacement from the recorded random configurations, two side by side, as Optuna draws its first ten. The two pipelines
of a comparison draw from different halves of the configurations and never share a training.
"""

import heapq
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ray.tune.schedulers import TrialScheduler

from benchmarks import recorded
from benchmarks.recorded import Task
from reconv.evaluation.statistics import error_of_difference, t_interval
from reconv.search.budget import METRIC, BudgetedASHA
from reconv.search.choice import TrialResult, choose

_SIDE_BY_SIDE, _NUM_SEEDS, _CONFIDENCE = 2, 3, 0.95
_EPOCHS, _GRACE, _FACTOR = 4, 1, 2


@dataclass(frozen=True)
class Policy:
    """How the values of the final trainings are found."""

    num_searches: int
    budget_epochs: int
    """What each search may spend."""
    from_default: bool = True
    min_lead: float | None = None
    """None: the values of params.yaml are a trial like any other."""
    validation_images: int = recorded.VALIDATION_IMAGES


@dataclass
class Bank:
    """The recorded trainings of a model. `first` is the configuration that stands in params.yaml."""

    name: str
    first: int = recorded.DEFAULT
    trainings: dict[Task, recorded.Training] = field(init=False)
    seeds: dict[tuple[int, bool], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.trainings = recorded.load(self.name)
        self.seeds = defaultdict(list)
        for task in sorted(self.trainings):
            self.seeds[task.configuration, task.is_final].append(task.seed)
        whole = len(self.seeds[1, True])
        self.configurations = [one for (one, is_final), seeds in self.seeds.items() if is_final and len(seeds) >= whole]

    def accuracy(self, configuration: int, is_final: bool) -> float:
        of = [self.trainings[Task(configuration, is_final, seed)] for seed in self.seeds[configuration, is_final]]
        return statistics.mean(float((one.test if is_final else one.validation).mean()) for one in of)

    def search(self, policy: Policy, others: NDArray[np.int64], rng: np.random.Generator) -> int:
        """Return the configuration that a search of `policy` ends with; it draws from the `others` in their order."""
        has_incumbent = policy.from_default and policy.min_lead is not None
        scheduler = BudgetedASHA(policy.budget_epochs, _EPOCHS, _GRACE, _FACTOR, has_incumbents=has_incumbent)
        order = iter([self.first, *others] if policy.from_default else [*others])
        seed, now = rng.integers(2), 0.0
        trials: dict[int, tuple[int, recorded.Training]] = {}
        running: list[tuple[float, int, int]] = []
        while not scheduler.is_over:
            while len(running) < _SIDE_BY_SIDE and scheduler.search_with_free_epoch() is not None:
                configuration, number = int(next(order)), len(trials) + 1
                seeds = self.seeds[configuration, False]
                chosen = rng.choice(seeds) if len(seeds) > 2 else seeds[seed]
                trials[number] = configuration, self.trainings[Task(configuration, False, int(chosen))]
                scheduler.add(number, 0)
                heapq.heappush(running, (now + trials[number][1].seconds, number, 1))
            now, number, epoch = heapq.heappop(running)
            training = trials[number][1]
            decision = scheduler.decide(number, epoch, {METRIC: float(training.curve[epoch - 1])})
            if decision != TrialScheduler.STOP:
                heapq.heappush(running, (now + training.seconds, number, epoch + 1))
        results = [
            TrialResult(
                number,
                len(epochs),
                max(metrics[METRIC] for metrics in epochs.values()),
                trials[number][1].validation[: policy.validation_images] if len(epochs) == _EPOCHS else None,
            )
            for number, epochs in sorted(scheduler.history.items())
        ]
        values = {number: {"configuration": one} for number, (one, _) in trials.items()}
        choice = choose(results, values, 1 if has_incumbent else None, policy.min_lead or 0.0)
        return int(choice.values["configuration"])

    def pipeline(
        self, policy: Policy, others: NDArray[np.int64], used: set[Task], rng: np.random.Generator
    ) -> NDArray[np.bool_] | None:
        """Return who is right, (S, N), of final trainings that are not `used`; None if there are not enough."""
        found = [self.search(policy, rng.permutation(others), rng) for _ in range(policy.num_searches)]
        finals = []
        for configuration in found if policy.num_searches > 1 else found * _NUM_SEEDS:
            tasks = [Task(configuration, True, seed) for seed in self.seeds[configuration, True]]
            free = [task for task in tasks if task not in used]
            if not free:
                return None
            task = free[rng.integers(len(free))]
            used.add(task)
            finals.append(self.trainings[task].test)
        return np.stack(finals)


@dataclass(frozen=True)
class Outcome:
    false_claims: float
    finds_half: float
    finds_one: float
    luck: float
    """Standard deviation of a pipeline's accuracy, in points, less what seeds alone make."""
    accuracy: float
    half_width: float


def resample(bank: Bank, policy: Policy, comparisons: int, seed: int = 0) -> Outcome:
    """Compare the model with itself so many times. Shares, and points of accuracy."""
    rng = np.random.default_rng(seed)
    others = np.array([one for one in bank.configurations if one not in (recorded.DEFAULT, bank.first)])
    differences, accuracies, widths, within = [], [], [], []
    while len(differences) < comparisons:
        used: set[Task] = set()
        halves = np.array_split(rng.permutation(others), 2)
        first, second = (bank.pipeline(policy, half, used, rng) for half in halves)
        if first is None or second is None:
            continue
        differences.append(float(first.mean() - second.mean()))
        interval = t_interval(differences[-1], error_of_difference(first, second), _CONFIDENCE)
        widths.append((interval.high - interval.low) / 2)
        accuracies += [float(first.mean()), float(second.mean())]
        within += [float(one.mean(axis=1).var(ddof=1)) for one in (first, second)]
    away, half_width = np.abs(differences), np.array(widths)
    of_pipelines = np.var(differences) / 2
    of_seeds = statistics.mean(within) / _NUM_SEEDS if policy.num_searches == 1 else 0.0
    return Outcome(
        false_claims=float((away > half_width).mean()),
        finds_half=float((np.array(differences) + 0.005 > half_width).mean()),
        finds_one=float((np.array(differences) + 0.01 > half_width).mean()),
        luck=100 * float(np.sqrt(max(0.0, of_pipelines - of_seeds))),
        accuracy=100 * statistics.mean(accuracies),
        half_width=100 * float(half_width.mean()),
    )
