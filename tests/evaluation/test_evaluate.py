from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reconv.artifacts import LabelCheck, TrainingCost
from reconv.data.arrays import PreparedData
from reconv.evaluation import evaluate as module
from reconv.evaluation.calibration import fit_temperature
from reconv.evaluation.evaluate import Evaluation, evaluate
from reconv.evaluation.label_errors import LabelErrors
from reconv.files import write_bytes, write_json
from reconv.models.classifier import load_classifier, new_classifier, weights_as_bytes
from reconv.params import Params
from reconv.serving.logits import predict_logits

COST = TrainingCost(
    device_seconds=(2.0, 4.0), energy=None, wall_seconds=5.0, images_per_second=100.0, device="cpu", precision="32-true"
)
CPU = torch.device("cpu")


@pytest.fixture
def folders(params: Params, prepared: PreparedData) -> dict[int, Path]:
    """Untrained classifiers of two seeds."""
    made = {seed: Path(f"seed-{seed}") for seed in range(2)}
    for seed, path in made.items():
        torch.manual_seed(seed)
        classifier = new_classifier("cnn", params.models.cnn, prepared.manifest)
        write_bytes(path / "weights.safetensors", weights_as_bytes(classifier))
        write_json(path / "model.json", classifier.arguments)
    return made


@pytest.fixture
def outcome(folders: dict[int, Path], prepared: PreparedData, params: Params) -> Evaluation:
    return evaluate(folders, prepared, COST, params.evaluate)


def test_the_table_has_a_row_for_each_seed_and_test_image(outcome: Evaluation, prepared: PreparedData) -> None:
    table = outcome.predictions

    assert list(table.columns) == ["seed", "image", "label", "logit_0", "logit_1", "logit_2"]
    assert len(table) == 2 * len(prepared.test)
    for _, rows in table.groupby("seed"):
        assert rows["image"].tolist() == list(range(len(prepared.test)))
        assert rows["label"].tolist() == prepared.test.labels.tolist()


def test_measures_are_those_of_each_classifier_by_itself(
    outcome: Evaluation, folders: dict[int, Path], prepared: PreparedData
) -> None:
    metrics = outcome.metrics
    labels = torch.from_numpy(prepared.test.labels)

    for index, path in enumerate(folders.values()):
        with torch.inference_mode():
            logits = load_classifier(path)(torch.from_numpy(prepared.test.images[:]))
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        assert metrics.accuracy.seeds[index] == pytest.approx(accuracy)
        assert metrics.nll.seeds[index] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), 1e-5)


def test_accuracy_is_the_mean_of_its_classes_when_these_are_of_one_size(
    outcome: Evaluation, prepared: PreparedData
) -> None:
    metrics = outcome.metrics

    assert tuple(metrics.accuracy_per_class) == prepared.manifest.class_names
    assert np.mean(list(metrics.accuracy_per_class.values())) == pytest.approx(metrics.accuracy.mean)


def test_costs_are_of_one_classifier(outcome: Evaluation) -> None:
    metrics = outcome.metrics

    assert metrics.device_seconds == 3.0
    assert metrics.num_parameters > 0
    assert metrics.multiply_adds > 0
    assert list(metrics.latency_ms) == ["1"]


def test_the_temperature_comes_from_the_validation_images(
    outcome: Evaluation, folders: dict[int, Path], prepared: PreparedData
) -> None:
    for index, path in enumerate(folders.values()):
        held_out = predict_logits(load_classifier(path), prepared.validation, 15, CPU)

        assert outcome.metrics.temperature.seeds[index] == fit_temperature(held_out, prepared.validation.labels)


def test_reliability_counts_every_answer_before_and_after(outcome: Evaluation, prepared: PreparedData) -> None:
    images = outcome.calibration.groupby("state")["images"].sum()

    assert images.to_dict() == {"before": 2 * len(prepared.test), "after": 2 * len(prepared.test)}
    assert outcome.calibration.notna().all(axis=None)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_predictions_do_not_depend_on_the_batch_size(
    folders: dict[int, Path], prepared: PreparedData, batch_size: int
) -> None:
    classifier = load_classifier(folders[0])

    logits = predict_logits(classifier, prepared.test, batch_size, CPU)

    np.testing.assert_allclose(logits, predict_logits(classifier, prepared.test, 15, CPU), atol=1e-5)
    assert logits.dtype == np.float32


def test_suspects_are_named_by_split_index_and_file(
    folders: dict[int, Path], prepared: PreparedData, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = [len(prepared.validation) + 1, 2]
    suspects = pd.DataFrame({"position": positions, "label": "left", "suggested": "right"})
    check = LabelCheck(
        num_images=30, doubted=2, expected=0.1, expected_low=0, expected_high=1, listed=2, listed_expected=0.1
    )
    monkeypatch.setattr(module, "label_errors", lambda *_: LabelErrors(suspects.copy(), check))

    evaluation = evaluate(folders, prepared, COST, params.evaluate)
    table = evaluation.suspects

    assert evaluation.metrics.labels == check
    assert table[["split", "index"]].to_numpy().tolist() == [["test", 1], ["validation", 2]]
    assert table["file"].tolist() == [
        *prepared.names("test", np.array([1])),
        *prepared.names("validation", np.array([2])),
    ]
