"""One trial of the search: runs on a Ray worker, reports each epoch, goes on from its checkpoint when interrupted."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reconv.params import Params
from reconv.training.delivery import Delivery

NOTICED = "noticed"
"""Name of the result that lists what a trial noticed before its first epoch on this worker."""


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
    from reconv.training.checkpoints import save_by_digest
    from reconv.training.fit import fit
    from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

    torch.set_num_threads(settings.num_threads)
    params = settings.params
    recipe, network = params.with_values(settings.model, from_tune(config))
    job = TrainingJob(settings.model, network, recipe, params.augment, params.search.max_epochs, params.search.seed)
    data = settings.delivery.open()
    noticed: list[str] = []

    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        with TemporaryDirectory(prefix="reconv-trial-") as folder:
            save_by_digest(Path(folder), save)
            metrics = {"epoch": result.epoch, NOTICED: noticed, **result.as_metrics()}
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))

    # A training that diverged is reported with the accuracy that it has, and ended.
    with _newest_intact(tune.get_checkpoint(), noticed) as resume_from, suppress(TrainingError):
        fit(job, data.manifest, data.train, data.validation, on_epoch, resume_from)


@contextmanager
def _newest_intact(last: Any, noticed: list[str]) -> Iterator[Path | None]:
    """Yields a file of this machine: of the trial's last checkpoint or, if that is torn, of the one before; or None."""
    from reconv.training.checkpoints import is_intact, torn

    for checkpoint in _last_two(last) if last else []:
        with checkpoint.as_directory() as folder:
            for path in Path(folder).glob("*.ckpt"):
                if is_intact(path):
                    yield path
                    return
        noticed.append(torn(checkpoint.path))
    yield None


def _last_two(last: Any) -> list[Any]:
    """A trial's checkpoints checkpoint_NUMBER, as many as Ray Tune keeps."""
    from pyarrow.fs import FileSelector
    from ray import tune

    folder, name = Path(last.path).parent, Path(last.path).name
    there = [info.base_name for info in last.filesystem.get_file_info(FileSelector(str(folder)))]
    before = sorted(one for one in there if re.fullmatch(r"checkpoint_\d+", one) and one < name)
    return [last, *(tune.Checkpoint(folder / one, last.filesystem) for one in before[-1:])]
