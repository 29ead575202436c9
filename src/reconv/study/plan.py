"""Which trainings the study needs: the best values of both models, each changed in one way.

Called by the stage `study`. A training is named VARIANT-MODEL-SEED.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from reconv.artifacts import Manifest
from reconv.params import CnnParams, FeedforwardParams, NetworkParams, Params, StudyParams, TransferParams
from reconv.places import BASELINE, CNN
from reconv.training.job import TrainingJob

BASE, PERMUTED, UNTIED, POOLED, UNPOOLED, MATCHED = "base", "permuted", "untied", "pooled", "unpooled", "matched"
SCRATCH = "scratch"
_MAX_UNTIED_PARAMETERS = 100_000_000
_MIN_UNTIED_IMAGES = 5000
_SHARE = "share-"
_POOLED_BY, _UNPOOLED_BY = "max", "strided"


def plan(params: Params, best: dict[str, dict[str, Any]], manifest: Manifest) -> dict[str, TrainingJob]:
    """Name -> training; `best` holds each model's values as its search found them."""
    return {
        f"{variant}-{job.model}-{seed}": dataclasses.replace(job, seed=seed)
        for variant, job in _variants(params, best, manifest)
        for seed in range(params.study.size.num_seeds)
    }


def num_trainings(params: StudyParams) -> int:
    """As many as `plan` makes, or up to two less for each seed."""
    return params.size.num_seeds * (len((UNTIED, POOLED, MATCHED)) + 2 * (len((BASE, PERMUTED)) + len(params.shares)))


def parse(name: str) -> tuple[str, str, int]:
    """Variant, model and seed of a training's name."""
    variant, model, seed = name.rsplit("-", 2)
    return variant, model, int(seed)


def share_variant(share: float) -> str:
    return f"{_SHARE}{share:g}"


def is_by_share(variant: str) -> bool:
    """Whether it differs from the base in nothing but its images, or is the base."""
    return variant == BASE or variant.startswith(_SHARE)


def _variants(params: Params, best: dict[str, dict[str, Any]], manifest: Manifest) -> Iterator[tuple[str, TrainingJob]]:
    """The longest first, so that the short ones fill the gaps at the end."""
    study = params.study
    share = min(1.0, study.size.train_images / manifest.counts["train"])
    base = {}
    for model in (CNN, BASELINE):
        recipe, network = params.with_values(model, best[model])
        base[model] = TrainingJob(
            model, network, recipe, params.augment, study.size.max_epochs, 0, train_share=share, validates=False
        )
    cnn, feedforward = base[CNN], base[BASELINE]
    if isinstance(cnn.network, CnnParams):  # a network of torchvision's has no such values
        untied = cnn.network.model_copy(update={"shared_weights": False})
        if _count(untied, manifest) <= _MAX_UNTIED_PARAMETERS:
            # An epoch takes it up to eight times as long: it gets the smallest share that is enough to learn from.
            enough = _MIN_UNTIED_IMAGES / (share * manifest.counts["train"])
            part = next((part for part in sorted(study.shares) if part >= enough), 1.0)
            yield UNTIED, dataclasses.replace(_of_share(cnn, part), network=untied)
        other, pooling = (POOLED, _POOLED_BY) if cnn.network.pooling == _UNPOOLED_BY else (UNPOOLED, _UNPOOLED_BY)
        yield other, dataclasses.replace(cnn, network=cnn.network.model_copy(update={"pooling": pooling}))
    elif isinstance(cnn.network, TransferParams) and cnn.network.is_pretrained:
        yield SCRATCH, dataclasses.replace(cnn, network=cnn.network.model_copy(update={"weights": "none"}))
    for job in (cnn, feedforward):
        yield BASE, job
        yield PERMUTED, dataclasses.replace(job, pixel_order=study.pixel_order)
    matched = match_parameters(cnn.network, feedforward.network, manifest)
    yield MATCHED, dataclasses.replace(feedforward, network=matched, recipe=cnn.recipe)
    for part in sorted(study.shares, reverse=True):
        for job in (cnn, feedforward):
            yield share_variant(part), _of_share(job, part)


def _of_share(job: TrainingJob, part: float) -> TrainingJob:
    """With a part of its images, which are seen more often: as many steps would learn them by heart, as many epochs
    would hardly learn."""
    return dataclasses.replace(job, train_share=part * job.train_share, epochs=round(job.epochs / part**0.5))


def match_parameters(cnn: NetworkParams, feedforward: NetworkParams, manifest: Manifest) -> FeedforwardParams:
    """The feed-forward network with all widths multiplied so that it has as many parameters as the CNN, as nearly as
    whole units allow."""
    assert isinstance(feedforward, FeedforwardParams)
    goal = _count(cnn, manifest)

    def scaled(factor: float) -> FeedforwardParams:
        widths = tuple(max(1, round(factor * width)) for width in feedforward.widths)
        return feedforward.model_copy(update={"widths": widths})

    def excess(factor: float) -> int:
        return _count(scaled(factor), manifest) - goal

    low, high = 1e-3, 1.0
    while excess(high) < 0:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return min(scaled(low), scaled(high), key=lambda network: abs(_count(network, manifest) - goal))


def _count(network: NetworkParams, manifest: Manifest) -> int:
    from reconv.models.size import count_parameters_of  # torch: not before Ray's workers have been started

    return count_parameters_of(network, manifest.image_shape, manifest.num_classes)
