"""Is the difference real? Bootstrap intervals and McNemar's test, from who is right on which image.

S seeds, N images, R resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from reconv.artifacts import Interval, McNemar

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class PairedBootstrap:
    """Resampled accuracies (R,) of two models, over the same resampled images."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def interval(self, values: NDArray[np.float64], confidence: float) -> Interval:
        """Percentile interval (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13)."""
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(low=float(low), high=float(high))


def paired_bootstrap(first_SN: Correct, second_SN: Correct, num_resamples: int, seed: int) -> PairedBootstrap:
    """Resample test images, the same for both models, and seeds, of each model for itself: two trainings that happen
    to have the same number have nothing in common.

    Images with the same pattern of right and wrong over all seeds are exchangeable, so that counts of the at most
    2^(2 S) patterns are drawn (multinomial) instead of N images: the same distribution at a small part of the cost.
    """
    rng = np.random.default_rng(seed)
    patterns_PT, counts_P = np.unique(np.concatenate([first_SN, second_SN]).T, axis=0, return_counts=True)
    num_images = int(counts_P.sum())
    drawn_RP = rng.multinomial(num_images, counts_P / num_images, size=num_resamples)
    accuracies_RT = drawn_RP @ patterns_PT.astype(np.float64) / num_images
    split = len(first_SN)
    return PairedBootstrap(
        first=_mean_over_resampled_seeds(accuracies_RT[:, :split], rng),
        second=_mean_over_resampled_seeds(accuracies_RT[:, split:], rng),
    )


def _mean_over_resampled_seeds(accuracies_RS: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    chosen_RS = rng.integers(accuracies_RS.shape[1], size=accuracies_RS.shape)
    means: NDArray[np.float64] = np.take_along_axis(accuracies_RS, chosen_RS, axis=1).mean(axis=1)
    return means


def mcnemar(first_SN: Correct, second_SN: Correct) -> McNemar:
    """Exact McNemar test (McNemar, Psychometrika 1947) on the images that a majority of seeds gets right."""
    first_N, second_N = first_SN.mean(axis=0) > 0.5, second_SN.mean(axis=0) > 0.5
    only_first, only_second = int((first_N & ~second_N).sum()), int((~first_N & second_N).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_cnn=only_first, only_feedforward=only_second, p_value=p_value)
