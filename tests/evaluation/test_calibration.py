import numpy as np
import pytest

from reconv.evaluation.calibration import (
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from reconv.evaluation.metrics import negative_log_likelihood


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities, np.float32))


def answers(temperature: float, num_images: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits of four classes, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (num_images, 4)).astype(np.float32)
    gumbel = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + gumbel).argmax(axis=1)


def test_calibration_error_by_hand() -> None:
    # Bins are 1/15 wide: 0.62 and 0.64 share [0.6, 0.667), 0.91 lies in [0.867, 0.933).
    logits = logits_of([[0.62, 0.38], [0.64, 0.36], [0.91, 0.09], [0.91, 0.09]])
    labels = np.array([0, 1, 0, 0])

    gap_of_the_first_bin = abs((0.62 + 0.64) / 2 - 1 / 2)
    gap_of_the_second_bin = abs(0.91 - 1)
    assert expected_calibration_error(logits, labels) == pytest.approx(
        2 / 4 * gap_of_the_first_bin + 2 / 4 * gap_of_the_second_bin, abs=1e-6
    )


@pytest.mark.parametrize(("label", "error"), [(0, 0.0), (1, 1.0)])
def test_full_confidence_lies_in_the_last_bin(label: int, error: float) -> None:
    assert expected_calibration_error(np.array([[1000.0, 0.0]], np.float32), np.array([label])) == error


def test_calibrated_predictions_have_almost_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    logits = logits_of(np.stack([confidence, 1 - confidence], axis=1).tolist())

    assert expected_calibration_error(logits, (rng.random(200_000) > confidence).astype(int)) < 0.01


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(temperature: float) -> None:
    logits, labels = answers(temperature)

    found = fit_temperature(logits, labels)

    assert found == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(logits / np.float32(found), labels) < 0.01


def test_no_other_temperature_is_more_likely() -> None:
    logits, labels = answers(1.7, num_images=500)

    found = fit_temperature(logits, labels)

    best = negative_log_likelihood(logits / np.float32(found), labels)
    for other in (0.1, found * 0.97, found * 1.03, 10):
        assert best < negative_log_likelihood(logits / np.float32(other), labels)


@pytest.mark.parametrize(("label", "low", "high"), [(0, 1 / 20, 0.2), (1, 19.9, 20.0)])
def test_always_right_or_always_wrong_has_no_best_temperature_but_gets_one(label: int, low: float, high: float) -> None:
    logits = np.tile(np.array([[5.0, 0.0]], np.float32), (30, 1))

    assert low <= fit_temperature(logits, np.full(30, label)) <= high


def test_the_diagram_has_the_bins_that_hold_images() -> None:
    logits = logits_of([[0.62, 0.38], [0.64, 0.36], [0.91, 0.09]])

    table = reliability(logits, np.array([0, 1, 0]))

    assert table["bin"].tolist() == [9, 13]
    assert table["images"].tolist() == [2, 1]
    assert table["confidence"].tolist() == pytest.approx([0.63, 0.91], abs=1e-6)
    assert table["accuracy"].tolist() == [0.5, 1.0]


def test_the_error_by_chance_is_what_calibrated_predictions_show() -> None:
    shown = []
    for seed in range(20):
        logits, _ = answers(1.0, num_images=1000)
        gumbel = np.random.default_rng(seed).gumbel(size=logits.shape)
        shown.append(expected_calibration_error(logits, (logits + gumbel).argmax(axis=1)))
    by_chance = calibration_error_by_chance(logits)

    assert by_chance == pytest.approx(np.mean(shown), rel=0.15)
    assert by_chance == calibration_error_by_chance(logits)
    assert 1 / 5 < calibration_error_by_chance(np.tile(logits, (10, 1))) / by_chance < 1 / 2  # 1 / sqrt(10)
