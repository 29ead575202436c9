"""Which answers to test images are worth a look. Called by the stage `explain`.

N images, K classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from reconv.artifacts import Answer

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Of one seed to all test images, in the order of the split."""

    labels: Indices
    """(N,), as the others."""
    predicted: Indices
    confidence: NDArray[np.float64]
    """Calibrated."""

    @property
    def is_right(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    def described(self, chosen: Indices, names: tuple[str, ...]) -> tuple[Answer, ...]:
        return tuple(
            Answer(
                image=int(index),
                actual=names[self.labels[index]],
                predicted=names[self.predicted[index]],
                confidence=float(self.confidence[index]),
            )
            for index in chosen
        )


def answers_in(predictions: pd.DataFrame, temperature: float) -> Answers:
    """`predictions` as `evaluate` writes them, of one seed, in any order."""
    ordered = predictions.sort_values("image")
    probabilities_NK = softmax(ordered.filter(like="logit_").to_numpy() / temperature, axis=1)
    return Answers(
        labels=ordered["label"].to_numpy(dtype=np.int64),
        predicted=probabilities_NK.argmax(axis=1),
        confidence=probabilities_NK.max(axis=1),
    )


def surest(answers: Answers, among_N: NDArray[np.bool_], count: int) -> Indices:
    """Indices of the most confident answers `among` those, the surest first."""
    candidates = np.flatnonzero(among_N)
    return candidates[np.argsort(-answers.confidence[candidates], kind="stable")][:count]


def surest_of_each_class(answers: Answers, num_classes: int) -> Indices:
    """Indices of the surest right and the surest wrong answer to images of each class, where there is one: class after
    class, of at most `num_classes`, those with the most mistakes."""
    wrong_N = ~answers.is_right
    mistakes_K = np.bincount(answers.labels[wrong_N], minlength=int(answers.labels.max()) + 1)
    present = np.unique(answers.labels)
    shown = np.sort(present[np.argsort(-mistakes_K[present], kind="stable")][:num_classes])
    nothing = np.empty(0, np.int64)
    return np.concatenate(
        [
            nothing,
            *(
                surest(answers, (answers.labels == label) & of_kind_N, 1)
                for label in shown
                for of_kind_N in (answers.is_right, wrong_N)
            ),
        ]
    )
