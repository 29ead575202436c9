"""Real trainings, recorded once, that whole pipelines are resampled from: `benchmarks/luck.py`.

`python -m benchmarks.recorded SET MODEL PREPARED` trains what `benchmarks/results/recorded/SET-MODEL.npz` does not yet
hold, two side by side: the configuration of params.yaml and random ones of the search space, each as trials
(search.max_epochs) and as final trainings (train.max_epochs), on few images, so that two cores finish a model in about
an hour.

E epochs, N images; who is right is kept bit by bit.
"""

import json
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import ROOT
from reconv.data.arrays import PreparedData, Split
from reconv.params import Params, load_params
from reconv.search.space import default_point, from_tune, to_tune

FOLDER = ROOT / "benchmarks" / "results" / "recorded"
DEFAULT = 0
"""The configuration of params.yaml; the others are random."""
NUM_CONFIGURATIONS, NUM_TRIALS, NUM_FINALS, NUM_DEFAULT = 40, 2, 3, (6, 16)
TRAIN_IMAGES, VALIDATION_IMAGES, MORE_VALIDATION_IMAGES = 6_000, 1_000, 3_000
_EXTRA_SEED = 1000  # of trials, so that no trial and no final training have a seed in common


@dataclass(frozen=True, order=True)
class Task:
    configuration: int
    is_final: bool
    seed: int

    @property
    def name(self) -> str:
        return f"{self.configuration}-{'final' if self.is_final else 'trial'}-{self.seed}"


@dataclass(frozen=True)
class Training:
    curve: NDArray[np.float32]
    """(E,) accuracy on the validation images."""
    validation: NDArray[np.bool_]
    """(N,) who is right at the end; the validation images first, then more of them."""
    test: NDArray[np.bool_]
    """The same of the test images; empty for a trial."""
    seconds: float
    """CPU time."""


def configurations(params: Params, model: str) -> list[dict[str, Any]]:
    space = params.search.space[model]
    first = default_point(space, params.recipe, params.network(model))
    assert first is not None
    random, domains = np.random.RandomState(0), to_tune(space)
    rest = [{n: domain.sample(random_state=random) for n, domain in domains.items()} for _ in range(NUM_CONFIGURATIONS)]
    return [from_tune(values) for values in (first, *rest)]


def load(name: str) -> dict[Task, Training]:
    """Return what is recorded under `name`, SET-MODEL."""
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        return {}
    with np.load(path) as file:
        index = json.loads(str(file["index"]))
        counts = (VALIDATION_IMAGES + MORE_VALIDATION_IMAGES, int(file["num_test"]))
        bits = {kind: file[kind] for kind in ("validation", "test")}
        curves, seconds = file["curves"], file["seconds"]
    trainings, test_row = {}, 0
    for row, (configuration, is_final, seed) in enumerate(index):
        validation = np.unpackbits(bits["validation"][row], count=counts[0]).astype(bool)
        test = np.zeros(0, bool)
        if is_final:
            test = np.unpackbits(bits["test"][test_row], count=counts[1]).astype(bool)
            test_row += 1
        curve = curves[row][np.isfinite(curves[row])]
        trainings[Task(configuration, is_final, seed)] = Training(curve, validation, test, float(seconds[row]))
    return trainings


def save(name: str, trainings: dict[Task, Training]) -> None:
    rows = sorted(trainings.items())
    longest = max(len(one.curve) for _, one in rows)
    curves = np.full((len(rows), longest), np.nan, np.float32)
    for row, (_, one) in enumerate(rows):
        curves[row, : len(one.curve)] = one.curve
    finals = [one.test for task, one in rows if task.is_final]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=FOLDER, suffix=".npz", delete=False) as file:
        np.savez_compressed(
            file,
            index=json.dumps([[task.configuration, task.is_final, task.seed] for task, _ in rows]),
            validation=np.stack([np.packbits(one.validation) for _, one in rows]),
            test=np.stack([np.packbits(test) for test in finals]) if finals else np.zeros((0, 0), np.uint8),
            num_test=len(finals[0]) if finals else 0,
            curves=curves,
            seconds=np.array([one.seconds for _, one in rows], np.float32),
        )
    Path(file.name).replace(FOLDER / f"{name}.npz")


def _tasks() -> Iterator[Task]:
    for configuration in range(NUM_CONFIGURATIONS + 1):
        num_trials, num_finals = NUM_DEFAULT if configuration == DEFAULT else (NUM_TRIALS, NUM_FINALS)
        for number in range(num_trials):
            yield Task(configuration, False, _EXTRA_SEED + number)
        for seed in range(num_finals):
            yield Task(configuration, True, seed)


def _train(work: tuple[str, str, Task]) -> tuple[Task, Training]:
    import time

    import torch

    from reconv.evaluation.metrics import is_correct
    from reconv.models.classifier import classifier_of
    from reconv.serving.logits import predict_logits
    from reconv.training.fit import fit
    from reconv.training.job import TrainingJob

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    prepared, model, task = work
    params, data = load_params(ROOT / "params.yaml"), PreparedData(Path(prepared))
    recipe, network = params.with_values(model, configurations(params, model)[task.configuration])
    epochs = params.train.max_epochs if task.is_final else params.search.max_epochs
    job = TrainingJob(model, network, recipe, params.augment, epochs, task.seed, validates=True)
    images, labels = data.development.images, data.development.labels
    ends = np.cumsum([TRAIN_IMAGES, VALIDATION_IMAGES, MORE_VALIDATION_IMAGES])
    train = Split(images[: ends[0]], labels[: ends[0]])
    validation = Split(images[ends[0] : ends[1]], labels[ends[0] : ends[1]])
    all_validation = Split(images[ends[0] : ends[2]], labels[ends[0] : ends[2]])
    curve: list[float] = []
    began = time.process_time()
    fitted = fit(job, data.manifest, train, validation, lambda result, _: curve.append(result.validation_accuracy))
    seconds = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(fitted.weights)
        classifier = classifier_of(fitted.arguments, path)

    def who_is_right(split: Split) -> NDArray[np.bool_]:
        return is_correct(predict_logits(classifier, split, 500, torch.device("cpu")), split.labels)

    test = who_is_right(data.test) if task.is_final else np.zeros(0, bool)
    return task, Training(np.array(curve, np.float32), who_is_right(all_validation), test, seconds)


def record(name: str, model: str, prepared: Path) -> None:
    known = load(f"{name}-{model}")
    todo = [(str(prepared), model, task) for task in _tasks() if task not in known]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for number, (task, training) in enumerate(pool.imap_unordered(_train, todo), 1):
            known[task] = training
            what = f"{task.name}, {training.curve[-1]:.2%}, {training.seconds:.0f} s"
            print(f"  {number} of {len(todo)}: {what}", file=sys.stderr, flush=True)
            if number % 20 == 0 or number == len(todo):
                save(f"{name}-{model}", known)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m benchmarks.recorded SET MODEL PREPARED")
    record(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
