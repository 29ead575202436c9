"""Predictions and costs of both models -> the verdict. Called by the stage `compare`; needs no torch."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import Budget, ClassDifference, Compute, Conditions, Guessing, Interval, Study, Verdict
from reconv.errors import ComparisonError
from reconv.evaluation.audit import audit
from reconv.evaluation.guessing import guessing
from reconv.evaluation.statistics import (
    compare_classes,
    error_of_accuracy,
    error_of_difference,
    interval,
    paired_bootstrap,
)
from reconv.params import CompareParams
from reconv.places import BASELINE, CNN

_POWER = 0.8
_FEW_IMAGES = 100


def compare(
    predictions: dict[str, pd.DataFrame],
    budgets: dict[str, Budget],
    conditions: dict[str, Conditions],
    study: Study,
    class_names: tuple[str, ...],
    images_per_class: Mapping[str, int],
    params: CompareParams,
    compute: Mapping[str, Compute] | None = None,
) -> Verdict:
    """Each of the first three holds an entry for `cnn` and one for `feedforward`; `images_per_class` counts the
    training images by class name. `compute` of each model is reported beside the verdict.

    Raises:
        ComparisonError: the models were not given the same, or predictions are of different test images, or of other
            seeds than were trained.
    """
    lines = audit(budgets, conditions, params.budget_tolerance)
    answers, labels_N = _answers_of(predictions, conditions)
    correct = {model: answers_SN == labels_N for model, answers_SN in answers.items()}
    bootstrap = paired_bootstrap(correct[CNN], correct[BASELINE], params.num_resamples, params.seed)
    accuracy = {model: float(correct[model].mean()) for model in (CNN, BASELINE)}
    difference = accuracy[CNN] - accuracy[BASELINE]
    error = error_of_difference(correct[CNN], correct[BASELINE])
    of_difference = interval(bootstrap.first - bootstrap.second, error, params.confidence)
    detectable = min(1.0, error.detectable(params.confidence, _POWER))
    classes = compare_classes(correct[CNN], correct[BASELINE], labels_N, class_names, params.confidence)
    winner = CNN if of_difference.low > 0 else BASELINE if of_difference.high < 0 else None
    largest = max(class_names, key=lambda name: images_per_class.get(name, 0))
    guess = guessing(answers, labels_N, class_names.index(largest), largest, params)
    cnn = _name_of_cnn(conditions[CNN])
    return Verdict(
        accuracy=accuracy,
        accuracy_interval={
            model: interval(resampled, error_of_accuracy(correct[model]), params.confidence, lowest=0.0)
            for model, resampled in ((CNN, bootstrap.first), (BASELINE, bootstrap.second))
        },
        difference=difference,
        difference_interval=of_difference,
        confidence=params.confidence,
        detectable_difference=detectable,
        power=_POWER,
        probability_of_cnn=bootstrap.probability_of_first,
        p_value=error.p_value(difference),
        classes=classes,
        audit=lines,
        budgets=budgets,
        notes=(*_about_the_cnn(conditions[CNN]), *_notes(predictions, conditions, labels_N, class_names)),
        winner=winner,
        text=_in_words(
            _about_difference(cnn, winner, difference, of_difference, params.confidence, detectable, classes),
            cnn,
            winner,
            difference,
            of_difference,
            params.confidence,
            guess,
        ),
        why=_why(study),
        guessing=guess,
        compute=dict(compute or {}),
    )


def _answers_of(
    predictions: dict[str, pd.DataFrame], conditions: dict[str, Conditions]
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Return model -> answers (S, N), and the labels (N,)."""
    tables = {
        model: [table.sort_values("image") for _, table in predictions[model].groupby("seed", sort=True)]
        for model in (CNN, BASELINE)
    }
    for model, of_seeds in tables.items():
        seeds, trained = tuple(sorted(predictions[model]["seed"].unique().tolist())), conditions[model].seeds
        if seeds != tuple(sorted(trained)):
            raise ComparisonError(
                f"{model} was trained with the seeds {', '.join(map(str, trained))}, but there are predictions of "
                f"{', '.join(map(str, seeds)) or 'none'}: run `dvc repro --force evaluate`."
            )
        if len({len(table) for table in of_seeds}) > 1:
            raise ComparisonError(
                f"the seeds of {model} predict different numbers of images: run `dvc repro --force evaluate`."
            )
    labels_N: NDArray[np.int64] = tables[CNN][0]["label"].to_numpy()
    for table in (*tables[CNN], *tables[BASELINE]):
        if not np.array_equal(table["label"].to_numpy(), labels_N):
            raise ComparisonError(
                "the predictions of the two models are of different test images: run `dvc repro --force evaluate`."
            )
    return {model: np.stack([_answers(table) for table in of_seeds]) for model, of_seeds in tables.items()}, labels_N


