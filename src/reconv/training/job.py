"""What a training is asked for and what it reports. Free of torch, so that drivers need not import it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.params import AugmentParams, NetworkParams, Params, RecipeParams


@dataclass(frozen=True)
class TrainingJob:
    """All that decides the outcome of a training, besides the images."""

    model: str
    network: NetworkParams
    recipe: RecipeParams
    augment: AugmentParams
    epochs: int
    seed: int
    train_share: float = 1.0
    """Of the training images of each class."""
    pixel_order: int | None = None
    """Seed of a fixed permutation of the pixels, the same for all images; None leaves them where they are."""
    validates: bool = True
    """Look at the validation images after each epoch; where an epoch is short, that takes longer than the epoch."""
    values: dict[str, Any] = field(default_factory=dict)
    """Those of `network` and `recipe` that a search chose."""


def jobs_for(model: str, params: Params, values_S: Sequence[dict[str, Any]]) -> list[TrainingJob]:
    """The final training of each seed, with the values that the seed's own search chose laid over params.yaml's."""
    return [_job(model, params, values, seed) for seed, values in enumerate(values_S)]


def _job(model: str, params: Params, values: dict[str, Any], seed: int) -> TrainingJob:
    recipe, network = params.with_values(model, values)
    return TrainingJob(model, network, recipe, params.augment, params.train.max_epochs, seed, values=values)


@dataclass(frozen=True)
class EpochResult:
    epoch: int
    """From 1."""
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    images_per_second: float
    """Of training, validation not counted."""
    seconds: float
    """Of training and validation."""
    workers: int = 1
    """That trained it together."""
    right: NDArray[np.bool_] | None = None
    """Who is right, (N,) over the validation images; None without any, or where workers had a part of them each."""

    def as_metrics(self) -> dict[str, float]:
        """The values that there are, under the names that they have everywhere."""
        values = {
            "train/loss": self.train_loss,
            "train/accuracy": self.train_accuracy,
            "validation/loss": self.validation_loss,
            "validation/accuracy": self.validation_accuracy,
            "speed/images_per_second": self.images_per_second,
            "speed/epoch_seconds": self.seconds,
            "speed/workers": self.workers if self.workers > 1 else None,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class FitResult:
    weights: bytes
    """safetensors."""
    arguments: dict[str, Any]
    """Of the classifier, for model.json."""
    curve: tuple[EpochResult, ...]
    """The epochs of this call; what an interrupted one had reported before is not repeated."""
    device: str
    precision: str


SaveCheckpoint = Callable[[Path], None]
OnEpoch = Callable[[EpochResult, SaveCheckpoint], None]
