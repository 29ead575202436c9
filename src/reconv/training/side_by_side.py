"""Trainings side by side on Ray, each resumable. Called by the final training and by the study.

An interrupted stage goes on: `state` holds each training's last checkpoint, and the weights and curve of those that
are finished. A training whose worker or machine is lost goes on elsewhere; Ray's own retry of a task would drop what it
reports the second time, as many messages as it had sent before. One that runs out of memory goes on alone: on a GPU or
a node that it shares with nothing.
"""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.data.arrays import PreparedData
from reconv.errors import MemoryShortError, TrainingError
from reconv.files import REFUSED_BY_DISK, AnyPath, read_json, write_bytes, write_json
from reconv.training.checkpoints import curve
from reconv.training.cluster import Session
from reconv.training.delivery import deliver
from reconv.training.group import Group, train_in_group
from reconv.training.job import EpochResult, FitResult, TrainingJob
from reconv.training.observer import Observer
from reconv.training.room import LOOK_SECONDS, WaitForRoom, in_words
from reconv.training.sharing import with_shared_gpus
from reconv.training.shortage import Shortage, Shortages, as_task_options, what_follows
from reconv.training.worker import Begins, LostWorkers, Message, Noticed, Refused, train_and_report

_MAX_LOST_WORKERS = 5  # of one training: what kills more of them is the training itself


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
    workers: tuple[int, int] = (1, 1),
) -> dict[str, Trained]:
    """Train every job (key -> job) on the training images; what `state` holds already is not trained again.

    A key is a file name, and is what the observer knows the training by. Each is trained by at least the first number
    of `workers` and at most the second.

    Raises:
        TrainingError: a training diverged, does not fit into memory, or its workers die again and again; this machine
            has no room for that many.
        UnavailableError: the cluster has had no room for too long.
    """
    pending = {key: job for key, job in jobs.items() if not _done_file(state, key).exists()}
    history = {key: {int(row["epoch"]): row for row in curve(state, key)} for key in jobs}
    observer.resumed(history, jobs.keys() - pending.keys())
    if pending:
        if isinstance(state, Path):
            state = state.resolve()  # workers have another working folder
        state.mkdir(parents=True, exist_ok=True)
        reported = {key: max(epochs, default=0) for key, epochs in history.items()}
        _Trainings(pending, data, state, session, observer, _group(session, workers), reported).run()
    done = {key: read_json(_done_file(state, key)) for key in jobs}
    return {key: Trained(weights=state / f"{key}.safetensors", **fields) for key, fields in done.items()}


