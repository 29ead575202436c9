"""Several processes that train one classifier over torch's process group, without Ray: what Ray Train's workers run."""

from collections.abc import Callable
from dataclasses import replace
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

MOVED = {"augment.crop": 1, "augment.flip": True}
# Batches of 15 images are shared as 7 and 8; dropout draws other masks in each process.
SAME = {**MOVED, "models.cnn.dropout": 0.0, "recipe.batch_size": 15}
TOLERANCE = 2e-5  # of weights of about 0.1


def train(job: TrainingJob, prepared: PreparedData, rank: Rank = ALONE) -> tuple[FitResult, list[int]]:
    """With the seed that each epoch's dropout drew from."""
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


def train_together(of: int, jobs: dict[str, TrainingJob], prepared: Path, out: Path) -> list[dict[str, Any]]:
    """By rank: name -> what `train` returns."""
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


def test_parts_are_all_of_it_and_weigh_as_much_as_they_hold() -> None:
    for count, of in [(16, 2), (15, 2), (16, 3), (512, 7), (5, 5)]:
        ranks = [Rank(number, of) for number in range(of)]
        values = np.arange(count)
        parts = [values[rank.part(count)] for rank in ranks]

        assert np.concatenate(parts).tolist() == values.tolist()
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        weighted = [part.mean() * rank.weight(count) for part, rank in zip(parts, ranks, strict=True)]
        assert np.mean(weighted) == pytest.approx(values.mean())
    assert ALONE.weight(15) == 1.0


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
    adamw = {"recipe.optimizer": "adamw"}
    jobs = {
        "muon": make_job(epochs=3, changes=SAME),
        "adamw": make_job(epochs=3, changes={**SAME, **adamw}),
        "feedforward": make_job("feedforward", epochs=3, changes=SAME),
        "bf16": make_job(epochs=3, changes={**SAME, "recipe.precision": "bf16"}),
        "transfer": make_job(epochs=2, changes={**MOVED, **pretrained, **adamw, "recipe.lr": 1e-3}),
        "dropout": make_job(epochs=2, changes={**SAME, "models.cnn.dropout": 0.4}),
    }

    first, second = train_together(2, jobs, prepared.folder, tmp_path)

    for name, job in jobs.items():
        alone, _ = train(job, prepared)
        print(name, difference(first[name][0].weights, alone.weights))
        print(
            [
                (e.train_loss, a.train_loss, e.validation_loss, a.validation_loss, e.train_accuracy, a.train_accuracy)
                for e, a in zip(first[name][0].curve, alone.curve)
            ]
        )
        assert first[name][0].weights == second[name][0].weights
    assert 0
