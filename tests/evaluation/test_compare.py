from typing import Any

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Budget, Metrics, Score, Verdict
from reconv.errors import ComparisonError
from reconv.evaluation.compare import compare
from reconv.params import CompareParams

PARAMS = CompareParams(confidence=0.95, num_resamples=500, budget_tolerance=0.05, seed=0)
NUM_IMAGES = 200


def predictions(accuracy: float, num_seeds: int = 2, labels: np.ndarray | None = None) -> pd.DataFrame:
    """Of two classes; the first images are right."""
    labels = np.arange(NUM_IMAGES) % 2 if labels is None else labels
    wrong = np.arange(len(labels)) >= accuracy * len(labels)
    logit_1 = np.where(labels ^ wrong, 1.0, -1.0)
    return pd.concat(
        [
            pd.DataFrame(
                {"seed": seed, "image": np.arange(len(labels)), "label": labels, "logit_0": 0.0, "logit_1": logit_1}
            )
            for seed in range(num_seeds)
        ],
        ignore_index=True,
    )


def metrics(accuracy_per_class: dict[str, float]) -> Metrics:
    some = Score(mean=0.5, std=0.0, seeds=(0.5,))
    return Metrics(
        accuracy=some,
        nll=some,
        ece=some,
        accuracy_per_class=accuracy_per_class,
        num_parameters=1,
        multiply_adds=1,
        latency_ms={"1": 1.0},
        device_seconds=1.0,
    )


def budget(spent: int) -> Budget:
    return Budget(budget_epochs=spent, spent_epochs=spent, device_seconds=1.0, num_trials=1)


def verdict_of(cnn: float, feedforward: float, **changes: Any) -> Verdict:
    arguments: dict[str, Any] = {
        "predictions": {"cnn": predictions(cnn), "feedforward": predictions(feedforward)},
        "metrics": {
            "cnn": metrics({"a": 0.9, "b": 0.5, "c": 0.7}),
            "feedforward": metrics({"a": 0.8, "b": 0.5, "c": 0.8}),
        },
        "budgets": {"cnn": budget(100), "feedforward": budget(100)},
        "params": PARAMS,
    }
    return compare(**{**arguments, **changes})


def test_better_cnn_wins() -> None:
    verdict = verdict_of(0.9, 0.6)

    assert verdict.winner == "cnn"
    assert verdict.accuracy == {"cnn": 0.9, "feedforward": 0.6}
    assert verdict.difference == pytest.approx(0.3)
    assert verdict.difference_interval.low < 0.3 < verdict.difference_interval.high
    assert (verdict.mcnemar.only_cnn, verdict.mcnemar.only_feedforward) == (60, 0)


def test_better_baseline_wins() -> None:
    verdict = verdict_of(0.6, 0.9)

    assert verdict.winner == "feedforward"
    assert verdict.difference_interval.high < 0


def test_interval_with_0_has_no_winner() -> None:
    verdict = verdict_of(0.81, 0.8)

    assert verdict.difference_interval.low <= 0 <= verdict.difference_interval.high
    assert verdict.winner is None


def test_classes_that_are_better_are_counted() -> None:
    verdict = verdict_of(0.9, 0.6)

    assert (verdict.better_classes, verdict.num_classes) == (1, 3)


@pytest.mark.parametrize(
    ("cnn", "feedforward", "parts"),
    [
        (0.9, 0.6, ["The CNN is worth it here: +30.0 points", "95% interval [+", "1 of 3 classes", "p < 0.001"]),
        (0.6, 0.9, ["feed-forward network is enough here", "-30.0 points"]),
        (0.8, 0.8, ["cannot tell which is better", "contains 0", "p = 1.000"]),
    ],
)
def test_text_says_who_won_by_how_much(cnn: float, feedforward: float, parts: list[str]) -> None:
    text = verdict_of(cnn, feedforward).text

    assert [part for part in parts if part not in text] == []


def test_different_budgets_are_refused_with_both_numbers() -> None:
    with pytest.raises(ComparisonError, match=r"cnn 100 epochs, feedforward 106 epochs.*5% \(compare\.budget_tol"):
        verdict_of(0.9, 0.6, budgets={"cnn": budget(100), "feedforward": budget(106)})


@pytest.mark.parametrize(("cnn", "feedforward"), [(100, 105), (105, 100), (100, 100)])
def test_budgets_within_the_tolerance_are_taken(cnn: int, feedforward: int) -> None:
    budgets = {"cnn": budget(cnn), "feedforward": budget(feedforward)}

    assert verdict_of(0.9, 0.6, budgets=budgets).budgets == budgets


def test_different_test_images_are_refused() -> None:
    other = predictions(0.6, labels=np.zeros(NUM_IMAGES, int))

    with pytest.raises(ComparisonError, match="different test images"):
        verdict_of(0.9, 0.6, predictions={"cnn": predictions(0.9), "feedforward": other})


def test_different_numbers_of_test_images_are_refused() -> None:
    other = predictions(0.6, labels=np.arange(NUM_IMAGES - 1) % 2)

    with pytest.raises(ComparisonError, match="different test images"):
        verdict_of(0.9, 0.6, predictions={"cnn": predictions(0.9), "feedforward": other})


def test_incomplete_seed_is_refused() -> None:
    cut = predictions(0.9).iloc[:-1]

    with pytest.raises(ComparisonError, match="different numbers of images"):
        verdict_of(0.9, 0.6, predictions={"cnn": cut, "feedforward": predictions(0.6)})


def test_order_of_rows_does_not_matter() -> None:
    shuffled = predictions(0.9).sample(frac=1, random_state=0)

    verdict = verdict_of(0.9, 0.6, predictions={"cnn": shuffled, "feedforward": predictions(0.6)})

    assert verdict == verdict_of(0.9, 0.6)


def test_numbers_of_seeds_may_differ() -> None:
    fewer = {"cnn": predictions(0.9, num_seeds=1), "feedforward": predictions(0.6, num_seeds=3)}

    assert verdict_of(0.9, 0.6, predictions=fewer).winner == "cnn"
