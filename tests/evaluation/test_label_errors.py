import numpy as np
import pytest
from scipy.special import softmax

from reconv.evaluation.label_errors import label_errors

NAMES = ("cat", "dog", "fox")
TEN = tuple("abcdefghij")
WRONG = {4: 2, 20: 0, 31: 0}


def answers(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Of two seeds, sure of the true class, to 60 images, of which three have another label."""
    true = np.arange(60) % 3
    labels = true.copy()
    for position, label in WRONG.items():
        labels[position] = label
    logits = [np.eye(3)[true] * 8 + rng.normal(0, 0.5, (60, 3)) for _ in range(2)]
    return logits, labels


def test_wrong_labels_are_found_and_nothing_else() -> None:
    logits, labels = answers(np.random.default_rng(0))

    found = label_errors(logits, labels, NAMES).suspects

    assert set(found["position"]) == set(WRONG)
    assert [NAMES[labels[position]] for position in found["position"]] == found["label"].tolist()
    assert [NAMES[position % 3] for position in found["position"]] == found["suggested"].tolist()
    assert (found["confidence"] > 0.8).all()
    assert found["of_label"].is_monotonic_increasing


def test_where_all_is_well_there_are_none() -> None:
    logits, _ = answers(np.random.default_rng(0))

    found = label_errors(logits, np.arange(60) % 3, NAMES).suspects

    assert found.empty
    assert list(found.columns) == ["position", "label", "suggested", "confidence", "of_label"]


def test_a_classifier_that_knows_nothing_accuses_nobody() -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 0.1, (60, 3))]

    assert label_errors(logits, np.arange(60) % 3, NAMES).suspects.empty


@pytest.mark.parametrize("label", [0, 2])
def test_a_class_without_images_is_no_trouble(label: int) -> None:
    logits, labels = answers(np.random.default_rng(0))
    present = labels != label

    label_errors([one[present] for one in logits], labels[present], NAMES)


def smoothed(num_images: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return calibrated logits of two seeds with a floor, as label smoothing leaves it under all ten classes, labels
    drawn from them, and the same labels with 1 % of them wrong."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 1, (num_images, 10)) + 12 * np.eye(10)[rng.integers(10, size=num_images)] * rng.beta(
        4, 1, (num_images, 1)
    )
    logits = [shared + rng.normal(0, 0.3, shared.shape) for _ in range(2)]
    right = np.array((np.mean(logits, axis=0) + rng.gumbel(size=shared.shape)).argmax(axis=1))
    wrong = right.copy()
    chosen = rng.choice(num_images, num_images // 100, replace=False)
    wrong[chosen] = (wrong[chosen] + rng.integers(1, 10, len(chosen))) % 10
    return [np.log(softmax(one, axis=1) + 3e-4) for one in logits], right, wrong


def test_without_wrong_labels_none_is_listed_and_as_many_are_doubted_as_expected() -> None:
    checks = []
    for seed in range(6):
        logits, right, _ = smoothed(4000, seed)
        checks.append(label_errors(logits, right, TEN).check)

    assert sum(check.listed > 0 for check in checks) <= 1  # 5 % of them
    assert np.mean([check.doubted for check in checks]) == pytest.approx(
        np.mean([check.expected for check in checks]), rel=0.15
    )
    assert "None is called wrong: chance alone would name as many" in checks[0].text


def test_most_of_the_listed_labels_are_wrong() -> None:
    hits, listed = 0, 0
    for seed in range(3):
        logits, right, wrong = smoothed(4000, seed)
        found = label_errors(logits, wrong, TEN)
        positions = found.suspects["position"].to_numpy()
        hits += int((right[positions] != wrong[positions]).sum())
        listed += len(positions)
        assert found.check.listed == len(positions)
        assert found.check.listed_expected < 0.55 * found.check.listed
        assert f"The {len(positions)} least probable are listed" in found.check.text

    assert listed >= 30  # of 120 wrong ones
    assert hits / listed > 0.6


def test_the_same_images_give_the_same_suspects() -> None:
    logits, _, wrong = smoothed(1000, 0)

    first, second = (label_errors(logits, wrong, TEN) for _ in range(2))

    assert first.check == second.check
    assert first.suspects.equals(second.suspects)
