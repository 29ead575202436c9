import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from benchmarks.verdict import simulate
from reconv.evaluation.statistics import (
    Error,
    compare_classes,
    error_of_accuracy,
    error_of_difference,
    interval,
    paired_bootstrap,
)


def naive_bootstrap(first_SN: NDArray, second_SN: NDArray, num_resamples: int) -> tuple[NDArray, NDArray]:
    """Image by image and seed by seed, as the textbook has it; half an image of each outcome is added."""
    rng = np.random.default_rng(1)
    num_seeds, num_images = first_SN.shape
    padding = np.repeat([[0, 0, 1, 1], [0, 1, 0, 1]], num_seeds, axis=0)
    both = np.concatenate([np.concatenate([first_SN, second_SN]).astype(float), padding], axis=1)
    weights = np.append(np.ones(num_images), np.full(4, 0.5)) / (num_images + 2)
    resampled = np.empty((2, num_resamples))
    for r in range(num_resamples):
        images = rng.choice(num_images + 4, size=num_images, p=weights)
        for i, correct in enumerate((both[:num_seeds], both[num_seeds:])):
            resampled[i, r] = correct[rng.integers(num_seeds, size=num_seeds)][:, images].mean()
    return resampled[0], resampled[1]


def correlated(num_seeds: int, num_images: int, accuracies: tuple[float, float]) -> tuple[NDArray, NDArray]:
    """Two models that find the same images hard."""
    rng = np.random.default_rng(0)
    hardness = rng.random(num_images)
    first, second = ((hardness + rng.normal(0, 0.2, (num_seeds, num_images))) < accuracy for accuracy in accuracies)
    return first, second


def difference_interval(first: NDArray, second: NDArray, confidence: float = 0.95, num_resamples: int = 1000):
    bootstrap = paired_bootstrap(first, second, num_resamples, seed=0)
    return interval(bootstrap.first - bootstrap.second, error_of_difference(first, second), confidence)


def test_identical_predictions_have_an_interval_around_0() -> None:
    one = np.random.default_rng(0).random((1, 100)) < 0.8

    within = difference_interval(one, one)

    assert -0.05 < within.low < 0 < within.high < 0.05


def test_always_right_against_always_wrong_is_beyond_doubt_but_not_certain() -> None:
    within = difference_interval(np.ones((2, 50), bool), np.zeros((2, 50), bool))

    assert 0.8 < within.low < within.high <= 1


@pytest.mark.parametrize("num_discordant", [1, 2, 3])
def test_a_few_images_prove_nothing(num_discordant: int) -> None:
    first, second = np.ones((1, 20), bool), np.ones((1, 20), bool)
    second[:, :num_discordant] = False

    within = difference_interval(first, second)

    assert within.low < 0 < num_discordant / 20 < within.high


@pytest.mark.parametrize(("accuracies", "sign"), [((0.9, 0.6), 1), ((0.6, 0.9), -1)])
def test_large_difference_excludes_0(accuracies: tuple[float, float], sign: int) -> None:
    first, second = correlated(3, 500, accuracies)

    within = difference_interval(first, second, 0.99)

    low, high = sorted((sign * within.low, sign * within.high))
    assert 0.15 < low < 0.3 < high < 0.45


def test_counting_patterns_is_drawing_images() -> None:
    first, second = correlated(3, 200, (0.8, 0.7))
    num_resamples = 4000

    bootstrap = paired_bootstrap(first, second, num_resamples, seed=0)
    naive_first, naive_second = naive_bootstrap(first, second, num_resamples)

    for ours, naive in (
        (bootstrap.first, naive_first),
        (bootstrap.second, naive_second),
        (bootstrap.first - bootstrap.second, naive_first - naive_second),
    ):
        spread = naive.std()
        assert ours.mean() == pytest.approx(naive.mean(), abs=4 * spread * np.sqrt(2 / num_resamples))
        assert ours.std() == pytest.approx(spread, rel=0.06)
        np.testing.assert_allclose(np.quantile(ours, [0.025, 0.975]), np.quantile(naive, [0.025, 0.975]), atol=0.01)


def test_same_seed_gives_the_same_resamples() -> None:
    first, second = correlated(2, 50, (0.8, 0.7))
    bootstraps = [paired_bootstrap(first, second, 100, seed) for seed in (0, 0, 1)]

    np.testing.assert_array_equal(bootstraps[0].first, bootstraps[1].first)
    assert not np.array_equal(bootstraps[0].first, bootstraps[2].first)


def test_models_may_have_different_numbers_of_seeds() -> None:
    first, second = correlated(3, 50, (0.8, 0.7))

    bootstrap = paired_bootstrap(first, second[:1], 100, seed=0)

    assert bootstrap.first.shape == bootstrap.second.shape == (100,)
    assert np.isfinite(error_of_difference(first, second[:1]).standard_error)


