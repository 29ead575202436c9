"""How many epochs the search needs to match the best of 64 random configurations, on recorded learning curves.

`python -m benchmarks.search_quality record` trained random configurations of the CNN's search space (the first is that
of params.yaml) on 13,500 training images and judged them on 20,000 others, so that an accuracy's own noise is 0.2
points. Here the real BudgetedASHA and BudgetedOptunaSearch search that table, two trials side by side, without Ray's
processes; an epoch takes the CPU seconds of its network's epochs.

A suggestion lies between the recorded configurations. Taking the nearest one would make the table's best row a lottery
of cells; instead a Gaussian process per epoch is fitted to the table, and a trial's curve is its mean plus the
residuals (leave one out, all epochs of one row) of a recorded configuration drawn at random: two trainings of one
configuration differ as much as the table differs from the fit. Random search goes through the same mapping, and is as
lucky.

The bar to match is the median, over 500 times 64 random configurations, of the best validation accuracy at any epoch;
it cost random search 64 x max_epochs. Counted are the epochs that all trials have spent when one reaches it, 512 at
most.
"""

import csv
import heapq
import json
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from ray.tune.schedulers import TrialScheduler

from benchmarks.measure import OURS, ROOT, Effort, Row
from reconv.data.arrays import PreparedData, Split
from reconv.domains import Choice, LogUniform
from reconv.params import Params, load_params
from reconv.search.budget import METRIC, BudgetedASHA
from reconv.search.journal import Journal
from reconv.search.searcher import BudgetedOptunaSearch, optuna_search
from reconv.search.space import default_point, from_tune, to_tune

TITLE = "The quality of the search"

_TABLE = ROOT / "benchmarks" / "results" / "learning_curves.csv"
_MODEL = "cnn"
_NUM_RECORDED, _TRAIN_IMAGES, _JUDGE_IMAGES = 128, 13_500, 20_000
_NUM_RANDOM = 64
_MOST_EPOCHS = 512
_SIDE_BY_SIDE = 2
Values = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """What is laid over the search of params.yaml."""

    sampler: Callable[[int], Any] = lambda seed: None
    from_default: bool = True
    halving: bool = True


_RANDOM = optuna.samplers.RandomSampler
_VARIANTS = {
    OURS: Variant(),
    "without the default point": Variant(from_default=False),
    "random + ASHA": Variant(_RANDOM, from_default=False),
    "TPE, no halving": Variant(from_default=False, halving=False),
    "random search anew": Variant(_RANDOM, from_default=False, halving=False),
}


def measure(effort: Effort) -> list[Row]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna|ray|sklearn")
    params = load_params(ROOT / "params.yaml")
    curves = Curves(params)
    goal = curves.best_of_random(_NUM_RANDOM)
    random = _NUM_RANDOM * params.search.max_epochs
    quantity = f"epochs until the best of {_NUM_RANDOM} random configurations ({goal:.1%}) is matched"
    rows = [Row(quantity, "epochs", f"{_NUM_RANDOM} random configurations", [random])]
    for name, variant in _VARIANTS.items():
        values = [float(replay(curves, params, goal, variant, seed)) for seed in range(50 if effort == "full" else 2)]
        print(f"  {name}: {statistics.median(values):.0f} epochs", file=sys.stderr, flush=True)
        bar = f"<= {random / 3:.0f} epochs" if name == OURS else ""
        missed = sum(value >= _MOST_EPOCHS for value in values)
        rows.append(Row(quantity, "epochs", name, values, bar=bar, note=f"{missed} x not within {_MOST_EPOCHS}"))
    ours = rows[1].median
    return [row if row is rows[1] else Row(**{**vars(row), "ratio": row.median / ours}) for row in rows]


class Curves:
    """The table as a function: a configuration's learning curve, as another training of it might come out."""

    def __init__(self, params: Params) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self.space = params.search.space[_MODEL]
        table: dict[int, list[dict[str, str]]] = defaultdict(list)
        with _TABLE.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                table[int(row["configuration"])].append(row)
        points = np.array([self._point(_read(rows[0])) for rows in table.values()])
        log_errors = np.log([[1 - float(row["accuracy"]) for row in rows] for rows in table.values()])
        kernel = ConstantKernel() * Matern(np.ones(points.shape[1]), (0.2, 30.0), nu=2.5) + WhiteKernel()
        self._means, residuals = [], []
        for target in log_errors.T:
            mean = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
            mean.fit(points, target)
            inverse = np.linalg.inv(mean.L_ @ mean.L_.T)
            residuals.append(mean.alpha_ / np.diag(inverse) * target.std())  # leave one out, in closed form
            self._means.append(mean)
        self._residuals = np.array(residuals).T
        seconds = defaultdict(list)
        for rows in table.values():
            seconds[self._network(_read(rows[0]))] += [float(row["seconds"]) for row in rows]
        self._seconds = {network: statistics.median(values) for network, values in seconds.items()}

    def draw(self, configurations: list[Values], random: np.random.RandomState) -> NDArray[Any]:
        """Validation accuracy (configuration, epoch)."""
        points = np.array([self._point(values) for values in configurations])
        log_errors = np.stack([mean.predict(points) for mean in self._means], axis=1)
        return 1 - np.exp(log_errors + self._residuals[random.randint(len(self._residuals), size=len(points))])

    def epoch_seconds(self, values: Values) -> float:
        return self._seconds[self._network(values)]

    def best_of_random(self, num: int, repeats: int = 500) -> float:
        best = self.draw(random_values(self.space, num * repeats), np.random.RandomState(1)).max(axis=1)
        return float(np.median(best.reshape(repeats, num).max(axis=1)))

    def _point(self, values: Values) -> list[float]:
        """In [0, 1] per dimension, one per category."""
        point: list[float] = []
        for name, domain in self.space.items():
            if isinstance(domain, Choice):
                point += [float(values[name] == choice) for choice in domain.choice]
            else:
                scale = np.log if isinstance(domain, LogUniform) else float
                low, high = scale(domain.examples[0]), scale(domain.examples[-1])
                point.append((scale(values[name]) - low) / (high - low))
        return point

    def _network(self, values: Values) -> str:
        return json.dumps([values["pooling"], values["widths"]])


