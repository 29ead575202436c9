"""How far confidence and accuracy lie apart, and one number that brings them together.

N images, K classes.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from reconv.evaluation.metrics import Labels, Logits, is_correct, negative_log_likelihood

_NUM_BINS = 15
_MAX_TEMPERATURE = 20.0


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


def reliability(logits_NK: Logits, labels_N: Labels) -> pd.DataFrame:
    """What a reliability diagram draws: of each of 15 bins of confidence that holds images, their number (`images`),
    mean `confidence` and `accuracy`."""
    confidence_N = np.exp(log_softmax(logits_NK.astype(np.float64), axis=1)).max(axis=1)
    bins_N = np.minimum((confidence_N * _NUM_BINS).astype(int), _NUM_BINS - 1)
    answers = pd.DataFrame({"confidence": confidence_N, "accuracy": is_correct(logits_NK, labels_N)})
    by_bin = answers.groupby(pd.Series(bins_N, name="bin"))
    return by_bin.mean().assign(images=by_bin.size()).reset_index()
