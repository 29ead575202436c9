"""How far confidence and accuracy are apart, and one number that brings them together.

N images, K classes.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from reconv.evaluation.metrics import Labels, Logits, is_correct, negative_log_likelihood

_NUM_BINS = 15
_MAX_TEMPERATURE = 20.0
_NUM_DRAWS = 20


def fit_temperature(logits_NK: Logits, labels_N: Labels) -> float:
    """The number T, 1/20 to 20, for which softmax(logits / T) gives these labels the highest likelihood.

    Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2. The images must not have been
    trained on. T below 1 makes a classifier more confident, T above 1 less; its answers stay the same.
    """
    bound = np.log(_MAX_TEMPERATURE)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits_NK / np.exp(log_t), labels_N),
        bounds=(-bound, bound),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def expected_calibration_error(logits_NK: Logits, labels_N: Labels) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, weighted by their images.

    Guo et al. (2017), equation 3.
    """
    table = reliability(logits_NK, labels_N)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return float((gaps * table["images"]).sum() / len(labels_N))


def calibration_error_by_chance(logits_NK: Logits) -> float:
    """Return the expected calibration error that a perfectly calibrated model with these confidences would show.

    It is not 0: even then the accuracy in a bin differs from its mean confidence by chance. Mean over 20 draws of the
    labels from the model's own probabilities; Vaicenavicius et al., "Evaluating model calibration in classification"
    (AISTATS 2019), section 4.
    """
    probabilities_NK = softmax(logits_NK.astype(np.float64), axis=1)
    draws = draw_labels(probabilities_NK, _NUM_DRAWS)
    return float(np.mean([expected_calibration_error(logits_NK, labels_N) for labels_N in draws]))


def draw_labels(probabilities_NK: NDArray[np.float64], num_draws: int) -> Iterator[Labels]:
    """Yield labels (N,) drawn from these probabilities; the same ones in every call."""
    rng = np.random.default_rng(0)
    cumulative_NK = probabilities_NK.cumsum(axis=1)
    for _ in range(num_draws):
        places_N = rng.random(len(probabilities_NK)) * cumulative_NK[:, -1]
        yield (places_N[:, None] >= cumulative_NK).sum(axis=1).clip(max=probabilities_NK.shape[1] - 1)


def reliability(logits_NK: Logits, labels_N: Labels) -> pd.DataFrame:
    """What a reliability diagram draws: of each of 15 bins of confidence that holds images, their number (`images`),
    mean `confidence` and `accuracy`."""
    confidence_N = np.exp(log_softmax(logits_NK.astype(np.float64), axis=1)).max(axis=1)
    bins_N = np.minimum((confidence_N * _NUM_BINS).astype(int), _NUM_BINS - 1)
    answers = pd.DataFrame({"confidence": confidence_N, "accuracy": is_correct(logits_NK, labels_N)})
    by_bin = answers.groupby(pd.Series(bins_N, name="bin"))
    return by_bin.mean().assign(images=by_bin.size()).reset_index()