def _answers(predictions: pd.DataFrame) -> NDArray[np.int64]:
    answers: NDArray[np.int64] = predictions.filter(like="logit_").to_numpy().argmax(axis=1)
    return answers


def _name_of_cnn(conditions: Conditions) -> str:
    """With what it is where it is not reconv's own."""
    network = conditions.network.get("model")
    if network is None:
        return "CNN"
    return f"CNN ({network}, {'pretrained' if conditions.weights_sha256 else 'not pretrained'})"


def _about_the_cnn(conditions: Conditions) -> list[str]:
    if conditions.weights_sha256 is None:
        return []
    weights = conditions.network["weights"]
    return [
        f"What is called CNN here is {conditions.network['model']}, which began with weights ({weights}, SHA-256 "
        f"{conditions.weights_sha256[:12]}…) that were trained on other images. The feed-forward network had none: the "
        "difference is that of pretraining and convolution together."
    ]


def _notes(
    predictions: dict[str, pd.DataFrame],
    conditions: dict[str, Conditions],
    labels_N: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> list[str]:
    notes = []
    if any(len(of_model.seeds) == 1 for of_model in conditions.values()):
        notes.append(
            "A single seed: how much a retrained model differs is not known, so the interval is of these trained "
            "networks alone. Raise train.num_seeds."
        )
    for model, of_model in conditions.items():
        if networks := sorted(set(of_model.by_seed) & set(of_model.network)):
            notes.append(
                f"The searches of {model} chose different networks ({', '.join(networks)}): parameters, multiply-adds "
                "and latency are those of seed 0."
            )
    if len(labels_N) < _FEW_IMAGES:
        notes.append(f"Only {len(labels_N)} test images: only large differences can be seen.")
    if absent := [name for label, name in enumerate(class_names) if not (labels_N == label).any()]:
        notes.append(f"No test images of {', '.join(absent)}.")
    for model, table in predictions.items():
        for seed, of_seed in table.groupby("seed"):
            if len(set(_answers(of_seed))) == 1 and len(set(labels_N)) > 1:
                notes.append(f"{model}, seed {seed}, gives every image the same class: it has learned nothing.")
    return notes


def _in_words(
    text: str, cnn: str, winner: str | None, difference: float, within: Interval, confidence: float, guess: Guessing
) -> str:
    """Return what guessing leaves of the verdict's `text`; `cnn` is the CNN's name."""
    if winner in guess.no_better or len(guess.no_better) == 2:  # worth nothing, whoever is ahead
        size = f"{difference * 100:+.1f} points, {confidence:.0%} interval {_bracketed(within)}"
        return f"{guess.text} The {cnn}'s difference to the feed-forward network is {size}."
    return f"{text} {guess.text}".rstrip()


def _bracketed(within: Interval) -> str:
    return f"[{within.low * 100:+.1f}, {within.high * 100:+.1f}]"


def _about_difference(
    cnn: str,
    winner: str | None,
    difference: float,
    within: Interval,
    confidence: float,
    detectable: float,
    classes: tuple[ClassDifference, ...],
) -> str:
    size = f"{difference * 100:+.1f} points of accuracy, {confidence:.0%} interval {_bracketed(within)}"
    found = [one for one in classes if one.adjusted_p_value < 1 - confidence]
    better = sum(one.difference > 0 for one in found)
    by_class = f"better on {better} of {len(classes)} classes, worse on {len(found) - better or 'none'}"
    if winner == CNN:
        return f"The {cnn} is worth it here: {size}; {by_class}."
    if winner == BASELINE:
        return f"The feed-forward network is enough here: the {cnn} makes {size}; it is {by_class}."
    return (
        f"These images cannot tell which is better: the {cnn} makes {size}, which contains 0. A true difference of "
        f"{detectable * 100:.1f} points would probably have shown."
    )


def _why(study: Study) -> str:
    for finding in study.findings:
        if "share_lost" in finding.numbers:
            lost = max(0.0, finding.numbers["share_lost"])
            part = "All" if lost >= 0.995 else f"{lost:.0%}" if lost >= 0.005 else "Nothing"
            return f"{part} of its lead disappears when the pixels of all images are put in one random order."
    return ""
