"""Trained classifiers, validation and test split -> predictions, metrics, calibration. Called by the stage `evaluate`.

In float32 whatever the precision of training, so that a served model gives the same numbers.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reconv.artifacts import LabelCheck, Metrics, TrainingCost
from reconv.data.arrays import PreparedData, Split
from reconv.evaluation.calibration import (
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from reconv.evaluation.cost import count_multiply_adds, latency_ms
from reconv.evaluation.label_errors import label_errors
from reconv.evaluation.metrics import Logits, accuracy_per_class, is_correct, negative_log_likelihood, score
from reconv.models.classifier import load_classifier
from reconv.models.size import count_parameters
from reconv.params import EvaluateParams
from reconv.serving.logits import predict_logits
from reconv.training.energy import metered
from reconv.training.precision import best_device


@dataclass(frozen=True)
class Evaluation:
    predictions: pd.DataFrame
    """A row per seed and test image: seed, image (its index in the test split), label, logit_0, logit_1, ..."""
    calibration: pd.DataFrame
    """Reliability of all seeds together, `before` and `after` scaling: state, bin, images, confidence, accuracy."""
    suspects: pd.DataFrame
    """Validation and test images whose label is probably wrong: split, index, file, then as `label_errors` has it."""
    metrics: Metrics


def evaluate(folders: dict[int, Path], data: PreparedData, cost: TrainingCost, params: EvaluateParams) -> Evaluation:
    """Predict every test image with the classifier of each seed (seed -> folder), and measure.

    Each seed's temperature is fitted to its predictions of the validation images, which it was not trained on.
    """
    device = best_device()
    test = data.test
    logits_SNK, held_out_SNK, temperatures = [], [], []
    began = time.perf_counter()
    with metered(state=None) as meter:
        for folder in folders.values():
            classifier = load_classifier(folder)
            logits_SNK.append(predict_logits(classifier, test, params.batch_size, device))
            held_out_SNK.append(predict_logits(classifier, data.validation, params.batch_size, device))
            temperatures.append(fit_temperature(held_out_SNK[-1], data.validation.labels))
    seconds = time.perf_counter() - began
    classifier = load_classifier(next(iter(folders.values())))  # the seeds' searches may have chosen other networks
    scaled_SNK, scaled_held_out_SNK = (
        [logits_NK / np.float32(t) for logits_NK, t in zip(of_seeds, temperatures, strict=True)]
        for of_seeds in (logits_SNK, held_out_SNK)
    )
    suspects, label_check = _suspects(data, scaled_held_out_SNK, scaled_SNK)
    correct_SN = np.stack([is_correct(logits_NK, test.labels) for logits_NK in logits_SNK])
    metrics = Metrics(
        accuracy=score([float(correct_N.mean()) for correct_N in correct_SN]),
        nll=score([negative_log_likelihood(logits_NK, test.labels) for logits_NK in logits_SNK]),
        ece=score([expected_calibration_error(logits_NK, test.labels) for logits_NK in logits_SNK]),
        temperature=score(temperatures),
        scaled_nll=score([negative_log_likelihood(logits_NK, test.labels) for logits_NK in scaled_SNK]),
        scaled_ece=score([expected_calibration_error(logits_NK, test.labels) for logits_NK in scaled_SNK]),
        scaled_ece_by_chance=float(np.mean([calibration_error_by_chance(logits_NK) for logits_NK in scaled_SNK])),
        labels=label_check,
        accuracy_per_class=accuracy_per_class(correct_SN, test.labels, data.manifest.class_names),
        num_parameters=count_parameters(classifier),
        multiply_adds=count_multiply_adds(classifier.cpu()),
        latency_ms={str(size): latency_ms(classifier, size, device) for size in params.latency_batch_sizes},
        device_seconds=float(np.mean(cost.device_seconds)),
        evaluation_device_seconds=seconds * (1 if device.type == "cuda" else torch.get_num_threads()),
        evaluation_energy=meter.energy,
    )
    tables = [_table(seed, test, logits_NK) for seed, logits_NK in zip(folders, logits_SNK, strict=True)]
    labels = np.tile(test.labels, len(folders))
    calibration = [
        reliability(np.concatenate(logits), labels).assign(state=state)
        for state, logits in (("before", logits_SNK), ("after", scaled_SNK))
    ]
    return Evaluation(
        predictions=pd.concat(tables, ignore_index=True),
        calibration=pd.concat(calibration, ignore_index=True),
        suspects=suspects,
        metrics=metrics,
    )


def _suspects(
    data: PreparedData, validation_SNK: list[Logits], test_SNK: list[Logits]
) -> tuple[pd.DataFrame, LabelCheck]:
    both_SNK = [np.concatenate(pair) for pair in zip(validation_SNK, test_SNK, strict=True)]
    labels = np.concatenate([data.validation.labels, data.test.labels])
    found = label_errors(both_SNK, labels, data.manifest.class_names)
    suspects = found.suspects
    positions = suspects.pop("position").to_numpy(np.int64)
    in_test = positions >= len(data.validation)
    indices = np.where(in_test, positions - len(data.validation), positions)
    suspects.insert(0, "split", np.where(in_test, "test", "validation"))
    suspects.insert(1, "index", indices)
    names = np.empty(len(indices), object)
    for split, chosen in (("validation", ~in_test), ("test", in_test)):
        names[chosen] = data.names(split, indices[chosen])
    suspects.insert(2, "file", names)
    return suspects, found.check


def _table(seed: int, test: Split, logits_NK: Logits) -> pd.DataFrame:
    columns = {f"logit_{k}": logits_NK[:, k] for k in range(logits_NK.shape[1])}
    return pd.DataFrame({"seed": seed, "image": np.arange(len(test)), "label": test.labels, **columns})
