"""Predictions and costs of both models -> the verdict. Called by the stage `compare`; needs no torch."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import BASELINE, CNN, Budget, Interval, McNemar, Metrics, Verdict
from reconv.errors import ComparisonError
from reconv.evaluation.statistics import mcnemar, paired_bootstrap
from reconv.params import CompareParams


def compare(
    predictions: dict[str, pd.DataFrame],
    metrics: dict[str, Metrics],
    budgets: dict[str, Budget],
    params: CompareParams,
) -> Verdict:
    """Each argument holds an entry for `cnn` and one for `feedforward`.

    Raises:
        ComparisonError: budgets differ by more than the tolerance, or predictions are of different test images.
    """
    _check_budgets(budgets, params.budget_tolerance)
    correct = {model: _correct(predictions[model]) for model in (CNN, BASELINE)}
    if not np.array_equal(_labels(predictions[CNN]), _labels(predictions[BASELINE])):
        raise ComparisonError(
            "the predictions of the two models are of different test images: run `dvc repro --force evaluate`."
        )
    bootstrap = paired_bootstrap(correct[CNN], correct[BASELINE], params.num_resamples, params.seed)
    accuracy = {model: float(correct[model].mean()) for model in (CNN, BASELINE)}
    difference = accuracy[CNN] - accuracy[BASELINE]
    interval = bootstrap.interval(bootstrap.first - bootstrap.second, params.confidence)
    test = mcnemar(correct[CNN], correct[BASELINE])
    classes = metrics[CNN].accuracy_per_class
    better = sum(classes[name] > metrics[BASELINE].accuracy_per_class[name] for name in classes)
    winner = CNN if interval.low > 0 else BASELINE if interval.high < 0 else None
    return Verdict(
        accuracy=accuracy,
        accuracy_interval={
            CNN: bootstrap.interval(bootstrap.first, params.confidence),
            BASELINE: bootstrap.interval(bootstrap.second, params.confidence),
        },
        difference=difference,
        difference_interval=interval,
        confidence=params.confidence,
        mcnemar=test,
        budgets=budgets,
        better_classes=better,
        num_classes=len(classes),
        winner=winner,
        text=_in_words(winner, difference, interval, params.confidence, better, len(classes), test),
    )


def _check_budgets(budgets: dict[str, Budget], tolerance: float) -> None:
    spent = {model: budget.spent_epochs for model, budget in budgets.items()}
    if max(spent.values()) > min(spent.values()) * (1 + tolerance):
        listed = ", ".join(f"{model} {epochs} epochs" for model, epochs in spent.items())
        raise ComparisonError(
            f"the searches spent {listed}; they may differ by {tolerance:.0%} (compare.budget_tolerance): "
            "run `dvc repro --force search`, so that both have the same budget."
        )


def _by_seed(predictions: pd.DataFrame) -> list[pd.DataFrame]:
    return [table.sort_values("image") for _, table in predictions.groupby("seed", sort=True)]


def _correct(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """(seeds, images)."""
    tables = _by_seed(predictions)
    if len({len(table) for table in tables}) > 1:
        raise ComparisonError(
            "the seeds of a model predict different numbers of images: run `dvc repro --force evaluate`."
        )
    return np.stack(
        [table.filter(like="logit_").to_numpy().argmax(axis=1) == table["label"].to_numpy() for table in tables]
    )


def _labels(predictions: pd.DataFrame) -> NDArray[np.int64]:
    labels: NDArray[np.int64] = _by_seed(predictions)[0]["label"].to_numpy()
    return labels


def _in_words(
    winner: str | None,
    difference: float,
    interval: Interval,
    confidence: float,
    better: int,
    num_classes: int,
    test: McNemar,
) -> str:
    size = (
        f"{difference * 100:+.1f} points of accuracy, {confidence:.0%} interval "
        f"[{interval.low * 100:+.1f}, {interval.high * 100:+.1f}]"
    )
    if winner == CNN:
        lead = f"The CNN is worth it here: {size}; it is better on {better} of {num_classes} classes"
    elif winner == BASELINE:
        lead = f"The feed-forward network is enough here: the CNN makes {size}"
    else:
        lead = f"These images cannot tell which is better: the CNN makes {size}, which contains 0"
    return f"{lead} (McNemar p {_p_text(test.p_value)})."


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
