"""Can the verdict be trusted? How often it claims a difference that is not there, and finds one that is.

Simulated answers with known truth, put through the functions that `compare` uses. An image is answered rightly if a
normal score lies above 0: the sum of how easy the image is for both models, how easy for one of them alone, chance of
the single answer, and the training's own level. Two trainings of a model then disagree on 4 % of the images and have
92 % accuracy, as the trainings of Fashion-MNIST's CNN do (4.2 % and 93 %); the levels of trainings differ by a standard
deviation that is varied, from nothing to half a point. A model compared with another of the same truth must not be
claimed to differ in more than 5 of 100 comparisons, whatever the number of seeds and images.
"""

import statistics
import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.measure import OURS, Effort, Row
from reconv.evaluation.statistics import error_of_difference, interval, paired_bootstrap

TITLE = "The verdict as an instrument: differences that are not there, and that are"

_ACCURACY, _CONFIDENCE = 0.92, 0.95
_SHARED, _OWN, _CHANCE = 3.0, 0.5, 1.0
_SPREAD = np.sqrt(_SHARED**2 + _OWN**2 + _CHANCE**2)
# Seeds, test images, standard deviation of trainings in accuracy.
_NOTHING_THERE = [
    (3, 10_000, 0.0),
    (3, 10_000, 0.001),
    (3, 10_000, 0.005),
    (5, 10_000, 0.001),
    (5, 10_000, 0.005),
    (2, 10_000, 0.001),
    (1, 10_000, 0.0),
    (3, 1_000, 0.001),
    (3, 200, 0.001),
    (3, 20, 0.001),
]
# And a true difference.
_SOMETHING_THERE = [
    (5, 10_000, 0.0, 0.005),
    (5, 10_000, 0.001, 0.005),
    (5, 10_000, 0.002, 0.005),
    (3, 10_000, 0.0, 0.005),
    (3, 10_000, 0.001, 0.005),
    (3, 10_000, 0.001, 0.007),
]
_PLAIN = "percentile bootstrap, uncorrected"


def measure(effort: Effort) -> list[Row]:
    runs = 1000 if effort == "full" else 5
    rows = []
    for seeds, images, deviation in _NOTHING_THERE:
        bar = f"<= {5 + 196 * np.sqrt(0.05 * 0.95 / runs):.1f} %"
        what = f"claims of a difference that is not there, {_setting(seeds, images, deviation)}"
        shares = _shares_of_claims(seeds, images, deviation, 0.0, runs)
        for (contender, share), asked in zip(shares.items(), (bar, ""), strict=True):
            rows.append(Row(what, "%", contender, [100 * share], bar=asked, note=f"{runs:,} comparisons"))
    for seeds, images, deviation, gain in _SOMETHING_THERE:
        found = _shares_of_claims(seeds, images, deviation, gain, runs)[OURS]
        what = f"a true {100 * gain:.1f} points are found, {_setting(seeds, images, deviation)}"
        bar = ">= 80 %" if gain == 0.005 else ""
        rows.append(Row(what, "%", OURS, [100 * found], bar=bar, note=f"{runs:,} comparisons"))
    return [*rows, _speed(3 if effort == "full" else 1)]


def simulate(
    rng: np.random.Generator, num_seeds: int, num_images: int, deviation: float, gain: float = 0.0
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who is right, (seeds, images), for two models of which the first is better by `gain` on all images that there
    are, and whose trainings differ in accuracy by a standard deviation of `deviation`."""
    shared = rng.normal(0, _SHARED, num_images)
    first, second = (_answers(rng, shared, num_seeds, deviation, _ACCURACY + better) for better in (gain, 0.0))
    return first, second


def _answers(
    rng: np.random.Generator, shared: NDArray[np.float64], num_seeds: int, deviation: float, accuracy: float
) -> NDArray[np.bool_]:
    threshold = norm.ppf(accuracy)
    levels = threshold + rng.normal(0, deviation / norm.pdf(threshold), (num_seeds, 1))
    scores = shared + rng.normal(0, _OWN, len(shared)) + rng.normal(0, _CHANCE, (num_seeds, len(shared)))
    right: NDArray[np.bool_] = scores + levels * _SPREAD > 0
    return right


def _shares_of_claims(seeds: int, images: int, deviation: float, gain: float, runs: int) -> dict[str, float]:
    """With the interval of `compare`, and with the plain quantiles of the same bootstrap."""
    rng = np.random.default_rng(seeds * images)
    claims = {OURS: 0, _PLAIN: 0}
    for run in range(runs):
        first, second = simulate(rng, seeds, images, deviation, gain)
        bootstrap = paired_bootstrap(first, second, 1000, run)
        differences = bootstrap.first - bootstrap.second
        within = interval(differences, error_of_difference(first, second), _CONFIDENCE)
        plain = np.quantile(differences, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
        for name, (low, high) in ((OURS, (within.low, within.high)), (_PLAIN, plain)):
            claims[name] += low > 0 if gain else not low <= 0 <= high
    shares = {name: count / runs for name, count in claims.items()}
    print(f"  {_setting(seeds, images, deviation)}, gain {gain:.1%}: {shares}", file=sys.stderr, flush=True)
    return shares


def _setting(seeds: int, images: int, deviation: float) -> str:
    trainings = "seed" if seeds == 1 else "seeds"
    return f"{seeds} {trainings}, {images:,} images, trainings ± {100 * deviation:.1f} points"


def _speed(repeats: int) -> Row:
    """The statistics of a verdict as `compare` asks for them, on one core."""
    first, second = simulate(np.random.default_rng(0), 5, 10_000, 0.001, 0.005)
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        bootstrap = paired_bootstrap(first, second, 10_000, 0)
        interval(bootstrap.first - bootstrap.second, error_of_difference(first, second), _CONFIDENCE)
        seconds.append(time.process_time() - began)
    print(f"  bootstrap: {statistics.median(seconds):.2f} s", file=sys.stderr, flush=True)
    return Row(
        "bootstrap of 10,000 resamples, 10,000 images x 5 seeds x 2 models",
        "s",
        OURS,
        seconds,
        bar="<= 2 s",
        note="CPU",
    )
