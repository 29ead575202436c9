"""What happens to a classifier in an epoch: steps of the optimizer, sums of loss and hits. `fit` puts a Trainer around.

B batch, H height, W width, C channels, K classes.
"""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from reconv.data.batches import Batch, TrainingBatches
from reconv.data.ranks import Rank
from reconv.models.classifier import ImageClassifier
from reconv.models.transfer import freeze_all_but_classes
from reconv.params import TransferParams
from reconv.training.job import TrainingJob
from reconv.training.optimizers import new_optimizers
from reconv.training.precision import LightningPrecision
from reconv.training.ranks import averaging_gradients, sum_over_ranks


class ClassifierTraining(pl.LightningModule):
    """Cross-entropy, the recipe's optimizers and a one-cycle schedule around any classifier.

    An epoch is one `training_step`: Lightning's own work around a batch takes 1.3 ms, a tenth of a step on two cores.
    """

    def __init__(
        self,
        job: TrainingJob,
        classifier: ImageClassifier,
        precision: LightningPrecision,
        steps_per_epoch: int,
        rank: Rank,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.job = job
        self.classifier = classifier
        self.rank = rank
        self.loss = nn.CrossEntropyLoss(label_smoothing=job.recipe.label_smoothing)
        self.sums = {"train": Sums(), "validation": Sums()}
        self.right: list[Tensor] = []
        """Who of each batch of validation images is right."""
        self._in_bf16 = precision == "bf16-mixed"
        self._num_steps = steps_per_epoch * job.epochs

    def training_step(self, batches: TrainingBatches, _: int) -> None:
        optimizers = _as_list(self.optimizers(use_pl_optimizer=False))
        schedules = _as_list(self.lr_schedulers())
        if isinstance(self.job.network, TransferParams):
            is_frozen = self.current_epoch < self.job.network.frozen_epochs(self.job.epochs)
            freeze_all_but_classes(self.classifier.network, is_frozen)
        classifier = averaging_gradients(self.classifier, self.rank)
        for images_BHWC, labels_B in batches:
            with self._autocast():
                logits_BK = classifier(images_BHWC)
                loss = self.loss(logits_BK, labels_B)
            for optimizer in optimizers:
                optimizer.zero_grad()
            (loss * batches.weight).backward()
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            self.sums["train"].add(loss, logits_BK, labels_B)

    def validation_step(self, batch: Batch, _: int) -> None:
        images_BHWC, labels_B = batch
        with self._autocast():
            logits_BK = self.classifier(images_BHWC)
        self.right.append(logits_BK.argmax(1) == labels_B)
        self.sums["validation"].add(nn.functional.cross_entropy(logits_BK, labels_B), logits_BK, labels_B)

    def on_train_epoch_start(self) -> None:
        # Dropout draws from the global generator, which a checkpoint does not hold.
        torch.manual_seed(self.job.seed * 1_000_003 + self.current_epoch + 1 + (self.rank.number << 40))
        self.right.clear()
        for sums in self.sums.values():
            sums.reset()

    def configure_optimizers(self) -> Any:
        recipe = self.job.recipe
        steps = max(3, self._num_steps)
        warmup = max(recipe.warmup, 1.5 / steps)  # the schedule divides by warmup * steps - 1
        optimizers = new_optimizers(self.classifier.network, recipe)
        schedules = [
            torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, steps, pct_start=warmup)
            for optimizer in optimizers
        ]
        return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]

    def gather_sums(self) -> None:
        """Let the sums of an epoch be those over all ranks."""
        if self.rank.of > 1:
            for sums in self.sums.values():
                sums.gather(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16)


def _as_list(one_or_more: Any) -> list[Any]:
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


class Sums:
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

    def gather(self, device: torch.device) -> None:
        """Add those of the other ranks; `device` is where the training's tensors are."""
        own = torch.tensor([self._loss, self._hits, self.num_images], dtype=torch.float64, device=device)
        self._loss, self._hits, num_images = sum_over_ranks(own)
        self.num_images = int(num_images)

    def means(self) -> tuple[float, float] | None:
        """Loss and accuracy; None if there were no images."""
        if not self.num_images:
            return None
        return float(self._loss) / self.num_images, float(self._hits) / self.num_images