class _Trainings:
    """Those that run, each as a stream of messages."""

    def __init__(
        self,
        jobs: Mapping[str, TrainingJob],
        data: PreparedData,
        state: AnyPath,
        session: Session,
        observer: Observer,
        group: Group | None,
        reported: dict[str, int],
    ) -> None:
        self._jobs = jobs
        self._group = group
        self._delivery = deliver(data, session)
        self._state = state
        self._session = session
        if group is None:  # whose workers have a whole GPU each
            self._session = with_shared_gpus(session, jobs.values(), len(jobs), self._delivery, observer)
        self._observer = observer
        self._began = time.time()
        self._running: dict[Any, str] = {}  # stream -> key
        self._beginning: dict[str, str] = {}  # key -> worker that has reported no epoch yet
        self._begun: set[str] = set()  # those of the running whose workers have room
        self._finished: set[str] = set()
        self._reported = reported  # key -> last epoch that the observer knows
        self._started: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._shortages = Shortages(self._session)
        needs = str(group) if group else f"{in_words(self._session.needs)} for a training"
        self._room = WaitForRoom(needs, self._session.is_local, observer.note)
        self._alone: dict[str, dict[str, float]] = {}  # key of one that ran out of memory -> what it asks for since

    def run(self) -> None:
        """Until all of them are finished."""
        import ray

        waiting = deque(self._jobs)
        at_once = self._group.at_once(self._session) if self._group else len(waiting)
        try:
            while self._running or waiting:
                while waiting and len(self._running) < at_once:
                    self._start(waiting.popleft())
                ready, _ = ray.wait(list(self._running), num_returns=1, timeout=LOOK_SECONDS)
                self._room.look(some_wait=len(self._begun) < len(self._running), some_run=bool(self._begun))
                for stream in ready:
                    self._follow(stream)
        finally:
            for stream in self._running:
                ray.cancel(stream, force=True)

    def _follow(self, stream: Any) -> None:
        import ray

        key = self._running[stream]
        try:
            self._take(key, ray.get(next(stream)))
        except StopIteration:
            self._forget(stream)
        except ray.exceptions.RayError as error:
            self._forget(stream)
            if key not in self._finished:
                self._answer(key, error)

    def _forget(self, stream: Any) -> None:
        self._begun.discard(self._running.pop(stream))

    def _start(self, key: str) -> None:
        import ray

        given = (key, self._jobs[key], self._delivery, self._state)
        if self._group:
            stream = ray.remote(num_cpus=0, max_retries=0)(train_in_group).remote(
                *given, self._group, _MAX_LOST_WORKERS
            )
        else:
            # Not as options of a remote function: only so does Ray end the worker, and what it holds of a GPU, with it.
            needs = as_task_options(self._alone.get(key, self._session.needs))
            worker = ray.remote(max_retries=0, **needs)(train_and_report)
            stream = worker.remote(*given, self._session.threads_per_training)
        self._running[stream] = key

    def _answer(self, key: str, error: Any) -> None:
        """What Ray says of a training that it lost: start it again, or raise."""
        import ray

        cause = getattr(error, "cause", None)
        if isinstance(cause, OSError) and cause.errno in REFUSED_BY_DISK:
            raise cause from None
        # A group's workers have a whole GPU each: there is no more to give them.
        if not self._group and (shortage := self._shortages.told_by(str(error))):
            self._go_on_alone(key, shortage)
        elif isinstance(error, ray.exceptions.RayTaskError):
            raise TrainingError(f"{self._described(key)} failed: {error}") from None
        else:
            self._go_on_elsewhere(key, error)

    def _go_on_elsewhere(self, key: str, error: Exception) -> None:
        self._lost[key] += 1
        if self._lost[key] > _MAX_LOST_WORKERS:
            raise TrainingError(f"{self._described(key)} lost {self._lost[key]} workers, the last with: {error}")
        self._start(key)

    def _go_on_alone(self, key: str, shortage: Shortage) -> None:
        is_first = key not in self._alone
        follows = what_follows(shortage.place, is_first)
        if key not in self._started:  # killed before it could say so
            self._tell_start(key)
        self._observer.noticed(key, follows)
        if not is_first:
            self._observer.finished(key, "failed")
            raise TrainingError(f"{self._described(key)} {follows}: {MemoryShortError.remedy}")
        self._alone[key] = shortage.needs_alone
        self._start(key)

    def _tell_start(self, key: str) -> None:
        self._started.add(key)
        job = self._jobs[key]
        self._observer.started(key, key.replace("-", " "), {"seed": job.seed, **job.values})

    @property
    def _devices_of_a_worker(self) -> float:
        """GPUs or, where there are none, cores."""
        if self._group:
            return 1.0 if self._group.has_gpus else self._group.num_cpus
        return self._session.gpus_per_training or self._session.cpus_per_training

    def _described(self, key: str) -> str:
        return f"the training {key} of {self._jobs[key].model}"

    def _take(self, key: str, message: Message) -> None:
        observer = self._observer
        match message:
            case Begins(worker):
                self._beginning[key] = worker
                self._begun.add(key)
                self._tell_start(key)
            case LostWorkers():
                self._begun.discard(key)
            case Noticed(what):
                observer.noticed(key, what)
            case EpochResult():
                if key in self._beginning:
                    self._catch_up(key, before=message.epoch)
                    observer.begins(key, message.epoch - 1, self._beginning.pop(key))
                observer.epoch(key, message.epoch, message.as_metrics())
                self._reported[key] = message.epoch
            case Refused(reason):
                observer.finished(key, "diverged")
                raise TrainingError(reason)
            case FitResult():
                self._catch_up(key, before=self._jobs[key].epochs + 1)
                _keep(self._state, key, message, self._began, self._devices_of_a_worker)
                self._finished.add(key)
                observer.finished(key, "finished")

    def _catch_up(self, key: str, before: int) -> None:
        """Report the epochs that a worker kept and died before it could report."""
        for row in curve(self._state, key):
            if self._reported[key] < row["epoch"] < before:
                self._reported[key] = int(row["epoch"])
                self._observer.epoch(key, int(row["epoch"]), {name: row[name] for name in row if name != "epoch"})


def _keep(state: AnyPath, key: str, result: FitResult, began: float, devices: float) -> None:
    """Write what the driver got of a finished training, whose workers had so many `devices` each; the .json last, which
    marks it as done."""
    write_bytes(state / f"{key}.safetensors", result.weights)
    rows = curve(state, key)
    worker_seconds = sum(row["speed/epoch_seconds"] * row.get("speed/workers", 1) for row in rows)
    write_json(
        _done_file(state, key),
        {
            "arguments": result.arguments,
            "curve": rows,
            "device_seconds": worker_seconds * devices,
            "began": began,
            "ended": time.time(),
            "device": result.device,
            "precision": result.precision,
        },
    )


def _group(session: Session, workers: tuple[int, int]) -> Group | None:
    """None where each training has one worker, which needs no group; starting one takes some ten seconds."""
    fewest, most = workers
    if most == 1:
        return None
    group = Group(fewest, most, session.threads_per_training, has_gpus=session.gpus_per_training > 0)
    room = group.room(session)
    if session.is_local and room < fewest:  # a cluster may grow
        raise TrainingError(
            f"resources.train.workers is {fewest}, this machine has room for {room}: lower it in params.yaml, or "
            "resources.cpus_per_trial."
        )
    return group


def _done_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.json"
