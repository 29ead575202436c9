from collections.abc import Callable
from typing import Any

import pytest

from reconv.artifacts import Budget, Compute, Conditions, Metrics, TrainingCost
from reconv.errors import ComparisonError
from reconv.evaluation.audit import audit, compute_of


def both(make: Callable[..., Any], **of_feedforward: Any) -> dict[str, Any]:
    """The usual for the CNN, changed by `of_feedforward` for the baseline."""
    return {"cnn": make(), "feedforward": make(**of_feedforward)}


def test_what_both_were_given_stands_side_by_side(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    conditions = dict.fromkeys(
        ("cnn", "feedforward"), make_conditions(num_images=54_000, recipe={"optimizer": "muon", "precision": "auto"})
    )

    lines = {line.name: line for line in audit(both(make_budget), conditions, 0.05)}

    shown = {
        "searcher": "random",
        "epochs of the searches": "4 of 4",
        "seeds": "0, 1",
        "precision": "32-true",
        "number of training images": "54,000",
        "augmentation: flip": "no",
        "optimizer": "muon",
    }
    assert {name: (lines[name].cnn, lines[name].feedforward) for name in shown} == {
        name: (value, value) for name, value in shown.items()
    }


def test_what_a_search_chose_may_differ(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    conditions = both(make_conditions, recipe={"optimizer": "muon", "lr": 0.03})

    (line,) = (line for line in audit(both(make_budget), conditions, 0.05) if line.name == "lr")

    assert (line.cnn, line.feedforward, line.is_own) == ("0.01", "0.03", True)


def test_pretrained_weights_that_only_one_had_are_told_and_not_refused(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    conditions = {"cnn": make_conditions(weights_sha256="f37072fd5c47" + "0" * 52), "feedforward": make_conditions()}

    (line,) = (line for line in audit(both(make_budget), conditions, 0.05) if line.name == "pretrained weights")

    assert (line.cnn, line.feedforward) == ("SHA-256 f37072fd5c47…", "none")
    assert (line.is_own, line.is_unequal) == (False, True)


def test_where_nobody_had_pretrained_weights_there_is_no_line_of_them(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    lines = audit(both(make_budget), both(make_conditions), 0.05)

    assert not [line for line in lines if line.is_unequal or line.name == "pretrained weights"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "epochs of the final training: cnn 2, feedforward 3"),
        ({"seeds": (0,)}, "seeds: cnn 0, 1, feedforward 0"),
        ({"precision": "bf16-mixed"}, "precision: cnn 32-true, feedforward bf16-mixed"),
        ({"augment": {"crop": 0, "flip": False}}, "augmentation: crop: cnn 1, feedforward 0"),
        ({"data_digest": "1" * 64}, "images of the final training: cnn 000000000000, feedforward 111111111111"),
        ({"recipe": {"optimizer": "adamw", "lr": 0.01}}, "optimizer: cnn muon, feedforward adamw"),
    ],
)
def test_anything_else_that_differs_is_refused_with_both_values(
    make_budget: Callable[..., Budget],
    make_conditions: Callable[..., Conditions],
    change: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ComparisonError) as caught:
        audit(both(make_budget), both(make_conditions, **change), 0.05)

    assert message in str(caught.value)


@pytest.mark.parametrize("change", [{"searcher": "grid"}, {"max_epochs": 3}, {"seed": 1}])
def test_searches_that_were_not_alike_are_refused(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions], change: dict[str, Any]
) -> None:
    with pytest.raises(ComparisonError, match="were not given the same"):
        audit(both(make_budget, **change), both(make_conditions), 0.05)


def test_different_budgets_are_refused_with_both_numbers(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    budgets = {"cnn": make_budget(100), "feedforward": make_budget(106)}

    with pytest.raises(ComparisonError, match=r"cnn 100 epochs, feedforward 106 epochs.*5% \(compare\.budget_tol"):
        audit(budgets, both(make_conditions), 0.05)


@pytest.mark.parametrize(("cnn", "feedforward"), [(100, 105), (105, 100), (100, 100)])
def test_budgets_within_the_tolerance_are_taken(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions], cnn: int, feedforward: int
) -> None:
    assert audit({"cnn": make_budget(cnn), "feedforward": make_budget(feedforward)}, both(make_conditions), 0.05)


def test_compute_is_three_forward_passes_for_each_image_of_each_epoch(
    make_budget: Callable[..., Budget], make_conditions: Callable[..., Conditions]
) -> None:
    cost = TrainingCost(
        device_seconds=(5.0, 7.0),
        energy=None,
        wall_seconds=9.0,
        images_per_second=1.0,
        device="cpu",
        precision="32-true",
    )
    budget = make_budget(4)
    once = make_conditions()  # 30 images, 2 epochs, 2 seeds
    twice = make_conditions(augment={"flip": True}, recipe={"test_time_flip": True})

    def of(conditions: Conditions, multiply_adds: int) -> Compute:
        metrics = Metrics.model_construct(multiply_adds=multiply_adds)
        return compute_of({"cnn": budget}, {"cnn": conditions}, {"cnn": cost}, {"cnn": metrics})["cnn"]

    compute = of(once, 100)

    assert compute.search_flops == 3 * 2 * 100 * 30 * 4
    assert compute.training_flops == 3 * 2 * 100 * 30 * 2 * 2
    assert compute.device_seconds == budget.device_seconds + 12
    assert of(twice, 200) == compute
