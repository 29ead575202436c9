"""fit(): the only place that builds a Trainer. Local training, the final training's workers and the search's trials all
call it. Needs torch and Lightning, neither Ray nor MLflow nor DVC.

B batch, H height, W width, C channels, K classes.
"""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from reconv.artifacts import Manifest
from reconv.data.arrays import Split
from reconv.data.batches import Batch, EvaluationBatches, Resident, TrainingBatches
from reconv.errors import TrainingError
from reconv.models.classifier import ImageClassifier, new_classifier, weights_as_bytes
from reconv.training.job import EpochResult, FitResult, OnEpoch, TrainingJob
from reconv.training.precision import best_device, resolve_precision

_EVALUATION_BATCH_SIZE = 500


def fit(
    job: TrainingJob,
    manifest: Manifest,
    train: Split,
    validation: Split | None,
    on_epoch: OnEpoch,
    resume_from: Path | None = None,
) -> FitResult:
    """Train a new classifier for `job.epochs` epochs on this process's device.

    `on_epoch` is called after each epoch, and may save a checkpoint that a later call continues from; that call ends
    with the same weights as an uninterrupted one, since every random number is drawn from (seed, epoch).

    Raises:
        TrainingError: the loss is no longer finite. `on_epoch` has seen that epoch.
    """
    device = best_device()
    torch.manual_seed(job.seed)
    training = ClassifierTraining(job, new_classifier(job.model, job.network, manifest))
    curve: list[EpochResult] = []
    precision = resolve_precision(job.recipe.precision, device)
    trainer = pl.Trainer(
        max_epochs=job.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        callbacks=[_EpochReport(curve, on_epoch)],
        limit_val_batches=None if validation is not None else 0,
        # The batches of an epoch are drawn from (seed, epoch), so each epoch has its own loader.
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = _DeviceData(job, train, validation, device)
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


class ClassifierTraining(pl.LightningModule):
    """Cross-entropy, AdamW and a one-cycle schedule around any classifier."""

    def __init__(self, job: TrainingJob, classifier: ImageClassifier) -> None:
        super().__init__()
        self.job = job
        self.classifier = classifier
        self.loss = nn.CrossEntropyLoss(label_smoothing=job.recipe.label_smoothing)
        self.sums = {"train": _Sums(), "validation": _Sums()}

    def training_step(self, batch: Batch, _: int) -> Tensor:
        images_BHWC, labels_B = batch
        logits_BK = self.classifier(images_BHWC)
        loss: Tensor = self.loss(logits_BK, labels_B)
        self.sums["train"].add(loss, logits_BK, labels_B)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        images_BHWC, labels_B = batch
        logits_BK = self.classifier(images_BHWC)
        self.sums["validation"].add(nn.functional.cross_entropy(logits_BK, labels_B), logits_BK, labels_B)

    def on_train_epoch_start(self) -> None:
        # Dropout draws from the global generator, which a checkpoint does not hold.
        torch.manual_seed(self.job.seed * 1_000_003 + self.current_epoch + 1)
        for sums in self.sums.values():
            sums.reset()

    def configure_optimizers(self) -> Any:
        recipe = self.job.recipe
        matrices = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in self.parameters() if parameter.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=recipe.lr,
            fused=True,
        )
        steps = max(3, int(self.trainer.estimated_stepping_batches))
        warmup = max(recipe.warmup, 1.5 / steps)  # the schedule divides by warmup * steps - 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, steps, pct_start=warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Sums:
    """Loss and hits over the images of an epoch, kept on the device: reading them once an epoch is the only wait."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._loss: Tensor | float = 0.0
        self._hits: Tensor | float = 0.0
        self.num_images = 0

    def add(self, mean_loss: Tensor, logits_BK: Tensor, labels_B: Tensor) -> None:
        self._loss = self._loss + mean_loss.detach() * len(labels_B)
        self._hits = self._hits + (logits_BK.detach().argmax(1) == labels_B).sum()
        self.num_images += len(labels_B)

    def means(self) -> tuple[float, float] | None:
        """Loss and accuracy; None if there were no images."""
        if not self.num_images:
            return None
        return float(self._loss) / self.num_images, float(self._hits) / self.num_images


class _DeviceData(pl.LightningDataModule):
    def __init__(self, job: TrainingJob, train: Split, validation: Split | None, device: torch.device) -> None:
        super().__init__()
        self._job = job
        self._train = Resident(train, device)
        self._validation = Resident(validation, device) if validation is not None else None

    def train_dataloader(self) -> TrainingBatches:
        assert self.trainer is not None
        job = self._job
        return TrainingBatches(self._train, job.recipe.batch_size, job.augment, job.seed, self.trainer.current_epoch)

    def val_dataloader(self) -> EvaluationBatches | list[Any]:
        return EvaluationBatches(self._validation, _EVALUATION_BATCH_SIZE) if self._validation is not None else []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        return batch  # made on the device


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
        )
        self._curve.append(result)
        self._on_epoch(result, trainer.save_checkpoint)
        if not torch.isfinite(torch.tensor(result.train_loss)):
            raise _diverged(pl_module.job, f"loss is {result.train_loss} after epoch {result.epoch}")


def _diverged(job: TrainingJob, what: str) -> TrainingError:
    return TrainingError(
        f"the {job.model}'s {what}: recipe.lr ({job.recipe.lr:g}) is too high for it, lower it in params.yaml."
    )
