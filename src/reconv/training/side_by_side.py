"""Trainings side by side on Ray, each resumable. Called by the final training and by the study.

An interrupted stage goes on: `state` holds each training's last checkpoint, and the weights and curve of those that
are finished.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from reconv.data.arrays import PreparedData
from reconv.errors import ReconvError, TrainingError
from reconv.files import AnyPath, atomic, local_copy, read_json, write_bytes, write_json
from reconv.training.cluster import Session
from reconv.training.delivery import Delivery, deliver
from reconv.training.job import EpochResult, FitResult, SaveCheckpoint, TrainingJob
from reconv.training.observer import Observer


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    weights: AnyPath
    """A safetensors file."""
    arguments: dict[str, Any]
    """Of the classifier."""
    curve: list[dict[str, float]]
    """A row per epoch: `epoch` and the metrics by name."""
    device_seconds: float
    """Of one core or one GPU: trainings that share it side by side are charged their share."""
    began: float
    ended: float
    """Seconds since 1970; `began` is when all of its stage's did."""
    device: str
    precision: str


def train_side_by_side(
    jobs: Mapping[str, TrainingJob],
    data: PreparedData,
    state: AnyPath,
    session: Session,
    observer: Observer,
) -> dict[str, Trained]:
    """Train every job (key -> job) on the training images; what `state` holds already is not trained again.

    A key is a file name, and is what the observer knows the training by.

    Raises:
        TrainingError: a training diverged, or its worker died more often than Ray retries.
    """
    pending = {key: job for key, job in jobs.items() if not _done_file(state, key).exists()}
    observer.resumed(
        {key: {int(row["epoch"]): row for row in _curve(state, key)} for key in jobs}, jobs.keys() - pending.keys()
    )
    if pending:
        _train(pending, data, state, session, observer)
    done = {key: read_json(_done_file(state, key)) for key in jobs}
    return {key: Trained(weights=state / f"{key}.safetensors", **fields) for key, fields in done.items()}


def _train(
    jobs: Mapping[str, TrainingJob],
    data: PreparedData,
    state: AnyPath,
    session: Session,
    observer: Observer,
) -> None:
    import ray

    if isinstance(state, Path):
        state = state.resolve()  # workers have another working folder
    state.mkdir(parents=True, exist_ok=True)
    delivery = deliver(data, session)
    worker = ray.remote(_train_and_report).options(
        num_cpus=session.cpus_per_training, num_gpus=session.gpus_per_training
    )
    began = time.time()
    threads = session.threads_per_training
    running = {worker.remote(key, job, delivery, state, threads): key for key, job in jobs.items()}
    try:
        while running:
            (stream,), _ = ray.wait(list(running), num_returns=1)
            key = running[stream]
            try:
                message = ray.get(next(stream))
            except StopIteration:
                del running[stream]
                continue
            except ray.exceptions.RayError as error:
                raise TrainingError(f"the training {key} of {jobs[key].model} failed: {error}") from None
            if message is None:
                observer.started(key, key.replace("-", " "), {"seed": jobs[key].seed})
            elif isinstance(message, str):
                observer.finished(key, "diverged")
                raise TrainingError(message)
            elif isinstance(message, EpochResult):
                observer.epoch(key, message.epoch, message.as_metrics())
            else:
                _keep(state, key, message, began, session.cpus_per_training)
                observer.finished(key, "finished")
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _keep(state: AnyPath, key: str, result: FitResult, began: float, cpus: float) -> None:
    """Write what the driver got of a finished training; the .json last, which marks it as done."""
    write_bytes(state / f"{key}.safetensors", result.weights)
    curve = _curve(state, key)
    on_gpu = result.device != "cpu"
    write_json(
        _done_file(state, key),
        {
            "arguments": result.arguments,
            "curve": curve,
            "device_seconds": sum(row["speed/epoch_seconds"] for row in curve) * (1.0 if on_gpu else cpus),
            "began": began,
            "ended": time.time(),
            "device": result.device,
            "precision": result.precision,
        },
    )


def _train_and_report(
    key: str, job: TrainingJob, delivery: Delivery, state: AnyPath, num_threads: int
) -> Iterator[EpochResult | FitResult | str | None]:
    """Runs on a worker. Yields None when it starts, each epoch as it ends, at last the result; a mistake of the user's
    as its message."""
    import torch

    from reconv.training.fit import fit

    torch.set_num_threads(num_threads)
    data = delivery.open()
    train, validation = data.train.share(job.train_share), data.validation if job.validates else None
    checkpoint = state / f"{key}.ckpt"
    messages: SimpleQueue[EpochResult | FitResult | str | BaseException | None] = SimpleQueue()

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if math.isfinite(result.train_loss):
            # The curve goes first: where a checkpoint is, every epoch before it stands in the curve.
            row = {"epoch": result.epoch, **result.as_metrics()}
            write_json(_curve_file(state, key), [*(r for r in _curve(state, key) if r["epoch"] < result.epoch), row])
            with atomic(checkpoint) as temporary:
                save(temporary)
        messages.put(result)

    def run() -> None:
        try:
            with local_copy(checkpoint) if checkpoint.exists() else nullcontext() as resume_from:
                messages.put(fit(job, data.manifest, train, validation, on_epoch, resume_from))
        except ReconvError as error:
            messages.put(str(error))
        except BaseException as error:
            messages.put(error)

    yield None
    Thread(target=run, daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if not isinstance(message, EpochResult):
            return


def _done_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.json"


def _curve_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.curve.json"


def _curve(state: AnyPath, key: str) -> list[dict[str, float]]:
    path = _curve_file(state, key)
    return read_json(path) if path.exists() else []
