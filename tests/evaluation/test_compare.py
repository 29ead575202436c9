from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Budget, Conditions, Finding, Study, Verdict
from reconv.errors import ComparisonError
from reconv.evaluation.compare import compare
from reconv.files import write_json
from reconv.params import CompareParams

PARAMS = CompareParams(confidence=0.95, num_resamples=500, budget_tolerance=0.05, seed=0)
NUM_IMAGES = 200
VerdictOf = Callable[..., Verdict]


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


def study_of(numbers: dict[str, float]) -> Study:
    finding = Finding(name="space", title="Space", text="Something.", numbers=numbers)
    return Study(
        enabled=True,
        profile="tiny",
        num_seeds=1,
        max_epochs=1,
        confidence=0.95,
        findings=(finding,),
        device_seconds=1.0,
        energy=None,
    )


@pytest.fixture
def verdict_of(make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]) -> VerdictOf:
    """verdict_of(0.9, 0.6): of models with these accuracies; a table of predictions may stand for an accuracy."""

    def of(cnn: float | pd.DataFrame, feedforward: float | pd.DataFrame, **changes: Any) -> Verdict:
        tables = {
            model: given if isinstance(given, pd.DataFrame) else predictions(given)
            for model, given in (("cnn", cnn), ("feedforward", feedforward))
        }
        arguments: dict[str, Any] = {
            "predictions": tables,
            "budgets": dict.fromkeys(tables, make_budget(100)),
            "conditions": {
                model: make_conditions(seeds=tuple(sorted(set(table["seed"])))) for model, table in tables.items()
            },
            "study": study_of({}),
            "class_names": ("a", "b"),
            "images_per_class": {"a": 60, "b": 50},
            "params": PARAMS,
        }
        return compare(**{**arguments, **changes})

    return of


def test_better_cnn_wins(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.9, 0.6)

    assert verdict.winner == "cnn"
    assert verdict.accuracy == {"cnn": 0.9, "feedforward": 0.6}
    assert verdict.difference == pytest.approx(0.3)
    assert verdict.difference_interval.low < 0.3 < verdict.difference_interval.high
    assert verdict.probability_of_cnn == 1
    assert verdict.notes == ()


RESNET = {"model": "torchvision:resnet18", "weights": "default"}


@pytest.mark.parametrize(
    ("sha256", "name", "num_notes"),
    [
        ("f37072fd5c47" + "0" * 52, "The CNN (torchvision:resnet18, pretrained) is worth it here", 1),
        (None, "The CNN (torchvision:resnet18, not pretrained) is worth it here", 0),
    ],
)
def test_a_network_of_torchvisions_is_named_and_its_advantage_told(
    verdict_of: VerdictOf,
    make_conditions: Callable[..., Conditions],
    sha256: str | None,
    name: str,
    num_notes: int,
) -> None:
    conditions = {"cnn": make_conditions(network=RESNET, weights_sha256=sha256), "feedforward": make_conditions()}

    verdict = verdict_of(0.9, 0.6, conditions=conditions)

    assert verdict.text.startswith(name)
    assert len(verdict.notes) == num_notes
    assert all("default, SHA-256 f37072fd5c47…" in note and "had none" in note for note in verdict.notes)


def test_a_verdict_of_an_earlier_version_still_loads(verdict_of: VerdictOf, tmp_path: Path) -> None:
    verdict = verdict_of(0.9, 0.6)
    earlier = verdict.model_dump(mode="json") | {"mcnemar": {"only_cnn": 60, "only_feedforward": 0, "p_value": 1e-18}}
    write_json(tmp_path / "verdict.json", earlier)

    del earlier["compute"]

    assert Verdict.load(tmp_path / "verdict.json") == verdict
    assert verdict.about_compute == ""
    assert "mcnemar_p" not in verdict.as_metrics()


def test_better_baseline_wins(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.6, 0.9)

    assert verdict.winner == "feedforward"
    assert verdict.difference_interval.high < 0
    assert verdict.probability_of_cnn == 0


def test_interval_with_0_has_no_winner(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.81, 0.8)

    assert verdict.difference_interval.low <= 0 <= verdict.difference_interval.high
    assert verdict.winner is None


def test_more_test_images_show_smaller_differences(verdict_of: VerdictOf) -> None:
    few, many = (
        verdict_of(predictions(0.9, labels=labels), predictions(0.6, labels=labels))
        for labels in (np.arange(50) % 2, np.arange(800) % 2)
    )

    assert 0 < many.detectable_difference < few.detectable_difference <= 1


