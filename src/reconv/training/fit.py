"""fit(): the only place that builds a Trainer. Local training, the final training's workers and the search's trials all
call it. Needs torch and Lightning, neither Ray nor MLflow nor DVC.

B batch, H height, W width, C channels, K classes.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from reconv.artifacts import Manifest
from reconv.data.arrays import Split
from reconv.data.batches import EvaluationBatches, Resident, TrainingBatches
from reconv.data.ranks import ALONE, Rank
from reconv.errors import TrainingError
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.models.whitening import num_images_to_whiten
from reconv.training.job import EpochResult, FitResult, OnEpoch, TrainingJob
from reconv.training.memory import names_shortage_of_memory
from reconv.training.precision import best_device, resolve_precision
from reconv.training.ranks import normalise_over_ranks
from reconv.training.steps import ClassifierTraining

_EVALUATION_BATCH_SIZE = 500
# A set of a thousand images is not learned in the two steps an epoch that large batches would leave it.
_MIN_STEPS, _MIN_BATCH_SIZE = 32, 16


@names_shortage_of_memory()
def fit(
    job: TrainingJob,
    manifest: Manifest,
    train: Split,
    validation: Split | None,
    on_epoch: OnEpoch,
    resume_from: Path | None = None,
    rank: Rank = ALONE,
    max_steps: int | None = None,
) -> FitResult:
    """Train a new classifier for `job.epochs` epochs on this process's device.

    Each process of torch's process group, where there is one, calls it with its own `rank` and all else alike. Together
    they see the batches that one process sees, and return the same weights.

    `on_epoch` is called after each epoch, and may save a checkpoint that a later call continues from; that call ends
    with the same weights as an uninterrupted one, since every random number is drawn from (seed, epoch).
    `max_steps` ends every epoch early: to see what a training takes.

    Raises:
        TrainingError: the loss is no longer finite, `on_epoch` has seen that epoch; a batch has too few images for all
            ranks.
        MemoryShortError: the machine, or (DeviceMemoryShortError) the GPU, has too little memory left.
    """
    device = best_device()
    torch.manual_seed(job.seed)
    precision = resolve_precision(job.recipe.precision, device)
    flips = job.recipe.test_time_flip and job.augment.flip
    classifier = new_classifier(job.model, job.network, manifest, flips, job.pixel_order)
    data = _DeviceData(job, train, validation, device, classifier.input_shape, rank, max_steps)
    every = -(-len(train) // num_images_to_whiten(*train.images.shape[1:3]))
    classifier.start_from(torch.from_numpy(train.images[::every]))
    if rank.of > 1:
        normalise_over_ranks(classifier.network, device)
    training = ClassifierTraining(job, classifier, precision, data.steps_per_epoch, rank)
    curve: list[EpochResult] = []
    trainer = pl.Trainer(
        max_epochs=job.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index] if device.type == "cuda" else 1,
        callbacks=[_EpochReport(curve, on_epoch)],
        limit_val_batches=None if validation is not None else 0,
        # An epoch's batches are drawn from (seed, epoch), so each has its own loader; to Lightning it is one step.
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, datamodule=data, ckpt_path=str(resume_from) if resume_from else None, weights_only=True)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in training.parameters()):
        raise _diverged(job, f"weights are no longer finite after epoch {job.epochs}")
    return FitResult(
        weights=weights_as_bytes(training.classifier),
        arguments=training.classifier.arguments,
        curve=tuple(curve),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=precision,
    )


class _DeviceData(pl.LightningDataModule):
    def __init__(
        self,
        job: TrainingJob,
        train: Split,
        validation: Split | None,
        device: torch.device,
        seen: tuple[int, int, int],
        rank: Rank,
        max_steps: int | None,
    ) -> None:
        super().__init__()
        self._max_steps = max_steps
        self._job = job
        self._seen = seen
        self._rank = rank
        self._train = Resident(train, device)
        self._validation = None
        if validation is not None:
            part = rank.part(len(validation))
            self._validation = Resident(validation.between(part.start, part.stop), device)
        if (count := self._batches(epoch=0).batch_size) < rank.of:
            raise TrainingError(
                f"{rank.of} workers cannot share a batch of {count} images: lower resources.train.workers in "
                "params.yaml."
            )

    @property
    def steps_per_epoch(self) -> int:
        return len(self._batches(epoch=0))

    def train_dataloader(self) -> "_Once":
        assert self.trainer is not None
        return _Once(self._batches(self.trainer.current_epoch))

    def _batches(self, epoch: int) -> TrainingBatches:
        job = self._job
        enough_steps = max(len(self._train) // _MIN_STEPS, _MIN_BATCH_SIZE)
        batch_size = min(job.recipe.batch_size, enough_steps)
        return TrainingBatches(self._train, batch_size, job.augment, job.seed, epoch, self._rank, self._max_steps)

    def val_dataloader(self) -> EvaluationBatches | list[Any]:
        if self._validation is None:
            return []
        return EvaluationBatches(self._validation, _EVALUATION_BATCH_SIZE, self._seen)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        return batch  # made on the device


class _Once:
    """A loader whose only batch is `item`."""

    def __init__(self, item: TrainingBatches) -> None:
        self._item = item

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[TrainingBatches]:
        yield self._item


class _EpochReport(pl.Callback):
    def __init__(self, curve: list[EpochResult], on_epoch: OnEpoch) -> None:
        self._curve = curve
        self._on_epoch = on_epoch
        self._started = self._trained = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()
        self._trained = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ClassifierTraining)
        pl_module.gather_sums()
        train = pl_module.sums["train"].means()
        validation = pl_module.sums["validation"].means()
        assert train is not None
        seconds = time.perf_counter() - self._started
        result = EpochResult(
            epoch=trainer.current_epoch + 1,
            train_loss=train[0],
            train_accuracy=train[1],
            validation_loss=validation[0] if validation else None,
            validation_accuracy=validation[1] if validation else None,
            images_per_second=pl_module.sums["train"].num_images / (self._trained or seconds),
            seconds=seconds,
            workers=pl_module.rank.of,
            right=torch.cat(pl_module.right).cpu().numpy() if pl_module.right and pl_module.rank.of == 1 else None,
        )
        self._curve.append(result)
        self._on_epoch(result, trainer.save_checkpoint)
        if not torch.isfinite(torch.tensor(result.train_loss)):
            raise _diverged(pl_module.job, f"loss is {result.train_loss} after epoch {result.epoch}")


def _diverged(job: TrainingJob, what: str) -> TrainingError:
    return TrainingError(
        f"the {job.model}'s {what}: recipe.lr ({job.recipe.lr:g}) is too high for it, lower it in params.yaml."
    )
