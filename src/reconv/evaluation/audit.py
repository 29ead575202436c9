"""Was it a fair fight? What both models were given, side by side; a refusal where it differs. Called by `compare`."""

from collections.abc import Iterator
from typing import Any

from reconv.artifacts import Budget, Compute, Condition, Conditions, Metrics, TrainingCost
from reconv.errors import ComparisonError
from reconv.places import BASELINE, CNN


def audit(
    budgets: dict[str, Budget], conditions: dict[str, Conditions], budget_tolerance: float
) -> tuple[Condition, ...]:
    """Each argument holds an entry for `cnn` and one for `feedforward`.

    Raises:
        ComparisonError: something that must be the same for both is not, or spent budgets differ by more than the
            tolerance (a share).
    """
    _check_spent(budgets, budget_tolerance)
    of_cnn, of_baseline = (_texts(budgets[model], conditions[model]) for model in (CNN, BASELINE))
    searched = {*conditions[CNN].searched, *conditions[BASELINE].searched}
    lines = [
        Condition(name=name, cnn=of_cnn[name], feedforward=of_baseline[name], is_own=name in searched)
        for name in of_cnn
    ]
    if unequal := [line for line in lines if line.cnn != line.feedforward and not line.is_own]:
        listed = "; ".join(f"{line.name}: cnn {line.cnn}, feedforward {line.feedforward}" for line in unequal)
        raise ComparisonError(f"the models were not given the same: {listed}. Run `dvc repro --force search` for both.")
    spent = {model: f"{budget.spent_epochs} of {budget.budget_epochs}" for model, budget in budgets.items()}
    return (
        Condition(name="epochs of the searches", cnn=spent[CNN], feedforward=spent[BASELINE], is_own=False),
        *lines,
        *_pretrained_weights(conditions),
    )


def compute_of(
    budgets: dict[str, Budget],
    conditions: dict[str, Conditions],
    costs: dict[str, TrainingCost],
    metrics: dict[str, Metrics],
) -> dict[str, Compute]:
    """Return what each model's search and final training took."""
    return {
        model: _compute(budgets[model], conditions[model], costs[model], metrics[model].multiply_adds)
        for model in budgets
    }


def _compute(budget: Budget, conditions: Conditions, cost: TrainingCost, multiply_adds: int) -> Compute:
    looks_twice = conditions.recipe.get("test_time_flip", False) and conditions.augment.get("flip", False)
    of_epoch = 3 * 2 * multiply_adds / (2 if looks_twice else 1) * conditions.num_images
    return Compute(
        search_device_seconds=budget.device_seconds,
        training_device_seconds=sum(cost.device_seconds),
        search_flops=of_epoch * budget.spent_epochs,
        training_flops=of_epoch * conditions.epochs * len(conditions.seeds),
    )


def _pretrained_weights(conditions: dict[str, Conditions]) -> Iterator[Condition]:
    """Nothing where neither has any."""
    given = {model: _first_digits(of_model.weights_sha256) for model, of_model in conditions.items()}
    if any(of_model.weights_sha256 for of_model in conditions.values()):
        yield Condition(
            name="pretrained weights",
            cnn=given[CNN],
            feedforward=given[BASELINE],
            is_own=False,
            is_unequal=given[CNN] != given[BASELINE],
        )


def _first_digits(sha256: str | None) -> str:
    return f"SHA-256 {sha256[:12]}…" if sha256 else "none"


def _check_spent(budgets: dict[str, Budget], tolerance: float) -> None:
    spent = {model: budget.spent_epochs for model, budget in budgets.items()}
    if max(spent.values()) > min(spent.values()) * (1 + tolerance):
        listed = ", ".join(f"{model} {epochs} epochs" for model, epochs in spent.items())
        raise ComparisonError(
            f"the searches spent {listed}; they may differ by {tolerance:.0%} (compare.budget_tolerance): "
            "run `dvc repro --force search`, so that both have the same budget."
        )


def _given(budget: Budget, conditions: Conditions) -> Iterator[tuple[str, Any]]:
    yield "searcher", budget.searcher
    yield "searches, one for each seed", budget.num_searches
    yield "epochs of a trial, at most", budget.max_epochs
    yield "seed of the search", budget.seed
    yield "images of the search", budget.data_digest[:12]
    yield "images of the final training", conditions.data_digest[:12]
    yield "number of training images", conditions.num_images
    yield "epochs of the final training", conditions.epochs
    yield "seeds", conditions.seeds
    yield "device", conditions.device
    yield "precision", conditions.precision
    for name, value in conditions.augment.items():
        yield f"augmentation: {name}", value
    for name, value in conditions.recipe.items():
        if name != "precision":  # above is what it came to on the device
            yield name, value


def _texts(budget: Budget, conditions: Conditions) -> dict[str, str]:
    """Return what `_given` yields as texts; of what the searches chose differently, that of each seed."""
    return {name: _as_text(conditions.by_seed.get(name, value)) for name, value in _given(budget, conditions)}


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_as_text, value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
