"""The final training: one model over several seeds, side by side on Ray. Called by the stage `train`.

The validation images are not trained on: they show each epoch's progress, and `evaluate` fits the temperature to them.

An interrupted stage goes on: `state` holds each seed's last checkpoint and each finished seed's weights and curve.
"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pandas as pd

from reconv.artifacts import Conditions, Manifest, TrainingCost
from reconv.data.arrays import PreparedData
from reconv.errors import ReconvError, TrainingError
from reconv.files import atomic, read_json, write_bytes, write_csv, write_json
from reconv.params import ResourcesParams
from reconv.training.cluster import Session
from reconv.training.job import EpochResult, FitResult, SaveCheckpoint, TrainingJob
from reconv.training.observer import Observer


@dataclass(frozen=True)
class TrainedSeed:
    seed: int
    weights: Path
    """A safetensors file."""
    arguments: dict[str, Any]
    """Of the classifier."""
    curve: list[dict[str, float]]
    """A row per epoch: `epoch` and the metrics by name."""


def train_seeds(
    jobs: list[TrainingJob],
    data: PreparedData,
    state: Path,
    resources: ResourcesParams,
    session: Session,
    observer: Observer,
) -> tuple[list[TrainedSeed], TrainingCost]:
    """Train every job on the training images; what `state` holds already is not trained again.

    Raises:
        TrainingError: a training diverged, or its worker died more often than Ray retries.
    """
    pending = [job for job in jobs if not _done_file(state, job).exists()]
    observer.resumed(
        {_key(job): {int(row["epoch"]): row for row in _curve(state, job)} for job in jobs},
        {_key(job) for job in jobs if job not in pending},
    )
    if pending:
        _train_side_by_side(pending, data, state, resources.cpus_per_trial, session, observer)
    done = {job.seed: read_json(_done_file(state, job)) for job in jobs}
    trained = [
        TrainedSeed(job.seed, state / f"{_key(job)}.safetensors", done[job.seed]["arguments"], done[job.seed]["curve"])
        for job in jobs
    ]
    cost = TrainingCost(
        device_seconds=tuple(done[job.seed]["device_seconds"] for job in jobs),
        wall_seconds=max(done[job.seed]["ended"] for job in jobs) - min(done[job.seed]["began"] for job in jobs),
        images_per_second=statistics.median(row["speed/images_per_second"] for seed in trained for row in seed.curve),
        device=done[jobs[0].seed]["device"],
        precision=done[jobs[0].seed]["precision"],
    )
    return trained, cost


def conditions_of(
    jobs: list[TrainingJob], searched: dict[str, Any], manifest: Manifest, cost: TrainingCost
) -> Conditions:
    """What `jobs`, which differ in their seeds, were given; `searched` are the values that the search chose."""
    return Conditions(
        data_digest=manifest.digest,
        num_images=manifest.counts["train"],
        epochs=jobs[0].epochs,
        seeds=tuple(job.seed for job in jobs),
        augment=jobs[0].augment.model_dump(mode="json"),
        recipe=jobs[0].recipe.model_dump(mode="json"),
        network=jobs[0].network.model_dump(mode="json"),
        searched=tuple(searched),
        precision=cost.precision,
        device=cost.device,
    )


def write_trained(trained: list[TrainedSeed], cost: TrainingCost, conditions: Conditions, out: Path) -> None:
    """results/train/MODEL: seed-K/weights.safetensors and model.json, curves.csv, cost.json, conditions.json."""
    for one in trained:
        write_bytes(out / f"seed-{one.seed}" / "weights.safetensors", one.weights.read_bytes())
        write_json(out / f"seed-{one.seed}" / "model.json", one.arguments)
    write_csv(out / "curves.csv", pd.DataFrame([{"seed": one.seed, **row} for one in trained for row in one.curve]))
    cost.save(out / "cost.json")
    conditions.save(out / "conditions.json")


def _train_side_by_side(
    jobs: list[TrainingJob],
    data: PreparedData,
    state: Path,
    num_threads: int,
    session: Session,
    observer: Observer,
) -> None:
    import ray

    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    worker = ray.remote(_train_and_report).options(
        num_cpus=session.cpus_per_training, num_gpus=session.gpus_per_training
    )
    began = time.time()
    running = {}
    for job in jobs:
        checkpoint = state / f"{_key(job)}.ckpt"
        observer.started(_key(job), f"seed {job.seed}", {"seed": job.seed})
        running[worker.remote(job, data.folder, checkpoint, num_threads)] = job
    try:
        while running:
            (stream,), _ = ray.wait(list(running), num_returns=1)
            job = running[stream]
            try:
                message = ray.get(next(stream))
            except StopIteration:
                del running[stream]
                continue
            except ray.exceptions.RayError as error:
                raise TrainingError(f"the training of {job.model}, seed {job.seed}, failed: {error}") from None
            if isinstance(message, str):
                observer.finished(_key(job), "diverged")
                raise TrainingError(message)
            if isinstance(message, EpochResult):
                observer.epoch(_key(job), message.epoch, message.as_metrics())
            else:
                _keep(state, job, message, began, session.cpus_per_training)
                observer.finished(_key(job), "finished")
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _keep(state: Path, job: TrainingJob, result: FitResult, began: float, cpus: float) -> None:
    """Write what the driver got of a finished training; the .json last, which marks it as done."""
    write_bytes(state / f"{_key(job)}.safetensors", result.weights)
    curve = _curve(state, job)
    on_gpu = result.device != "cpu"
    write_json(
        _done_file(state, job),
        {
            "arguments": result.arguments,
            "curve": curve,
            # Of one core or one GPU: trainings that share it side by side are charged their share.
            "device_seconds": sum(row["speed/epoch_seconds"] for row in curve) * (1.0 if on_gpu else cpus),
            "began": began,
            "ended": time.time(),
            "device": result.device,
            "precision": result.precision,
        },
    )


def _train_and_report(
    job: TrainingJob, prepared: Path, checkpoint: Path, num_threads: int
) -> Iterator[EpochResult | FitResult | str]:
    """Runs on a worker. Yields each epoch as it ends, at last the result; a mistake of the user's as its message."""
    import torch

    from reconv.training.fit import fit

    torch.set_num_threads(num_threads)
    data = PreparedData(prepared)
    state = checkpoint.parent
    messages: SimpleQueue[EpochResult | FitResult | str | BaseException] = SimpleQueue()

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if math.isfinite(result.train_loss):
            # The curve goes first: where a checkpoint is, every epoch before it stands in the curve.
            row = {"epoch": result.epoch, **result.as_metrics()}
            write_json(_curve_file(state, job), [*(r for r in _curve(state, job) if r["epoch"] < result.epoch), row])
            with atomic(checkpoint) as temporary:
                save(temporary)
        messages.put(result)

    def run() -> None:
        try:
            resume_from = checkpoint if checkpoint.exists() else None
            messages.put(fit(job, data.manifest, data.train, data.validation, on_epoch, resume_from))
        except ReconvError as error:
            messages.put(str(error))
        except BaseException as error:
            messages.put(error)

    Thread(target=run, daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if not isinstance(message, EpochResult):
            return


def _key(job: TrainingJob) -> str:
    return f"seed-{job.seed}"


def _done_file(state: Path, job: TrainingJob) -> Path:
    return state / f"{_key(job)}.json"


def _curve_file(state: Path, job: TrainingJob) -> Path:
    return state / f"{_key(job)}.curve.json"


def _curve(state: Path, job: TrainingJob) -> list[dict[str, float]]:
    path = _curve_file(state, job)
    return read_json(path) if path.exists() else []
