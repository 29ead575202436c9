import numpy as np
import pandas as pd
import pytest

from reconv.explain.answers import Answers, answers_in, surest, surest_of_each_class


def answers(*triples: tuple[int, int, float]) -> Answers:
    """Label, answer and confidence of each image."""
    labels, predicted, confidence = (np.array(column) for column in zip(*triples, strict=True))
    return Answers(labels, predicted, confidence)


def test_confidence_is_calibrated_and_in_the_order_of_the_split() -> None:
    table = pd.DataFrame({"image": [1, 0], "label": [1, 0], "logit_0": [0.0, 4.0], "logit_1": [2.0, 0.0]})

    found = answers_in(table, temperature=2.0)

    assert found.labels.tolist() == found.predicted.tolist() == [0, 1]
    np.testing.assert_allclose(found.confidence, [np.exp(2) / (np.exp(2) + 1), np.e / (np.e + 1)])


def test_the_surest_come_first_and_ties_in_order() -> None:
    some = answers((0, 0, 0.5), (0, 1, 0.7), (0, 1, 0.9), (0, 1, 0.7), (0, 1, 0.6))

    assert surest(some, ~some.is_right, 3).tolist() == [2, 1, 3]


def test_each_class_has_its_surest_right_and_wrong_answer() -> None:
    some = answers((0, 0, 0.6), (1, 0, 0.5), (0, 0, 0.9), (1, 1, 0.4), (0, 1, 0.7), (1, 0, 0.8))

    assert surest_of_each_class(some, 10).tolist() == [2, 4, 3, 5]


def test_a_class_that_is_always_right_has_one_answer_and_an_absent_one_none() -> None:
    assert surest_of_each_class(answers((0, 0, 0.6), (2, 2, 0.5)), 10).tolist() == [0, 1]


@pytest.mark.parametrize(("num_classes", "labels"), [(0, []), (1, [2]), (2, [1, 2])])
def test_of_many_classes_those_with_the_most_mistakes_are_shown(num_classes: int, labels: list[int]) -> None:
    some = answers((0, 0, 0.9), (1, 0, 0.9), (2, 0, 0.9), (2, 1, 0.8))

    assert sorted(set(some.labels[surest_of_each_class(some, num_classes)])) == labels