def test_more_confidence_gives_a_wider_interval() -> None:
    first, second = correlated(2, 100, (0.8, 0.7))

    wide, narrow = (difference_interval(first, second, confidence) for confidence in (0.99, 0.8))

    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_accuracy_stays_within_0_and_1() -> None:
    always = np.ones((2, 10), bool)
    bootstrap = paired_bootstrap(always, ~always, 500, seed=0)

    of_first = interval(bootstrap.first, error_of_accuracy(always), 0.95, lowest=0.0)
    of_second = interval(bootstrap.second, error_of_accuracy(~always), 0.95, lowest=0.0)

    assert 0.5 < of_first.low < of_first.high <= 1
    assert 0 <= of_second.low < of_second.high < 0.5


def test_one_seed_and_many_images_give_the_error_of_a_mean() -> None:
    first, second = correlated(1, 5000, (0.8, 0.7))
    differences = first[0].astype(float) - second[0]

    error = error_of_difference(first, second)

    assert error.standard_error == pytest.approx(differences.std(ddof=1) / np.sqrt(5000), rel=0.01)
    assert error.degrees_of_freedom > 4000


def test_the_error_is_the_spread_over_repeated_experiments() -> None:
    rng = np.random.default_rng(0)
    experiments = [simulate(rng, 4, 800, deviation=0.02) for _ in range(400)]

    differences = [first.mean() - second.mean() for first, second in experiments]
    variances = [error_of_difference(first, second).standard_error ** 2 for first, second in experiments]

    assert np.mean(variances) == pytest.approx(np.var(differences), rel=0.2)


@pytest.mark.parametrize(("seed_deviation", "num_seeds"), [(0.0, 3), (0.002, 3), (0.01, 3), (0.002, 5)])
def test_a_difference_that_is_not_there_is_claimed_in_5_of_100(seed_deviation: float, num_seeds: int) -> None:
    """Benchmark `verdict` does it in full."""
    rng = np.random.default_rng(0)
    num_runs = 200

    claims = 0
    for _ in range(num_runs):
        within = difference_interval(*simulate(rng, num_seeds, 2000, seed_deviation), num_resamples=400)
        claims += not within.low <= 0 <= within.high

    assert claims <= 0.05 * num_runs + 3 * np.sqrt(0.05 * 0.95 * num_runs)


def test_half_a_point_on_10_000_images_is_found() -> None:
    rng = np.random.default_rng(0)
    num_runs = 50

    found = sum(
        difference_interval(*simulate(rng, 5, 10_000, 0.001, gain=0.005), num_resamples=400).low > 0
        for _ in range(num_runs)
    )

    assert found >= 0.8 * num_runs - 3 * np.sqrt(0.8 * 0.2 * num_runs)


def test_the_detectable_difference_is_found_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    error = Error(standard_error=0.01, degrees_of_freedom=12.0)
    true = error.detectable(0.95, power=0.8)

    estimates = rng.normal(true, error.standard_error, 20_000)
    estimated_errors = error.standard_error * np.sqrt(rng.chisquare(12, 20_000) / 12)

    assert (estimates > t.ppf(0.975, 12) * estimated_errors).mean() == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize(
    ("accuracies", "low", "high"), [((0.9, 0.6), 0.999, 1), ((0.6, 0.9), 0, 0.001), ((0.8, 0.8), 0.2, 0.8)]
)
def test_probability_that_a_retrained_first_is_ahead(accuracies: tuple[float, float], low: float, high: float) -> None:
    assert low <= paired_bootstrap(*correlated(4, 500, accuracies), 2000, seed=0).probability_of_first <= high


def test_two_that_always_agree_are_ahead_half_of_the_time() -> None:
    one = np.random.default_rng(0).random((1, 100)) < 0.8

    assert paired_bootstrap(one, one, 4000, seed=0).probability_of_first == pytest.approx(0.5, abs=0.05)


def test_classes_are_corrected_for_their_number_and_absent_ones_left_out() -> None:
    labels = np.repeat([0, 1, 3], 200)
    first, second = correlated(3, 600, (0.8, 0.8))
    first[:, labels == 1] = True
    second[:, labels == 1] &= np.arange(200) % 3 != 0

    rows = compare_classes(first, second, labels, ("a", "b", "c", "d"), 0.95)

    assert [(row.name, row.num_images) for row in rows] == [("a", 200), ("b", 200), ("d", 200)]
    by_name = {row.name: row for row in rows}
    assert by_name["b"].adjusted_p_value < 0.001
    assert by_name["b"].interval.low > 0.2
    for name in ("a", "d"):
        of_class = labels == "abcd".index(name)
        error = error_of_difference(first[:, of_class], second[:, of_class])
        alone = 2 * t.sf(abs(by_name[name].difference) / error.standard_error, error.degrees_of_freedom)
        assert alone <= by_name[name].adjusted_p_value <= 1


def test_a_class_with_a_single_image_proves_nothing() -> None:
    (row,) = compare_classes(np.ones((3, 1), bool), np.zeros((3, 1), bool), np.array([0]), ("a",), 0.95)

    assert row.difference == 1
    assert row.interval.low < 0
    assert row.adjusted_p_value > 0.05
