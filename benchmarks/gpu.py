"""On a GPU: seconds until 94 % of the Fashion-MNIST test images are right, and the best that a minute gives.

`fit` alone, needing torch and Lightning but neither Ray nor MLflow nor DVC: 60,000 training images, tested after every
epoch within the measured time, which begins with the copy of the images to the device; imports and a first training
that warms the device up are left out (`accuracy` has them). A repeat is a seed, ten of them; how many got there stands
beside it. A run's schedule has the length that EPOCHS says. The same with a compiled network is a row of its own, the
compilation included in its time. There is no contender: `training` and `accuracy` have those, on a GPU as well.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch

import reconv.training.fit as fit_module
from benchmarks.measure import OURS, ROOT, Effort, Row
from reconv.data.arrays import PreparedData, Split
from reconv.models.classifier import ImageClassifier, new_classifier
from reconv.params import load_params
from reconv.training.job import EpochResult, TrainingJob

TITLE = "On a GPU: seconds to 94 %, best accuracy in a minute"
TARGET = 0.94
SEEDS = 10
EPOCHS = {"94": 20, "best": 60}
LARGE = {"widths": [128, 256, 512]}
LIMIT_SECONDS = 60.0


def measure(effort: Effort) -> list[Row]:
    """No rows where there is no GPU, but for `quick`, which tries on what there is with a few images."""
    quick = effort == "quick"
    if not quick and not torch.cuda.is_available():
        print("  no GPU here: nothing is measured")
        return []
    seeds = range(1 if quick else SEEDS)
    count = 1_000 if quick else None
    target = 0.0 if quick else TARGET
    epochs = dict.fromkeys(EPOCHS, 1) if quick else EPOCHS
    curve_of(1, seed=0, count=2_000)
    rows = []
    for name, compiled in {OURS: False, f"{OURS}, compiled": True}.items():
        if quick and compiled:
            continue
        curves = [curve_of(epochs["94"], seed, count, compiled=compiled) for seed in seeds]
        reached = [at for curve in curves if (at := seconds_to(curve, target)) is not None]
        final = sum(curve[-1][1] for curve in curves) / len(curves)
        note = f"{len(reached)} of {len(curves)} seeds got there; mean of the last epochs {final:.2%}"
        rows.append(Row("seconds to 94 % test accuracy", "s", name, reached or [float("inf")], bar="<= 5 s", note=note))
    best = [
        max(right for at, right in curve if at <= LIMIT_SECONDS)
        for curve in [curve_of(epochs["best"], seed, count, **LARGE) for seed in seeds[:3]]
    ]
    rows.append(Row("best test accuracy within 60 s", "%", OURS, [100 * value for value in best], bar="96 %"))
    return rows


def seconds_to(curve: list[tuple[float, float]], target: float) -> float | None:
    return next((at for at, accuracy in curve if accuracy >= target), None)


def curve_of(
    epochs: int, seed: int, count: int | None, compiled: bool = False, **values: Any
) -> list[tuple[float, float]]:
    """Seconds since the start and test accuracy, after each epoch."""
    params, data = load_params(ROOT / "params.yaml"), PreparedData(ROOT / "data" / "prepared")
    recipe, network = params.with_values("cnn", values)
    job = TrainingJob("cnn", network, recipe, params.augment, epochs, seed)
    train = Split(data.development.images[:count], data.development.labels[:count])
    curve: list[tuple[float, float]] = []
    began = time.perf_counter()

    def on_epoch(result: EpochResult, _: Any) -> None:
        assert result.validation_accuracy is not None
        curve.append((time.perf_counter() - began, result.validation_accuracy))

    with _compiled() if compiled else nullcontext():
        fit_module.fit(job, data.manifest, train, data.test, on_epoch)
    return curve


@contextmanager
def _compiled() -> Iterator[None]:
    def made(*arguments: Any, **options: Any) -> ImageClassifier:
        classifier = new_classifier(*arguments, **options)
        classifier.network.compile()
        return classifier

    with patch.object(fit_module, "new_classifier", made):
        yield
