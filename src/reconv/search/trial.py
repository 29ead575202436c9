"""One trial of the search: runs on a Ray worker, reports each epoch, goes on from its checkpoint when interrupted."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.files import AnyPath
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
    """Train on the training split, judge on the validation split; `config` holds this trial's values."""
    import torch
    from ray import tune

    from reconv.errors import TrainingError
    from reconv.search.space import from_tune, key_of
    from reconv.training.checkpoints import Checkpoints, curve, epoch_of
    from reconv.training.fit import fit
    from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

    torch.set_num_threads(settings.num_threads)
    params, key = settings.params, key_of(config)
    recipe, network = params.with_values(settings.model, from_tune(config))
    job = TrainingJob(settings.model, network, recipe, params.augment, params.search.max_epochs, params.search.seed)
    data = settings.delivery.open()
    checkpoints = Checkpoints(settings.state, key)
    noticed: list[str] = []

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        if math.isfinite(result.train_loss):
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
