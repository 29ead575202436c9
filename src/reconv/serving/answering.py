"""A bundle that answers: whoever serves, predicts or explains with a registered classifier does it by this.

N images, K classes.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reconv.data.arrays import Split
from reconv.data.decoding import Conversion
from reconv.data.shards import AnyImages
from reconv.errors import DataError
from reconv.models.classifier import load_classifier
from reconv.serving.bundle import read_served
from reconv.serving.logits import Logits, predict_logits, scaled_probabilities

BATCH_SIZE = 100
"""Of images that are answered at once, at most: of 500 the activations leave the caches, and two cores are slower. No
answer depends on it."""


class Answering:
    """The classifier of a bundle.

    Raises:
        DataError: the bundle is incomplete or damaged.
    """

    def __init__(self, bundle: Path, device: torch.device | None = None) -> None:
        self.served = read_served(bundle)
        self.classifier = load_classifier(bundle)
        self.device = device or torch.device("cpu")
        self.class_names: tuple[str, ...] = tuple(self.classifier.arguments["class_names"])

    @property
    def conversion(self) -> Conversion:
        """What an image of any size becomes before it is answered."""
        return self.served.conversion

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.conversion.shape

    def logits(self, images_NHWC: AnyImages) -> Logits:
        """Return (N, K) for raw images, uint8 (N, *image_shape).

        Raises:
            DataError: they are not finite: even finite weights can be too large.
        """
        if len(images_NHWC) == 0:
            return np.empty((0, len(self.class_names)), np.float32)
        split = Split(images_NHWC, np.zeros(len(images_NHWC), np.int64))
        logits_NK = predict_logits(self.classifier, split, BATCH_SIZE, self.device)
        if not np.isfinite(logits_NK).all():
            raise DataError("the model's outputs are NaN or infinite: its weights are too large; train it again.")
        return logits_NK

    def probabilities(self, images_NHWC: AnyImages) -> NDArray[np.float64]:
        """(N, K), calibrated."""
        return scaled_probabilities(self.logits(images_NHWC), self.served.temperature)
