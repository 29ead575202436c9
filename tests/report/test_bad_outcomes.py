"""Outcomes that a careless page would show as NaN: it says what there is to say, or that it cannot tell."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Budget, Conditions, Metrics, Score
from reconv.evaluation.compare import compare
from reconv.evaluation.metrics import accuracy_per_class, score
from reconv.params import CompareParams, ReportParams
from reconv.report.page import Contents, render

PARAMS = CompareParams(confidence=0.95, num_resamples=500, budget_tolerance=0.05, seed=0)
CLASSES = ("a", "b", "c")


def answers(labels: np.ndarray, num_seeds: int, wrong_share: float, always: int | None = None) -> pd.DataFrame:
    """`always` is the only class that is ever answered."""
    rng = np.random.default_rng(int(wrong_share * 100))
    tables = []
    for seed in range(num_seeds):
        predicted = np.where(rng.random(len(labels)) < wrong_share, (labels + 1) % 3, labels)
        predicted = predicted if always is None else np.full(len(labels), always)
        logits = {f"logit_{k}": (predicted == k).astype(float) for k in range(3)}
        tables.append(pd.DataFrame({"seed": seed, "image": np.arange(len(labels)), "label": labels, **logits}))
    return pd.concat(tables, ignore_index=True)


def of_table(metrics: Metrics, table: pd.DataFrame) -> Metrics:
    right = table.filter(like="logit_").to_numpy().argmax(axis=1) == table["label"]
    of_seeds = [group.to_numpy() for _, group in right.groupby(table["seed"])]
    labels = table[table["seed"] == 0]["label"].to_numpy()
    accuracies: Score = score([float(one.mean()) for one in of_seeds])
    per_class = accuracy_per_class(np.stack(of_seeds), labels, CLASSES)
    return metrics.model_copy(update={"accuracy": accuracies, "accuracy_per_class": per_class})


MANY = np.arange(300) % 3
CASES = {
    "a single seed": ((MANY, 1, 0.1), (MANY, 1, 0.3)),
    "a class without test images": ((MANY % 2, 2, 0.1), (MANY % 2, 2, 0.3)),
    "20 test images": ((MANY[:20], 2, 0.1), (MANY[:20], 2, 0.3)),
    "one test image": ((MANY[:1], 2, 0.0), (MANY[:1], 2, 1.0)),
    "a model with one answer": ((MANY, 2, 0.1), (MANY, 2, 0.0, 1)),
    "two models with one answer": ((MANY, 2, 0.0, 1), (MANY, 2, 0.0, 1)),
    "identical predictions": ((MANY, 2, 0.2), (MANY, 2, 0.2)),
    "always right against always wrong": ((MANY, 2, 0.0), (MANY, 2, 1.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_has_no_value_that_is_none(
    case: str,
    contents: Contents,
    report_params: ReportParams,
    make_budget: Callable[..., Budget],
    make_conditions: Callable[..., Conditions],
) -> None:
    tables = {model: answers(*given) for model, given in zip(("cnn", "feedforward"), CASES[case], strict=True)}
    conditions = {model: make_conditions(seeds=tuple(sorted(set(t["seed"])))) for model, t in tables.items()}
    budgets = {model: make_budget() for model in tables}

    verdict = compare(tables, budgets, conditions, contents.study, CLASSES, dict.fromkeys(CLASSES, 9), PARAMS)
    page = render(
        dataclasses.replace(
            contents,
            verdict=verdict,
            metrics={model: of_table(contents.metrics[model], table) for model, table in tables.items()},
            manifest=contents.manifest.model_copy(update={"class_names": CLASSES}),
            data_report=contents.data_report.model_copy(
                update={"images_per_class": {"test": dict.fromkeys(CLASSES, 1)}}
            ),
        ),
        report_params,
    )

    assert all(np.isfinite(value) for value in verdict.as_metrics().values())
    assert verdict.difference_interval.low < verdict.difference_interval.high
    seen = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf)\b", seen, re.IGNORECASE)
    assert verdict.text.split(":")[0] in seen
