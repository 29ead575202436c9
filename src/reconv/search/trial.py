"""One trial of the search: runs on a Ray worker, reports each epoch, goes on from its checkpoint when interrupted."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.files import AnyPath, write_bytes
from reconv.params import Params
from reconv.training.delivery import Delivery

NOTICED = "noticed"
"""Name of the result that lists what a trial noticed before its first epoch on this worker."""
KEPT = "kept"
"""Name of the result that says that an earlier worker trained the epoch, and may have died before it was reported."""


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a search have in common."""

    model: str
    params: Params
    delivery: Delivery
    state: AnyPath
    """Of their checkpoints; the workers and the driver all see it."""
    num_threads: int


def run_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """Train on the training split, judge on the validation split; `config` holds this trial's values.

    Which validation images it is right on after its last epoch is kept in a file: see `who_was_right`."""
    import torch
    from ray import tune

    from reconv.errors import TrainingError
    from reconv.search.space import SEARCH, from_tune, key_of
    from reconv.training.checkpoints import Checkpoints, curve, epoch_of
    from reconv.training.fit import fit
    from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

    torch.set_num_threads(settings.num_threads)
    params, key = settings.params, key_of(config)
    recipe, network = params.with_values(settings.model, from_tune(config))
    epochs, seed = params.search.max_epochs, params.search.seed + config[SEARCH]
    job = TrainingJob(settings.model, network, recipe, params.augment, epochs, seed)
    data = settings.delivery.open()
    checkpoints = Checkpoints(settings.state, key)
    noticed: list[str] = []

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if math.isfinite(result.train_loss):
            if result.epoch == epochs and result.right is not None:
                write_bytes(_right_file(settings.state, key), np.packbits(result.right).tobytes())
            checkpoints.save(result, save)
        tune.report({"epoch": result.epoch, NOTICED: noticed, **result.as_metrics()})

    def report_kept(resume_from: Path | None) -> None:
        last = epoch_of(resume_from) if resume_from else 0
        for row in curve(settings.state, key) if last else ():
            if row["epoch"] <= last:
                tune.report({KEPT: True, **row})

    # A training that diverged is reported with the accuracy that it has, and ended.
    with checkpoints.newest(noticed.append) as resume_from, suppress(TrainingError):
        report_kept(resume_from)
        fit(job, data.manifest, data.train, data.validation, on_epoch, resume_from)


def who_was_right(state: AnyPath, key: str, num_images: int) -> NDArray[np.bool_] | None:
    """(N,) over the validation images, of a trial that trained all its epochs; None of another."""
    path = _right_file(state, key)
    if not path.exists():
        return None
    return np.unpackbits(np.frombuffer(path.read_bytes(), np.uint8), count=num_images).astype(bool)


def _right_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.right"
