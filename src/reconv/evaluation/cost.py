"""What a classifier costs when it answers: multiply-adds and latency."""

import statistics
import time

import torch

from reconv.models.classifier import ImageClassifier
from reconv.models.size import multiply_adds

_WARM_UP = 3
_REPEATS = 20


def count_multiply_adds(classifier: ImageClassifier) -> int:
    """Of the answer to one raw image, its mirror image included where the classifier looks at that too."""
    return multiply_adds(classifier, torch.zeros((1, *classifier.arguments["image_shape"]), dtype=torch.uint8))


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
