"""The final training: one model over several seeds. Called by the stage `train`.

The validation images are not trained on: they show each epoch's progress, and `evaluate` fits the temperature to them.
"""

import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from reconv.artifacts import Conditions, Manifest, TrainingCost
from reconv.data.arrays import PreparedData
from reconv.files import AnyPath, write_bytes, write_csv, write_json
from reconv.training.cluster import Session
from reconv.training.energy import metered
from reconv.training.job import TrainingJob
from reconv.training.observer import Observer
from reconv.training.side_by_side import Trained, train_side_by_side

TrainedSeeds = dict[int, Trained]


def train_seeds(
    jobs: list[TrainingJob],
    data: PreparedData,
    state: AnyPath,
    session: Session,
    observer: Observer,
) -> tuple[TrainedSeeds, TrainingCost]:
    """Train every job, of which each has a seed of its own, by as many workers as the session says; see
    `train_side_by_side`."""
    keys = {f"seed-{job.seed}": job for job in jobs}
    with metered(state, session.is_local) as meter:
        done = train_side_by_side(keys, data, state, session, observer, session.workers)
    trained = {job.seed: done[key] for key, job in keys.items()}
    any_one = done[next(iter(keys))]
    cost = TrainingCost(
        device_seconds=tuple(one.device_seconds for one in trained.values()),
        energy=meter.energy,
        wall_seconds=max(one.ended for one in trained.values()) - min(one.began for one in trained.values()),
        images_per_second=statistics.median(
            row["speed/images_per_second"] for one in trained.values() for row in one.curve
        ),
        device=any_one.device,
        precision=any_one.precision,
    )
    return trained, cost


def conditions_of(jobs: list[TrainingJob], manifest: Manifest, trained: TrainedSeeds, cost: TrainingCost) -> Conditions:
    """What `jobs`, which differ in their seeds and in what the searches chose, were given."""
    any_one = trained[jobs[0].seed]
    return Conditions(
        data_digest=manifest.digest,
        num_images=manifest.counts["train"],
        epochs=jobs[0].epochs,
        seeds=tuple(job.seed for job in jobs),
        augment=jobs[0].augment.model_dump(mode="json"),
        recipe=jobs[0].recipe.model_dump(mode="json"),
        network=jobs[0].network.model_dump(mode="json"),
        weights_sha256=any_one.arguments.get("weights_sha256"),
        searched=tuple(jobs[0].values),
        by_seed=_by_seed(jobs),
        precision=cost.precision,
        device=cost.device,
    )


def _by_seed(jobs: list[TrainingJob]) -> dict[str, tuple[Any, ...]]:
    values = {name: tuple(job.values[name] for job in jobs) for name in jobs[0].values}
    return {name: of_seeds for name, of_seeds in values.items() if any(one != of_seeds[0] for one in of_seeds)}


def write_trained(trained: TrainedSeeds, cost: TrainingCost, conditions: Conditions, out: Path) -> None:
    """results/train/MODEL: seed-K/weights.safetensors and model.json, curves.csv, cost.json, conditions.json."""
    for seed, one in trained.items():
        write_bytes(out / f"seed-{seed}" / "weights.safetensors", one.weights.read_bytes())
        write_json(out / f"seed-{seed}" / "model.json", one.arguments)
    rows = [{"seed": seed, **row} for seed, one in trained.items() for row in one.curve]
    write_csv(out / "curves.csv", pd.DataFrame(rows))
    cost.save(out / "cost.json")
    conditions.save(out / "conditions.json")