@dataclass
class SimulatedTrial:
    config: Values
    accuracies: NDArray[Any]
    epoch_seconds: float
    results: list[Values] = field(default_factory=list)

    def is_finished(self) -> bool:
        return False


def replay(curves: Curves, params: Params, goal: float, variant: Variant, seed: int) -> int:
    """The epochs that a search spends until a trial reports `goal`; as Ray Tune calls scheduler and searcher."""
    section = params.search
    grace = section.grace_epochs if variant.halving else section.max_epochs
    scheduler = BudgetedASHA(_MOST_EPOCHS, section.max_epochs, grace, section.reduction_factor)
    first = default_point(curves.space, params.recipe, params.network(_MODEL)) if variant.from_default else None
    sampler = variant.sampler(seed)
    seeded = {"sampler": sampler} if sampler else {"seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        optuna = optuna_search(curves.space, points_to_evaluate=[first] if first else None, **seeded)
        searcher = BudgetedOptunaSearch(scheduler, Journal(Path(folder)), [optuna])
        return _spent(curves, scheduler, searcher, goal, np.random.RandomState(seed))


def _spent(
    curves: Curves, scheduler: BudgetedASHA, searcher: BudgetedOptunaSearch, goal: float, random: np.random.RandomState
) -> int:
    running: list[tuple[float, int, SimulatedTrial]] = []
    now, number = 0.0, 0
    while not scheduler.is_over:
        while len(running) < _SIDE_BY_SIDE and isinstance(config := searcher.suggest(str(number)), dict):
            values = from_tune(config)
            trial = SimulatedTrial(config, curves.draw([values], random)[0], curves.epoch_seconds(values))
            scheduler.on_trial_add(None, trial)
            heapq.heappush(running, (now + trial.epoch_seconds, number, trial))
            number += 1
        now, place, trial = heapq.heappop(running)
        epoch = len(trial.results) + 1
        result = {"epoch": epoch, "training_iteration": epoch, METRIC: float(trial.accuracies[epoch - 1])}
        trial.results.append(result)
        decision = scheduler.on_trial_result(None, trial, result)
        if result[METRIC] >= goal:
            break
        if decision == TrialScheduler.STOP:
            scheduler.on_trial_complete(None, trial, result)
            searcher.on_trial_complete(str(place), result)
        else:
            heapq.heappush(running, (now + trial.epoch_seconds, place, trial))
    return scheduler.spent_epochs


def random_values(space: Any, num: int, seed: int = 0) -> list[Values]:
    random, domains = np.random.RandomState(seed), to_tune(space)
    return [from_tune({n: domain.sample(random_state=random) for n, domain in domains.items()}) for _ in range(num)]


def record() -> None:
    """Train what the table does not yet hold, two side by side."""
    params = load_params(ROOT / "params.yaml")
    space = params.search.space[_MODEL]
    first = default_point(space, params.recipe, params.network(_MODEL))
    assert first is not None
    tasks = dict(enumerate([from_tune(first), *random_values(space, _NUM_RECORDED - 1)]))
    is_new = not _TABLE.exists()
    if not is_new:
        with _TABLE.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                tasks.pop(int(row["configuration"]), None)
    columns = ["configuration", *space, "epoch", "accuracy", "seconds"]
    with multiprocessing.get_context("spawn").Pool(2) as pool, _TABLE.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for rows in pool.imap_unordered(_train, tasks.items()):
            writer.writerows(rows)
            file.flush()
            print(f"  {rows[-1]['configuration']}: {rows[-1]['accuracy']:.2%}", file=sys.stderr, flush=True)


def _train(task: tuple[int, Values]) -> list[Values]:
    """A row per epoch; seconds are CPU seconds, so that other work on the machine does not count."""
    import torch

    from reconv.training.fit import fit
    from reconv.training.job import TrainingJob

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    number, values = task
    params, data = load_params(ROOT / "params.yaml"), PreparedData(ROOT / "data" / "prepared")
    recipe, network = params.with_values(_MODEL, values)
    job = TrainingJob(_MODEL, network, recipe, params.augment, params.search.max_epochs, seed=0)
    images, labels = data.development.images, data.development.labels
    train = Split(images[:_TRAIN_IMAGES], labels[:_TRAIN_IMAGES])
    judge = Split(images[-_JUDGE_IMAGES:], labels[-_JUDGE_IMAGES:])
    texts = {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}
    rows: list[Values] = []
    clocks = [time.process_time()]

    def on_epoch(result: Any, _: Any) -> None:
        clocks.append(time.process_time())
        measured = {"accuracy": round(result.validation_accuracy, 5), "seconds": round(clocks[-1] - clocks[-2], 2)}
        rows.append({"configuration": number, **texts, "epoch": result.epoch, **measured})

    fit(job, data.manifest, train, judge, on_epoch)
    return rows


def _read(row: dict[str, str]) -> Values:
    numbers = {name: float(row[name]) for name in ("lr", "weight_decay", "dropout")}
    return {**numbers, "pooling": row["pooling"], "widths": json.loads(row["widths"])}


if __name__ == "__main__":
    if sys.argv[1:] != ["record"]:
        sys.exit("usage: python -m benchmarks.search_quality record")
    record()
