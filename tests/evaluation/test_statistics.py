import numpy as np
import pytest
from numpy.typing import NDArray

from reconv.evaluation.statistics import mcnemar, paired_bootstrap


def naive_bootstrap(first_SN: NDArray, second_SN: NDArray, num_resamples: int) -> tuple[NDArray, NDArray]:
    """Image by image and seed by seed, as the textbook has it."""
    rng = np.random.default_rng(1)
    num_seeds, num_images = first_SN.shape
    resampled = np.empty((2, num_resamples))
    for r in range(num_resamples):
        images = rng.integers(num_images, size=num_images)
        for i, correct in enumerate((first_SN, second_SN)):
            resampled[i, r] = correct[rng.integers(num_seeds, size=num_seeds)][:, images].mean()
    return resampled[0], resampled[1]


def correlated(num_seeds: int, num_images: int, accuracies: tuple[float, float]) -> tuple[NDArray, NDArray]:
    """Two models that find the same images hard."""
    rng = np.random.default_rng(0)
    hardness = rng.random(num_images)
    first, second = ((hardness + rng.normal(0, 0.2, (num_seeds, num_images))) < accuracy for accuracy in accuracies)
    return first, second


def test_identical_predictions_have_no_difference() -> None:
    one = np.random.default_rng(0).random((1, 100)) < 0.8

    bootstrap = paired_bootstrap(one, one, 500, seed=0)

    interval = bootstrap.interval(bootstrap.first - bootstrap.second, 0.95)
    assert (interval.low, interval.high) == (0, 0)


def test_seeds_that_differ_leave_room_for_a_difference() -> None:
    several = np.random.default_rng(0).random((3, 100)) < 0.8

    bootstrap = paired_bootstrap(several, several, 500, seed=0)

    interval = bootstrap.interval(bootstrap.first - bootstrap.second, 0.95)
    assert interval.low < 0 < interval.high


@pytest.mark.parametrize(("accuracies", "sign"), [((0.9, 0.6), 1), ((0.6, 0.9), -1)])
def test_large_difference_excludes_0(accuracies: tuple[float, float], sign: int) -> None:
    bootstrap = paired_bootstrap(*correlated(3, 500, accuracies), 1000, seed=0)

    interval = bootstrap.interval(sign * (bootstrap.first - bootstrap.second), 0.99)
    assert 0.15 < interval.low < 0.3 < interval.high < 0.45


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


def test_more_confidence_gives_a_wider_interval() -> None:
    bootstrap = paired_bootstrap(*correlated(2, 100, (0.8, 0.7)), 1000, seed=0)

    wide, narrow = (bootstrap.interval(bootstrap.first, confidence) for confidence in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high


def discordant(only_first: int, only_second: int) -> tuple[NDArray, NDArray]:
    """One seed; five images that both get right besides."""
    first = np.array([[True] * only_first + [False] * only_second + [True] * 5])
    second = np.array([[False] * only_first + [True] * only_second + [True] * 5])
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 2**5),
        (1, 5, 2 * (1 + 6) / 2**6),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar_is_the_exact_test(only_first: int, only_second: int, p_value: float) -> None:
    result = mcnemar(*discordant(only_first, only_second))

    assert (result.only_cnn, result.only_feedforward) == (only_first, only_second)
    assert result.p_value == pytest.approx(p_value)


def test_mcnemar_counts_what_most_seeds_get_right() -> None:
    first = np.array([[True, True], [True, False], [False, False]])
    second = np.zeros((3, 2), bool)

    assert mcnemar(first, second).only_cnn == 1
