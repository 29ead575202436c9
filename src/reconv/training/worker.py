"""A training on a Ray worker, which reports epochs and keeps a checkpoint to go on from. Called by side_by_side.

`state` is a folder or a store that the worker and the driver both see.
"""

import math
import os
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from reconv.errors import MemoryShortError, ReconvError
from reconv.files import AnyPath, atomic, local_copy, read_json, write_json
from reconv.training.delivery import Delivery
from reconv.training.job import EpochResult, FitResult, SaveCheckpoint, TrainingJob


@dataclass(frozen=True)
class Begins:
    worker: str
    """Its machine and process."""


@dataclass(frozen=True)
class Refused:
    reason: str
    """What the user has to mend."""


Message = Begins | EpochResult | FitResult | Refused


def train_and_report(
    key: str, job: TrainingJob, delivery: Delivery, state: AnyPath, num_threads: int
) -> Iterator[Message]:
    """Yields Begins, an EpochResult as each epoch ends, at last a FitResult or Refused.

    Raises:
        MemoryShortError: it did not fit into memory, which is not for its user to mend before it was tried alone.
    """
    import torch

    from reconv.training.fit import fit

    torch.set_num_threads(num_threads)
    data = delivery.open()
    train, validation = data.train.share(job.train_share), data.validation if job.validates else None
    checkpoint = state / f"{key}.ckpt"
    messages: SimpleQueue[Message | BaseException] = SimpleQueue()

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if math.isfinite(result.train_loss):
            # The curve goes first: where a checkpoint is, every epoch before it stands in the curve.
            row = {"epoch": result.epoch, **result.as_metrics()}
            write_json(_curve_file(state, key), [*(r for r in curve(state, key) if r["epoch"] < result.epoch), row])
            with atomic(checkpoint) as temporary:
                save(temporary)
        messages.put(result)

    def run() -> None:
        try:
            with local_copy(checkpoint) if checkpoint.exists() else nullcontext() as resume_from:
                messages.put(fit(job, data.manifest, train, validation, on_epoch, resume_from))
        except MemoryShortError as error:
            messages.put(error)
        except ReconvError as error:
            messages.put(Refused(str(error)))
        except BaseException as error:
            messages.put(error)

    yield Begins(f"{socket.gethostname()}, process {os.getpid()}")
    Thread(target=run, daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if not isinstance(message, EpochResult):
            return


def curve(state: AnyPath, key: str) -> list[dict[str, float]]:
    """A row per epoch that was reported: `epoch` and the metrics by name."""
    path = _curve_file(state, key)
    return read_json(path) if path.exists() else []


def _curve_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.curve.json"
