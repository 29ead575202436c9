"""Several processes that train one classifier over torch's process group, without Ray: what Ray Train's workers run."""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import distributed
from torchvision.models import get_model

from reconv.data.arrays import PreparedData
from reconv.data.ranks import ALONE, Rank
from reconv.errors import TrainingError
from reconv.training.fit import fit
from reconv.training.job import EpochResult, FitResult, TrainingJob

Trained = tuple[FitResult, list[int]]
"""With the seed that each epoch's dropout drew from."""

# Batches of 15 images are shared as 7 and 8; dropout would draw other masks in each process.
SAME = {"augment.flip": True, "models.cnn.dropout": 0.0, "recipe.batch_size": 15}
ADAMW = {"recipe.optimizer": "adamw"}
# The largest difference of weights of about 0.1. Muon computes in bfloat16, which has three digits.
TOLERANCE = {"adamw": 1e-5, "feedforward": 1e-5, "muon": 2e-3, "bfloat16": 2e-3}


def train(job: TrainingJob, prepared: PreparedData, rank: Rank = ALONE) -> Trained:
    seeds = []

    def on_epoch(result: EpochResult, _: object) -> None:
        seeds.append(torch.initial_seed())

    return fit(job, prepared.manifest, prepared.train, prepared.validation, on_epoch, rank=rank), seeds


def run_rank(number: int, of: int, jobs: dict[str, TrainingJob], prepared: Path, out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=number, world_size=of)
    data = PreparedData(prepared)
    torch.save({name: train(job, data, Rank(number, of)) for name, job in jobs.items()}, out / f"{number}.pt")
    distributed.destroy_process_group()


def train_together(of: int, jobs: dict[str, TrainingJob], prepared: Path, out: Path) -> list[dict[str, Trained]]:
    """By rank."""
    context = get_context("spawn")
    processes = [context.Process(target=run_rank, args=(number, of, jobs, prepared, out)) for number in range(of)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * of
    return [torch.load(out / f"{number}.pt", weights_only=False) for number in range(of)]


def difference(first: bytes, second: bytes) -> float:
    """The largest of any weight."""
    a, b = load(first), load(second)
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def losses(result: FitResult) -> list[float | None]:
    return [loss for epoch in result.curve for loss in (epoch.train_loss, epoch.validation_loss)]


def accuracies(result: FitResult) -> list[float | None]:
    return [value for epoch in result.curve for value in (epoch.train_accuracy, epoch.validation_accuracy)]


@pytest.mark.parametrize(("count", "of"), [(16, 2), (15, 2), (16, 3), (512, 7), (5, 5)])
def test_parts_are_all_of_it_and_weigh_as_much_as_they_hold(count: int, of: int) -> None:
    ranks = [Rank(number, of) for number in range(of)]
    values = np.arange(count) ** 2

    parts = [values[rank.part(count)] for rank in ranks]

    assert np.concatenate(parts).tolist() == values.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    weighted = [part.mean() * rank.weight(count) for part, rank in zip(parts, ranks, strict=True)]
    assert np.mean(weighted) == pytest.approx(values.mean())


def test_a_batch_with_fewer_images_than_workers_is_refused(prepared: PreparedData, tiny_job: TrainingJob) -> None:
    with pytest.raises(TrainingError, match=r"17 workers cannot share a batch of 16 .*resources\.train\.workers"):
        train(tiny_job, prepared, Rank(0, 17))


@pytest.mark.slow
def test_two_processes_train_as_one(
    prepared: PreparedData,
    make_job: Callable[..., TrainingJob],
    of_torchvision: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), "weights.pth")
    pretrained = of_torchvision(weights=str(Path("weights.pth").resolve()), dropout=0.0)
    jobs = {
        "adamw": make_job(epochs=3, changes={**SAME, **ADAMW}),
        "feedforward": make_job("feedforward", epochs=3, changes={**SAME, **ADAMW}),
        "muon": make_job(epochs=3, changes=SAME),
        "bfloat16": make_job(epochs=3, changes={**SAME, "recipe.precision": "bf16"}),
        "dropout": make_job(epochs=2, changes={**SAME, "models.cnn.dropout": 0.4}),
        # The first epoch teaches the classes' layer alone.
        "transfer": make_job(epochs=2, changes={**pretrained, **ADAMW, "recipe.lr": 1e-4}),
    }

    first, second = train_together(2, jobs, prepared.folder, tmp_path)

    assert {name: result.weights for name, (result, _) in first.items()} == {
        name: result.weights for name, (result, _) in second.items()
    }
    alone = {name: train(job, prepared)[0] for name, job in jobs.items()}
    for name, tolerance in TOLERANCE.items():
        assert difference(first[name][0].weights, alone[name].weights) < tolerance
        assert accuracies(first[name][0]) == accuracies(alone[name])
        assert losses(first[name][0]) == pytest.approx(losses(alone[name]), rel=1e-3)
    # Untrained and this deep, its batch normalisation makes much of the last digits.
    assert losses(first["transfer"][0]) == pytest.approx(losses(alone["transfer"]), rel=1e-2)
    assert first["adamw"][0].curve[0].workers == 2
    assert len({*first["dropout"][1], *second["dropout"][1]}) == 4  # masks of their own, in each epoch
