"""Who only guesses is told so, at the level that is promised."""

import numpy as np
import pytest

from reconv.evaluation.guessing import Answers, guessing
from reconv.params import CompareParams

PARAMS = CompareParams(confidence=0.95, num_resamples=200, budget_tolerance=0.05, seed=0)
SHARES = (0.6, 0.25, 0.15)


def labels_of(num_images: int, rng: np.random.Generator) -> Answers:
    return rng.choice(3, num_images, p=SHARES)


def answers_of(labels_N: Answers, right_K: tuple[float, ...], rng: np.random.Generator, num_seeds: int = 3) -> Answers:
    """Answers (S, N) of a network that is right on an image of class k with probability right_K[k]; what is hard for
    one training is mostly hard for another."""
    shared_N = rng.random(len(labels_N))
    own_SN = rng.random((num_seeds, len(labels_N)))
    luck_SN = np.where(rng.random(own_SN.shape) < 0.7, shared_N, own_SN)
    return np.where(luck_SN < np.array(right_K)[labels_N], labels_N, (labels_N + 1) % 3)


def test_networks_that_make_what_guessing_makes_are_called_better_as_often_as_promised() -> None:
    """Right on 80% of the largest class and on 30% of the others: 60% in all, as by always answering that class."""
    rng, num = np.random.default_rng(1), 600
    found = []
    for _ in range(num):
        labels_N = labels_of(400, rng)
        answers = {"cnn": answers_of(labels_N, (0.8, 0.3, 0.3), rng)}
        found.append(guessing(answers, labels_N, 0, "a", PARAMS))

    claimed = np.mean([not one.no_better for one in found])
    covered = np.mean([one.over["cnn"].low <= 0 <= one.over["cnn"].high for one in found])

    # Two-sided at 5%: half of it on this side; four standard errors of the simulation.
    assert claimed == pytest.approx(0.025, abs=4 * np.sqrt(0.025 * 0.975 / num))
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / num))


def test_a_network_that_has_learned_something_is_not_called_a_guesser() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(50):
        labels_N = labels_of(400, rng)
        found.append(guessing({"cnn": answers_of(labels_N, (0.9, 0.7, 0.7), rng)}, labels_N, 0, "a", PARAMS))

    assert not any(one.no_better for one in found)
    assert {one.text for one in found} == {""}


def constant(answer: int, labels_N: Answers, num_seeds: int = 2) -> Answers:
    return np.full((num_seeds, len(labels_N)), answer)


def test_the_largest_class_of_the_training_images_is_the_guess() -> None:
    labels_N = np.array([0] * 30 + [1] * 70)

    found = guessing({"cnn": constant(0, labels_N), "feedforward": constant(0, labels_N)}, labels_N, 0, "left", PARAMS)

    assert (found.class_name, found.accuracy, found.no_better) == ("left", 0.3, ("cnn", "feedforward"))
    assert found.text == (
        "Neither network is better than guessing: always answering “left” is right on 30.0% of the test images, the "
        "CNN on 30.0% (95% interval of the difference [-2.1, +2.1] points; nearly all of its answers are the same) and "
        "the feed-forward network on 30.0% (95% interval of the difference [-2.1, +2.1] points; nearly all of its "
        "answers are the same)."
    )


def test_one_answer_is_guessing_though_another_class_is_larger_in_the_test_images() -> None:
    labels_N = np.array([0] * 300 + [1] * 700)

    found = guessing({"cnn": constant(1, labels_N)}, labels_N, 0, "left", PARAMS)

    assert found.over["cnn"].low > 0
    assert found.no_better == ("cnn",)
    assert found.text.startswith("The CNN is hardly better than guessing: ")


def test_nearly_all_images_of_one_class_are_no_shame() -> None:
    """99 of 100 images are of it, and so are the answers of a network that is always right."""
    labels_N = np.array([0] * 2970 + [1] * 30)

    assert guessing({"cnn": np.stack([labels_N] * 2)}, labels_N, 0, "left", PARAMS).no_better == ()


def test_too_few_images_to_tell_is_said_as_that() -> None:
    labels_N = np.array([0] * 5 + [1] * 4)

    found = guessing({"cnn": np.stack([np.where(np.arange(9) < 6, labels_N, 0)] * 2)}, labels_N, 0, "left", PARAMS)

    assert found.text.startswith("The CNN is not proven better than guessing: ")
