"""A training on a Ray worker, which reports epochs and keeps a checkpoint to go on from. Called by side_by_side, and by
group for each rank.

`state` is a folder or a store that the worker and the driver both see.
"""

import math
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from reconv.data.ranks import ALONE, Rank
from reconv.errors import MemoryShortError, ReconvError
from reconv.files import AnyPath
from reconv.training.checkpoints import Checkpoints
from reconv.training.delivery import Delivery
from reconv.training.job import EpochResult, FitResult, SaveCheckpoint, TrainingJob


@dataclass(frozen=True)
class Begins:
    worker: str
    """Its machine and process."""


@dataclass(frozen=True)
class LostWorkers:
    """A group ended; Ray Train starts it again once there is room."""


@dataclass(frozen=True)
class Noticed:
    what: str


@dataclass(frozen=True)
class Refused:
    reason: str
    """What the user has to mend."""


Message = Begins | LostWorkers | Noticed | EpochResult | FitResult | Refused


def train_and_report(
    key: str, job: TrainingJob, delivery: Delivery, state: AnyPath, num_threads: int
) -> Iterator[Message]:
    """Yields Begins, what is Noticed, an EpochResult as each epoch ends, at last a FitResult or Refused.

    Raises:
        MemoryShortError: it did not fit into memory, which is not for its user to mend before it was tried alone.
    """
    messages: SimpleQueue[Message | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            train(key, job, delivery, state, num_threads, messages.put)
        except BaseException as error:
            messages.put(error)

    yield Begins(this_process())
    Thread(target=run, daemon=True).start()
    yield from until_the_last(messages.get)


def until_the_last(get: Callable[[], Message | BaseException]) -> Iterator[Message]:
    """What `get` gets, to the end of a training; an exception is raised."""
    while True:
        message = get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if isinstance(message, FitResult | Refused):
            return


def train(
    key: str,
    job: TrainingJob,
    delivery: Delivery,
    state: AnyPath,
    num_threads: int,
    report: Callable[[Message], None],
    rank: Rank = ALONE,
) -> None:
    """Train, from the checkpoint if there is one. Of several ranks all read it; the first alone reports and saves."""
    import torch

    from reconv.training.fit import fit

    torch.set_num_threads(num_threads)
    data = delivery.open()
    images, validation = data.train.share(job.train_share), data.validation if job.validates else None
    checkpoints = Checkpoints(state, key)

    def notice(what: str) -> None:
        if rank.is_first:
            report(Noticed(what))

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if not rank.is_first:
            return
        if math.isfinite(result.train_loss):
            checkpoints.save(result, save)
        report(result)

    end: Message
    try:
        with checkpoints.newest(notice) as resume_from:
            end = fit(job, data.manifest, images, validation, on_epoch, resume_from, rank)
    except MemoryShortError:
        raise
    except ReconvError as error:
        end = Refused(str(error))
    if rank.is_first:
        report(end)


def this_process() -> str:
    """For people: where a training runs."""
    return f"{socket.gethostname()}, process {os.getpid()}"
