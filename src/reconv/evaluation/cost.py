"""What a classifier costs: parameters, multiply-adds and latency."""

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from reconv.models.classifier import ImageClassifier

_WARM_UP = 3
_REPEATS = 20


def count_parameters(classifier: ImageClassifier) -> int:
    return sum(parameter.numel() for parameter in classifier.parameters())


def count_multiply_adds(classifier: ImageClassifier) -> int:
    """Of the forward pass of one image: convolutions and matrix products, as torch counts them."""
    image = torch.zeros((1, *classifier.arguments["image_shape"]), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        classifier(image)
    return int(counter.get_total_flops()) // 2


def latency_ms(classifier: ImageClassifier, batch_size: int, device: torch.device) -> float:
    """Median milliseconds of a forward pass, raw images to logits, that lie on `device` already."""
    images = torch.zeros((batch_size, *classifier.arguments["image_shape"]), dtype=torch.uint8, device=device)
    classifier = classifier.to(device)
    times = []
    with torch.inference_mode():
        for _ in range(_WARM_UP + _REPEATS):
            began = time.perf_counter()
            classifier(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[_WARM_UP:])
