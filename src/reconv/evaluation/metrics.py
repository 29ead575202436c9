"""Accuracy and likelihood of predictions.

S seeds, N images, K classes.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax

from reconv.artifacts import Score

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def score(values: list[float]) -> Score:
    """A measure of each seed, with mean and sample standard deviation."""
    return Score(
        mean=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        seeds=tuple(values),
    )


def is_correct(logits_NK: Logits, labels_N: Labels) -> NDArray[np.bool_]:
    """(N,): the largest logit is the true class's."""
    correct: NDArray[np.bool_] = logits_NK.argmax(axis=1) == labels_N
    return correct


def negative_log_likelihood(logits_NK: Logits, labels_N: Labels) -> float:
    """Mean over images, in nats."""
    log_probabilities = log_softmax(logits_NK.astype(np.float64), axis=1)
    return float(-log_probabilities[np.arange(len(labels_N)), labels_N].mean())


def accuracy_per_class(
    correct_SN: NDArray[np.bool_], labels_N: Labels, class_names: tuple[str, ...]
) -> dict[str, float]:
    """Mean over seeds of each class's accuracy; classes without test images are left out."""
    hits_N = correct_SN.mean(axis=0)
    return {
        name: float(hits_N[labels_N == label].mean())
        for label, name in enumerate(class_names)
        if (labels_N == label).any()
    }


def confusion_rows(predictions: pd.DataFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Return the actual and predicted class name of every prediction."""
    logits = predictions.filter(like="logit_").to_numpy()
    names = np.array(class_names)
    return pd.DataFrame({"actual": names[predictions["label"]], "predicted": names[logits.argmax(axis=1)]})
