"""Who becomes champion."""

import numpy as np
import pytest

from reconv.artifacts import Interval, McNemar, Verdict
from reconv.registry import accuracy_of, decide


def make_verdict(winner: str | None) -> Verdict:
    return Verdict(
        accuracy={"cnn": 0.9, "feedforward": 0.8},
        accuracy_interval={name: Interval(low=0.7, high=0.95) for name in ("cnn", "feedforward")},
        difference=0.1,
        difference_interval=Interval(low=0.05, high=0.15),
        confidence=0.95,
        mcnemar=McNemar(only_cnn=20, only_feedforward=5, p_value=0.01),
        detectable_difference=0.02,
        power=0.8,
        probability_of_cnn=0.9,
        classes=(),
        audit=(),
        budgets={},
        notes=(),
        winner=winner,
        text="The CNN is worth it here.",
        why="",
    )


@pytest.mark.parametrize("champion_accuracy", [None, 0.85, 0.9])
@pytest.mark.parametrize("winner", ["cnn", "feedforward"])
def test_a_winner_that_is_not_worse_than_the_champion_takes_its_place(winner, champion_accuracy):
    assert decide(make_verdict(winner), 0.9, champion_accuracy).alias == "champion"


def test_a_winner_that_is_worse_than_the_champion_stays_challenger_and_says_by_how_much():
    decision = decide(make_verdict("cnn"), 0.9, 0.91)
    assert decision.alias == "challenger"
    assert "90.00%" in decision.reason
    assert "91.00%" in decision.reason


@pytest.mark.parametrize("champion_accuracy", [None, 0.1])
def test_without_a_winner_nobody_is_promoted(champion_accuracy):
    decision = decide(make_verdict(None), 0.9, champion_accuracy)
    assert decision.alias == "challenger"
    assert "contains 0" in decision.reason


def test_accuracy_counts_class_names():
    predicted = np.array(["a", "b", "b", "a"])
    assert accuracy_of(predicted, np.array([0, 1, 0, 0]), ("a", "b")) == 0.75
