import numpy as np
import pytest

from reconv.evaluation.label_errors import label_errors

NAMES = ("cat", "dog", "fox")
WRONG = {4: 2, 20: 0, 31: 0}


def answers(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Of two seeds, sure of the true class, to 60 images, of which three have another label."""
    true = np.arange(60) % 3
    labels = true.copy()
    for position, label in WRONG.items():
        labels[position] = label
    logits = [np.eye(3)[true] * 4 + rng.normal(0, 0.5, (60, 3)) for _ in range(2)]
    return logits, labels


def test_wrong_labels_are_found_and_nothing_else() -> None:
    logits, labels = answers(np.random.default_rng(0))

    found = label_errors(logits, labels, NAMES)

    assert set(found["position"]) == set(WRONG)
    assert [NAMES[labels[position]] for position in found["position"]] == found["label"].tolist()
    assert [NAMES[position % 3] for position in found["position"]] == found["suggested"].tolist()
    assert (found["confidence"] > 0.8).all()
    assert found["of_label"].is_monotonic_increasing


def test_where_all_is_well_there_are_none() -> None:
    logits, _ = answers(np.random.default_rng(0))

    found = label_errors(logits, np.arange(60) % 3, NAMES)

    assert found.empty
    assert list(found.columns) == ["position", "label", "suggested", "confidence", "of_label"]


def test_a_classifier_that_knows_nothing_accuses_nobody() -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 0.1, (60, 3))]

    assert label_errors(logits, np.arange(60) % 3, NAMES).empty


@pytest.mark.parametrize("label", [0, 2])
def test_a_class_without_images_is_no_trouble(label: int) -> None:
    logits, labels = answers(np.random.default_rng(0))
    present = labels != label

    label_errors([one[present] for one in logits], labels[present], NAMES)
