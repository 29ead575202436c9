"""Which trial a search ends with."""

import numpy as np
import pytest

from reconv.search.choice import TrialResult, choose, paired_lead

VALUES = {number: {"lr": 0.1 / number} for number in (1, 2, 3)}


def trial(number: int, num_right: int | None, num_images: int = 1000, accuracy: float | None = None) -> TrialResult:
    """The first images are answered rightly, so that the one with more of them is never beaten on any image."""
    if num_right is None:
        assert accuracy is not None
        return TrialResult(number, 1, accuracy, None)
    right = np.arange(num_images) < num_right
    return TrialResult(number, 4, num_right / num_images if accuracy is None else accuracy, right)


@pytest.mark.parametrize(("ahead", "chosen"), [(-20, 1), (0, 1), (1, 1), (20, 2)])
def test_the_values_of_params_yaml_are_left_only_for_a_lead(ahead, chosen):
    choice = choose([trial(1, 800), trial(2, 800 + ahead), trial(3, 700)], VALUES, incumbent=1, min_lead=1.2)
    assert choice.trial == chosen
    assert choice.values == VALUES[chosen]
    assert choice.is_incumbent == (chosen == 1)
    assert choice.lead == pytest.approx(max(ahead, -100) / 1002)
    assert choice.lead_error is not None and choice.lead_error > 0


def test_a_trial_that_was_stopped_early_does_not_replace_them():
    choice = choose([trial(1, 800), trial(2, None, accuracy=0.99)], VALUES, incumbent=1, min_lead=1.2)
    assert (choice.trial, choice.is_incumbent, choice.lead) == (1, True, None)


@pytest.mark.parametrize("incumbent", [None, 1, 9])
def test_without_any_that_trained_to_the_end_the_highest_accuracy_is_chosen(incumbent):
    choice = choose([trial(1, None, accuracy=0.5), trial(2, None, accuracy=0.6)], VALUES, incumbent, min_lead=1.2)
    assert (choice.trial, choice.is_incumbent) == (2, False)


def test_the_error_of_a_lead_is_that_of_many_sets_of_images():
    rng = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        hardness = rng.normal(size=1000)
        return hardness + rng.normal(0, 0.3, 1000) < 1.0, hardness + rng.normal(0, 0.3, 1000) < 1.0

    leads, errors = np.array([paired_lead(*draw()) for _ in range(400)]).T
    assert np.mean(errors) == pytest.approx(np.std(leads), rel=0.15)
    assert np.mean(np.abs(leads) > 1.96 * errors) < 0.09


def test_two_trials_that_never_disagree_are_not_known_to_be_equal():
    right = np.ones(10, bool)
    lead, error = paired_lead(right, right)
    assert lead == 0
    assert error > 0
