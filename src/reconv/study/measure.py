"""Trained variants and the test split -> the study's tables. Called by the stage `study`.

N images, K classes.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from reconv.data.arrays import PreparedData, Split
from reconv.evaluation.metrics import is_correct
from reconv.files import local_copy
from reconv.models.classifier import ImageClassifier, classifier_of
from reconv.models.size import count_multiply_adds_of, count_parameters_of, network_on
from reconv.models.transfer import input_shape_of
from reconv.params import NetworkParams, StudyParams
from reconv.serving.logits import predict_logits
from reconv.study.perturbations import CORRUPTIONS, SEVERITIES, corrupted, shifted
from reconv.study.plan import BASE, POOLED, UNPOOLED, is_by_share, parse
from reconv.training.job import TrainingJob
from reconv.training.precision import best_device
from reconv.training.side_by_side import Trained

_BATCH_SIZE = 500
_STEP_IMAGES = 32
_MAX_MEASURED_PARAMETERS = 200_000_000
Correct = NDArray[np.bool_]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    trainings: pd.DataFrame
    """A row per training: variant, by_share, model, seed, images, epochs, parameters, accuracy, device_seconds."""
    shifts: pd.DataFrame
    """variant, model, seed, pixels, accuracy."""
    corruptions: pd.DataFrame
    """corruption, severity, model, seed, accuracy; severity 0 of `none` are the images as they are."""
    sizes: pd.DataFrame
    """model, pixels, channels, parameters, multiply_adds, step_ms (empty where a network is too large to be timed)."""
    correct: Mapping[str, Correct]
    """Name of a training -> who is right (N,) on all test images."""
    shifted: Mapping[tuple[str, int], Shares]
    """Name of a training, pixels -> share of the directions in which it is right (N,) on the perturbed images."""
    corrupted: Mapping[tuple[str, str], Shares]
    """Name of a training, corruption -> share of the severities at which it is right (N,)."""


def measure(
    trained: Mapping[str, Trained], jobs: Mapping[str, TrainingJob], data: PreparedData, params: StudyParams
) -> Measured:
    """All tables; on one device, one after the other."""
    device = best_device()
    classifiers = {name: _classifier(one).to(device) for name, one in trained.items()}
    correct = {name: _who_is_right(classifier, data.test, device) for name, classifier in classifiers.items()}
    few = data.test.share(min(1.0, params.size.perturbed_images / len(data.test)))
    base = {name: one for name, one in classifiers.items() if parse(name)[0] == BASE}
    by_pooling = {name: one for name, one in classifiers.items() if parse(name)[0] in (BASE, POOLED, UNPOOLED)}
    networks = {job.model: job.network for name, job in jobs.items() if parse(name)[0] == BASE}
    shifted: dict[tuple[str, int], Shares] = {}
    corrupted: dict[tuple[str, str], Shares] = {}
    return Measured(
        trainings=pd.DataFrame(_training_rows(trained, jobs, correct, data)),
        shifts=pd.DataFrame(_shift_rows(by_pooling, few, params.max_shift, device, shifted)),
        corruptions=pd.DataFrame(_corruption_rows(base, few, device, corrupted)),
        sizes=pd.DataFrame(_size_rows(networks, data.manifest.num_classes, params.image_sizes, device)),
        correct=correct,
        shifted=shifted,
        corrupted=corrupted,
    )


def _classifier(trained: Trained) -> ImageClassifier:
    with local_copy(trained.weights) as weights:
        return classifier_of(trained.arguments, weights)


def _who_is_right(classifier: ImageClassifier, split: Split, device: torch.device) -> Correct:
    return is_correct(predict_logits(classifier, split, _BATCH_SIZE, device), split.labels)


def _training_rows(
    trained: Mapping[str, Trained],
    jobs: Mapping[str, TrainingJob],
    correct: Mapping[str, Correct],
    data: PreparedData,
) -> Iterator[dict[str, object]]:
    manifest = data.manifest
    for name, one in trained.items():
        variant, model, seed = parse(name)
        yield {
            "variant": variant,
            "by_share": is_by_share(variant),
            "model": model,
            "seed": seed,
            "images": len(data.train.indices_of_share(jobs[name].train_share)),
            "epochs": jobs[name].epochs,
            "parameters": count_parameters_of(jobs[name].network, manifest.image_shape, manifest.num_classes),
            "accuracy": float(correct[name].mean()),
            "device_seconds": one.device_seconds,
        }


def _shift_rows(
    classifiers: Mapping[str, ImageClassifier],
    split: Split,
    max_shift: int,
    device: torch.device,
    who_is_right: dict[tuple[str, int], Shares],
) -> Iterator[dict[str, object]]:
    """Fill `who_is_right` on the way, as `_corruption_rows` does."""
    images = torch.from_numpy(split.images[:])
    for pixels in range(min(max_shift, min(images.shape[1:3]) - 1) + 1):
        moved = [Split(one.numpy(), split.labels) for one in shifted(images, pixels)]
        for name, classifier in classifiers.items():
            variant, model, seed = parse(name)
            right = [_who_is_right(classifier, one, device) for one in moved]
            who_is_right[name, pixels] = np.mean(right, axis=0)
            accuracy = float(np.mean([right_N.mean() for right_N in right]))
            yield {"variant": variant, "model": model, "seed": seed, "pixels": pixels, "accuracy": accuracy}


def _corruption_rows(
    classifiers: Mapping[str, ImageClassifier],
    split: Split,
    device: torch.device,
    who_is_right: dict[tuple[str, str], Shares],
) -> Iterator[dict[str, object]]:
    images = torch.from_numpy(split.images[:])
    changed = (
        (name, severity, corrupted(name, images, severity, seed=index))
        for index, name in enumerate(CORRUPTIONS)
        for severity in SEVERITIES
    )
    for corruption, severity, these in chain([("none", 0, images)], changed):  # one set in memory at a time
        for name, classifier in classifiers.items():
            _, model, seed = parse(name)
            right_N = _who_is_right(classifier, Split(these.numpy(), split.labels), device)
            if severity:
                so_far = who_is_right.setdefault((name, corruption), np.zeros(len(right_N)))
                so_far += right_N / len(SEVERITIES)
            row = {"corruption": corruption, "severity": severity, "model": model, "seed": seed}
            yield {**row, "accuracy": float(right_N.mean())}


def _size_rows(
    networks: Mapping[str, NetworkParams], num_classes: int, sizes: tuple[int, ...], device: torch.device
) -> Iterator[dict[str, object]]:
    for channels in (1, 3):
        for pixels in sizes:
            for model, network in networks.items():
                shape = (pixels, pixels, channels)
                parameters = count_parameters_of(network, shape, num_classes)
                is_measured = parameters <= _MAX_MEASURED_PARAMETERS
                yield {
                    "model": model,
                    "pixels": pixels,
                    "channels": channels,
                    "parameters": parameters,
                    "multiply_adds": count_multiply_adds_of(network, shape, num_classes),
                    "step_ms": _step_ms(network, input_shape_of(network, shape), num_classes, device)
                    if is_measured
                    else None,
                }


@cache  # a network of torchvision's may see images of all sizes as the same size
def _step_ms(network: NetworkParams, shape: tuple[int, int, int], num_classes: int, device: torch.device) -> float:
    """Median milliseconds of a forward and backward pass and a step of plain SGD, 32 inputs of that shape, float32."""
    height, width, channels = shape
    module = network_on(str(device), network, shape, num_classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    images = torch.randn(_STEP_IMAGES, channels, height, width, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(_STEP_IMAGES, device=device) % num_classes
    times: list[float] = []
    while len(times) < 3 or (len(times) < 10 and sum(times) < 0.5):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss: torch.Tensor = nn.functional.cross_entropy(module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) * 1000
