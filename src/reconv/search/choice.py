"""Which trial's values a search ends with. The validation images are few, and the best of several trials on them is the
luckiest as well as the best: the values of params.yaml are left only for a lead that chance alone seldom makes.

N validation images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Choice


@dataclass(frozen=True)
class TrialResult:
    number: int
    epochs: int
    accuracy: float
    """On the validation images, after its best epoch."""
    right: NDArray[np.bool_] | None
    """Who is right, (N,), after its last epoch; None of a trial that did not train all of them."""


def choose(
    trials: Sequence[TrialResult], values: Mapping[int, dict[str, Any]], incumbent: int | None, min_lead: float
) -> Choice:
    """Return the best of the `trials` of one search, of which one at least reported; that of params.yaml, the
    `incumbent`, is left only for a lead of `min_lead` standard errors.

    Without an incumbent that trained all its epochs the trial with the highest accuracy is chosen.
    """
    best = max(trials, key=lambda trial: trial.accuracy)
    held = next((trial for trial in trials if trial.number == incumbent), None)
    if held is None or held.right is None:
        return _choice(best, values, is_incumbent=best is held)
    rivals = [(trial, trial.right) for trial in trials if trial is not held and trial.right is not None]
    if not rivals:
        return _choice(held, values, is_incumbent=True)
    rival, right_N = max(rivals, key=lambda one: float(one[1].mean()))
    lead, error = paired_lead(right_N, held.right)
    is_left = lead > min_lead * error
    return _choice(rival if is_left else held, values, not is_left, lead, error)


def paired_lead(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> tuple[float, float]:
    """Return by how much the first is more often right, and the standard error of that over images like these.

    With half an image added to each of the four outcomes, as in `reconv.evaluation.statistics`: two trials that never
    disagree are not known to be equal.
    """
    num_images = len(first_N) + 2
    difference_N = first_N.astype(int) - second_N
    lead = float(difference_N.sum() / num_images)
    mean_square = float((np.abs(difference_N).sum() + 1) / num_images)
    return lead, math.sqrt((mean_square - lead**2) / num_images)


def _choice(
    trial: TrialResult,
    values: Mapping[int, dict[str, Any]],
    is_incumbent: bool,
    lead: float | None = None,
    error: float | None = None,
) -> Choice:
    return Choice(
        trial=trial.number,
        epochs=trial.epochs,
        validation_accuracy=trial.accuracy,
        is_incumbent=is_incumbent,
        lead=lead,
        lead_error=error,
        values=values[trial.number],
    )
