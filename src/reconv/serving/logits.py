"""Raw images -> logits and calibrated probabilities: the one way in which a trained classifier answers.

`evaluate` measures it, whoever serves or predicts calls it, so that they cannot differ. In float32 whatever the
precision of training.

N images, K classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from reconv.data.arrays import Split
from reconv.data.batches import EvaluationBatches, Resident
from reconv.models.classifier import ImageClassifier

Logits = NDArray[np.float32]


def predict_logits(classifier: ImageClassifier, split: Split, batch_size: int, device: torch.device) -> Logits:
    """(N, K) float32, in the order of the split."""
    classifier = classifier.to(device).eval()
    with torch.inference_mode():
        batches = EvaluationBatches(Resident(split, device), batch_size, classifier.input_shape)
        logits: Logits = torch.cat([classifier(images).cpu() for images, _ in batches]).numpy()
    return logits


def scaled_probabilities(logits_NK: Logits, temperature: float) -> NDArray[np.float64]:
    """(N, K): softmax of the logits divided by the temperature."""
    scaled_NK = logits_NK.astype(np.float64) / temperature
    scaled_NK -= scaled_NK.max(axis=1, keepdims=True)
    weights_NK = np.exp(scaled_NK)
    probabilities: NDArray[np.float64] = weights_NK / weights_NK.sum(axis=1, keepdims=True)
    return probabilities