@pytest.mark.parametrize(
    ("cnn", "feedforward", "parts"),
    [
        (0.9, 0.6, ["The CNN is worth it here: +30.0 points", "95% interval [+", "better on 2 of 2 classes"]),
        (0.6, 0.9, ["feed-forward network is enough here", "-30.0 points", "worse on 2"]),
        (0.8, 0.8, ["cannot tell which is better", "contains 0", "A true difference of "]),
    ],
)
def test_text_says_who_won_by_how_much(verdict_of: VerdictOf, cnn: float, feedforward: float, parts: list[str]) -> None:
    text = verdict_of(cnn, feedforward).text

    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"share_lost": 0.714}, "71% of its lead disappears"),
        ({"share_lost": 1.3}, "All of its lead disappears"),
        ({"share_lost": -0.2}, "Nothing of its lead disappears"),
        ({}, ""),
    ],
)
def test_why_is_what_the_study_says(verdict_of: VerdictOf, numbers: dict[str, float], why: str) -> None:
    said = verdict_of(0.9, 0.6, study=study_of(numbers)).why

    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_different_test_images_are_refused(verdict_of: VerdictOf) -> None:
    with pytest.raises(ComparisonError, match="different test images"):
        verdict_of(0.9, predictions(0.6, labels=np.zeros(NUM_IMAGES, int)))


def test_different_numbers_of_test_images_are_refused(verdict_of: VerdictOf) -> None:
    with pytest.raises(ComparisonError, match="different test images"):
        verdict_of(0.9, predictions(0.6, labels=np.arange(NUM_IMAGES - 1) % 2))


def test_incomplete_seed_is_refused(verdict_of: VerdictOf) -> None:
    with pytest.raises(ComparisonError, match="different numbers of images"):
        verdict_of(predictions(0.9).iloc[:-1], 0.6)


def test_missing_seeds_are_refused(verdict_of: VerdictOf, make_conditions: Callable[..., Conditions]) -> None:
    with pytest.raises(ComparisonError, match=r"trained with the seeds 0, 1, 2, but there are predictions of 0, 1"):
        verdict_of(0.9, 0.6, conditions=dict.fromkeys(("cnn", "feedforward"), make_conditions(seeds=(0, 1, 2))))


def test_order_of_rows_does_not_matter(verdict_of: VerdictOf) -> None:
    shuffled = predictions(0.9).sample(frac=1, random_state=0)

    assert verdict_of(shuffled, 0.6) == verdict_of(0.9, 0.6)


def test_a_single_seed_gives_a_verdict_that_says_so(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(predictions(0.9, num_seeds=1), predictions(0.6, num_seeds=1))

    assert verdict.winner == "cnn"
    assert "single seed" in verdict.notes[0]


def test_networks_that_differ_between_seeds_are_named(
    verdict_of: VerdictOf, make_conditions: Callable[..., Conditions]
) -> None:
    differing = make_conditions(by_seed={"widths": ((4, 8), (8, 8)), "lr": (0.1, 0.2)})

    verdict = verdict_of(0.9, 0.6, conditions={"cnn": differing, "feedforward": make_conditions()})

    assert "The searches of cnn chose different networks (widths): parameters" in verdict.notes[0]
    (line,) = (line for line in verdict.audit if line.name == "lr")
    assert line.cnn == "0.1, 0.2"


def test_twenty_test_images_cannot_tell(verdict_of: VerdictOf) -> None:
    labels = np.arange(20) % 2

    verdict = verdict_of(predictions(0.95, labels=labels), predictions(0.8, labels=labels))

    assert verdict.winner is None
    assert verdict.difference_interval.high - verdict.difference_interval.low > 0.2
    assert "Only 20 test images" in verdict.notes[0]


def test_a_class_without_test_images_is_named(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.9, 0.6, class_names=("a", "b", "c"))

    assert [one.name for one in verdict.classes] == ["a", "b"]
    assert verdict.notes == ("No test images of c.",)


def test_a_model_with_one_answer_is_named(verdict_of: VerdictOf) -> None:
    always = predictions(0.5).assign(logit_1=-1.0)

    verdict = verdict_of(0.9, always)

    assert verdict.winner == "cnn"
    assert verdict.notes[0] == "feedforward, seed 0, gives every image the same class: it has learned nothing."


def test_a_winner_over_a_guesser_stays_the_winner_and_the_guesser_is_named(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.9, predictions(0.5).assign(logit_1=-1.0))

    assert verdict.guessing is not None
    assert (verdict.guessing.class_name, verdict.guessing.accuracy) == ("a", 0.5)
    assert verdict.guessing.no_better == ("feedforward",)
    assert verdict.text.startswith("The CNN is worth it here: ")
    assert "The feed-forward network is no better than guessing: always answering “a” is right on 50.0%" in verdict.text


def test_a_winner_that_only_guesses_is_not_called_worth_it(verdict_of: VerdictOf) -> None:
    """It is ahead, and the other one does worse than guessing."""
    verdict = verdict_of(predictions(0.5).assign(logit_1=-1.0), 0.2)

    assert verdict.winner == "cnn"
    assert verdict.text.startswith("Neither network is better than guessing: ")
    assert "worth it" not in verdict.text
    assert "The CNN's difference to the feed-forward network is +30.0 points" in verdict.text


def test_identical_predictions_cannot_tell(verdict_of: VerdictOf) -> None:
    verdict = verdict_of(0.8, 0.8)

    assert verdict.winner is None
    assert verdict.difference_interval.low < 0 < verdict.difference_interval.high
    assert verdict.probability_of_cnn == pytest.approx(0.5, abs=0.1)
    assert all(np.isfinite(value) for value in verdict.as_metrics().values())
