import numpy as np
import pandas as pd
import pytest

from reconv.evaluation.metrics import (
    accuracy_per_class,
    confusion_rows,
    is_correct,
    negative_log_likelihood,
    score,
)


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities, np.float32))


def test_score_is_mean_and_sample_deviation() -> None:
    result = score([0.5, 0.75, 1.0])

    assert (result.mean, result.std, result.seeds) == (0.75, 0.25, (0.5, 0.75, 1.0))


def test_a_single_seed_has_no_deviation() -> None:
    assert score([0.5]).std == 0


def test_largest_logit_decides() -> None:
    assert is_correct(np.array([[1.0, 2.0], [2.0, 1.0]], np.float32), np.array([1, 1])).tolist() == [True, False]


def test_negative_log_likelihood_by_hand() -> None:
    logits = logits_of([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])

    assert negative_log_likelihood(logits, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)


def test_negative_log_likelihood_of_huge_logits_is_finite() -> None:
    logits = np.array([[1e30, 0.0], [1000.0, 0.0]], np.float32)

    assert negative_log_likelihood(logits[1:], np.array([1])) == pytest.approx(1000)
    assert np.isfinite(negative_log_likelihood(logits, np.array([1, 1])))


def test_logits_shifted_by_a_constant_are_the_same_prediction() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(4, size=50)

    shifted = negative_log_likelihood(logits + 5, labels)
    assert shifted == pytest.approx(negative_log_likelihood(logits, labels), abs=1e-6)


def test_accuracy_per_class_is_the_mean_over_seeds_of_classes_that_are_there() -> None:
    correct = np.array([[True, False, True, True], [True, True, False, True]])

    assert accuracy_per_class(correct, np.array([0, 0, 2, 2]), ("a", "b", "c")) == {"a": 0.75, "c": 0.75}


def test_confusion_has_the_names_of_actual_and_predicted_classes() -> None:
    predictions = pd.DataFrame({"label": [0, 1], "logit_0": [1.0, 3.0], "logit_1": [2.0, 1.0]})

    rows = confusion_rows(predictions, ("cat", "dog"))

    assert rows.to_dict("list") == {"actual": ["cat", "dog"], "predicted": ["dog", "cat"]}
