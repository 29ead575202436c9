"""One trial of the search: runs on a Ray worker, reports each epoch, goes on from its checkpoint when interrupted."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reconv.params import Params
from reconv.training.delivery import Delivery

CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a search have in common."""

    model: str
    params: Params
    delivery: Delivery
    num_threads: int


def run_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """Train on the training split, judge on the validation split; `config` holds this trial's values."""
    import torch
    from ray import tune

    from reconv.errors import TrainingError
    from reconv.search.space import from_tune
    from reconv.training.fit import fit
    from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

    torch.set_num_threads(settings.num_threads)
    params = settings.params
    recipe, network = params.with_values(settings.model, from_tune(config))
    job = TrainingJob(settings.model, network, recipe, params.augment, params.search.max_epochs, params.search.seed)
    data = settings.delivery.open()

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        with TemporaryDirectory(prefix="reconv-trial-") as folder:
            save(Path(folder) / CHECKPOINT)
            tune.report(
                {"epoch": result.epoch, **result.as_metrics()}, checkpoint=tune.Checkpoint.from_directory(folder)
            )

    def train(resume_from: Path | None) -> None:
        with suppress(TrainingError):  # diverged: reported with the accuracy that it has, and ended
            fit(job, data.manifest, data.train, data.validation, on_epoch, resume_from)

    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        train(None)
    else:
        with checkpoint.as_directory() as folder:
            train(Path(folder) / CHECKPOINT)
