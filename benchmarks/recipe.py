"""What each part of the recipe brings: accuracy as it is built up step by step, from a plain one to params.yaml's.

Both models, the same steps where they apply. Trained on the first 48,000 development images of Fashion-MNIST, judged
by the other 12,000: no test image is looked at. Two trainings of one thread each run side by side; their images/s are
those of a core. An ablation, not a race: there is no contender but the step before.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.measure import ROOT, Effort, Row

TITLE = "The recipe, step by step"
SEEDS = (0, 1)
EPOCHS = {"cnn": 12, "feedforward": 12}
_JUDGED = 12_000

_PLAIN = {"optimizer": "adamw", "lr": 5e-3, "batch_size": 128, "label_smoothing": 0.0, "test_time_flip": False}
STEPS: dict[str, dict[str, Any]] = {
    "AdamW, batches of 128": _PLAIN,
    "+ label smoothing 0.1": {"label_smoothing": 0.1},
    "+ batches of 512, lr 0.01": {"batch_size": 512, "lr": 1e-2},
    "+ Muon": {"optimizer": "muon"},
    "+ whitened first filters": {"whitened": True},
    "+ the mirror image at test time": {"test_time_flip": True},
}
_OF_THE_CNN = {"whitened"}


def measure(effort: Effort) -> list[Row]:
    tasks = [
        (model, step, values, seed, 1 if effort == "quick" else EPOCHS[model], 2_000 if effort == "quick" else None)
        for model in EPOCHS
        for step, values in steps_of(model).items()
        for seed in (SEEDS[:1] if effort == "quick" else SEEDS)
    ]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        results = list(pool.imap(train, tasks, chunksize=1))
    rows = []
    for model in EPOCHS:
        for step in steps_of(model):
            found = [result for task, result in zip(tasks, results, strict=True) if task[:2] == (model, step)]
            speed = sum(images_per_second for _, images_per_second in found) / len(found)
            accuracies = [100 * accuracy for accuracy, _ in found]
            rows.append(Row(f"{model}: accuracy", "%", step, accuracies, note=f"{speed:,.0f} images/s"))
    return rows


def steps_of(model: str) -> dict[str, dict[str, Any]]:
    """Step -> all values up to it that differ from params.yaml's."""
    values: dict[str, Any] = {"whitened": False} if model == "cnn" else {}
    steps = {}
    for step, changes in STEPS.items():
        if model == "cnn" or not _OF_THE_CNN & set(changes):
            values = {**values, **changes}
            steps[step] = values
    return steps


def train(task: tuple[str, str, Mapping[str, Any], int, int, int | None]) -> tuple[float, float]:
    """Accuracy after the last epoch, and images/s of training."""
    import torch

    from reconv.data.arrays import PreparedData, Split
    from reconv.params import load_params
    from reconv.training.fit import fit
    from reconv.training.job import TrainingJob

    model, step, values, seed, epochs, num_images = task
    torch.set_num_threads(1)
    params, data = load_params(ROOT / "params.yaml"), PreparedData(ROOT / "data" / "prepared")
    recipe, network = params.with_values(model, dict(values))
    job = TrainingJob(model, network, recipe, params.augment, epochs, seed)
    images, labels = data.development.images, data.development.labels
    stop = num_images or len(images) - _JUDGED
    judged = Split(images[-_JUDGED:], labels[-_JUDGED:])
    (*_, last) = fit(job, data.manifest, Split(images[:stop], labels[:stop]), judged, lambda *_: None).curve
    assert last.validation_accuracy is not None
    print(f"  {model}, {step}, seed {seed}: {last.validation_accuracy:.2%}", file=sys.stderr, flush=True)
    return last.validation_accuracy, last.images_per_second
