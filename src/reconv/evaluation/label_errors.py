"""Images whose label is probably wrong, by what classifiers say that were not trained on them.

N images, K classes, S seeds, T thresholds of probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax

from reconv.artifacts import LabelCheck
from reconv.evaluation.calibration import draw_labels
from reconv.evaluation.metrics import Labels, Logits

Values = NDArray[np.float64]

_DOUBTED = 0.05
_MAX_FALSE = 0.5
"""Suspects are listed while at most this share of them is expected to be right labels."""
_MAX_WRONG, _USUAL_WRONG = 0.1, 0.005
"""Shares of wrong labels: the largest that is considered, or a classifier that knows nothing would call most labels
wrong, and the mean of the exponential prior, without which a weak classifier's confident mistakes look like them."""
_NUM_DRAWS, _CERTAINTY = 100, 0.95
_THRESHOLDS_T = np.geomspace(1e-12, 1, 2001)
_MAX_FITTED = 1_000_000
"""Probabilities that the calibration is fitted to: 100,000 images of ten classes."""


@dataclass(frozen=True)
class LabelErrors:
    suspects: pd.DataFrame
    """A row per suspect: position, label, suggested, confidence (of the suggested class) and of_label (of the label's
    own); the least probable label first."""
    check: LabelCheck


def label_errors(scaled_SNK: Sequence[Logits], labels_N: Labels, class_names: tuple[str, ...]) -> LabelErrors:
    """Rank images by the probability of their label, mean over seeds, and list those below a threshold. `scaled_SNK`
    are calibrated logits.

    The threshold is the largest one at which the classifiers expect at most half as many right labels as there are
    labels: an estimated false discovery rate of 0.5 (Storey & Tibshirani, "Statistical significance for genomewide
    studies", PNAS 2003). None are listed if one of 20 sets of labels drawn from the classifiers' own probabilities, in
    which no label is wrong, gets as long a list. Nothing here distinguishes a wrong label from a confident mistake.
    """
    of_seeds = [softmax(logits_NK.astype(np.float64), axis=1) for logits_NK in scaled_SNK]
    probabilities_NK = _of_right_labels(np.mean(of_seeds, axis=0), labels_N)
    images_N = np.arange(len(labels_N))
    of_label_N = probabilities_NK[images_N, labels_N]
    expected_T = _counts(probabilities_NK.ravel(), weights=probabilities_NK.ravel())
    drawn = [probabilities_NK[images_N, one] for one in draw_labels(probabilities_NK, _NUM_DRAWS)]
    threshold = _threshold(of_label_N, expected_T)
    lengths = [(one <= _threshold(one, expected_T)).sum() for one in drawn]
    other_NK = np.where(np.eye(len(class_names), dtype=bool)[labels_N], 0, probabilities_NK)
    doubted_N = (of_label_N <= threshold) & (other_NK.max(axis=1) > 0.5)  # more probable than all others together
    if doubted_N.sum() <= np.quantile(lengths, _CERTAINTY):
        doubted_N[:] = False
    order = np.argsort(of_label_N, kind="stable")
    suspects = order[doubted_N[order]]
    names = np.array(class_names)
    doubted = [int((one <= _DOUBTED).sum()) for one in (of_label_N, *drawn)]
    low, high = np.quantile(doubted[1:], [(1 - _CERTAINTY) / 2, (1 + _CERTAINTY) / 2])
    return LabelErrors(
        suspects=pd.DataFrame(
            {
                "position": suspects,
                "label": names[labels_N[suspects]],
                "suggested": names[probabilities_NK[suspects].argmax(axis=1)],
                "confidence": probabilities_NK[suspects].max(axis=1),
                "of_label": of_label_N[suspects],
            }
        ),
        check=LabelCheck(
            num_images=len(labels_N),
            doubted=doubted[0],
            expected=float(np.mean(doubted[1:])),
            expected_low=int(low),
            expected_high=int(high),
            listed=len(suspects),
            listed_expected=float(np.interp(threshold, _THRESHOLDS_T, expected_T)) if len(suspects) else 0.0,
        ),
    )


def _threshold(of_label_N: Values, expected_T: Values) -> float:
    """Return the largest probability up to which enough labels are more than expected; 0 if there is none."""
    counts_T = _counts(of_label_N)
    enough = np.flatnonzero((counts_T > 0) & (expected_T <= _MAX_FALSE * counts_T))
    return float(_THRESHOLDS_T[enough[-1]]) if len(enough) else 0.0


def _counts(probabilities: Values, weights: Values | None = None) -> Values:
    """Return how many of them, or what weight, are at most each threshold."""
    places = np.searchsorted(_THRESHOLDS_T, probabilities).clip(max=len(_THRESHOLDS_T) - 1)
    return np.bincount(places, weights, len(_THRESHOLDS_T)).cumsum().astype(np.float64)


def _of_right_labels(probabilities_NK: Values, labels_N: Labels) -> Values:
    """Return the probabilities (N, K) of an image's true class, fitted so that wrong labels do not bend them.

    A temperature alone takes wrong labels, and the probability that label smoothing leaves on every class, for
    doubt of the network. So three numbers are fitted: a temperature, what smoothing left on every class (Szegedy et
    al., "Rethinking the Inception Architecture", CVPR 2016, section 7), and the share of labels that are drawn from
    the other classes (Patrini et al., "Making Deep Neural Networks Robust to Label Noise", CVPR 2017, section 4.2).
    """
    num_others = max(1, probabilities_NK.shape[1] - 1)
    smallest = float(np.median(probabilities_NK.min(axis=1)))

    def as_right(given_NK: Values, log_temperature: float, floor: float) -> Values:
        sharp_NK = np.log(np.maximum(given_NK - expit(floor) * smallest, 1e-9))
        fitted_NK: Values = softmax(sharp_NK / np.exp(log_temperature), axis=1)
        return fitted_NK

    some = slice(None, None, 1 + probabilities_NK.size // _MAX_FITTED)
    some_NK, some_N = probabilities_NK[some], labels_N[some]

    def loss(values: Values) -> float:
        of_label_N = as_right(some_NK, values[0], values[2])[np.arange(len(some_N)), some_N]
        wrong = expit(values[1]) * _MAX_WRONG
        likelihood_N = (1 - wrong) * of_label_N + wrong * (1 - of_label_N) / num_others
        return float(-np.log(likelihood_N + 1e-300).mean() + wrong / _USUAL_WRONG / len(some_N))

    tolerance = {"xatol": 1e-2, "fatol": 1e-7}
    starts = ([0.0, -3.0, 0.0], [0.0, -3.0, -5.0])
    found = min(
        (minimize(loss, np.array(start), method="Nelder-Mead", options=tolerance) for start in starts),
        key=lambda result: float(result.fun),
    )
    return as_right(probabilities_NK, found.x[0], found.x[2])
