"""What the whole run cost, by stage."""

from dataclasses import dataclass

from reconv.artifacts import Metrics, Study, TrainingCost, Verdict
from reconv.params import ReportParams


@dataclass(frozen=True)
class Item:
    name: str
    device_seconds: float
    watt_hours: float
    """An estimate: device-seconds times params.yaml's watts."""
    price: float


def bill(
    verdict: Verdict,
    costs: dict[str, TrainingCost],
    metrics: dict[str, Metrics],
    study: Study,
    params: ReportParams,
) -> list[Item]:
    """Search, final training and evaluation of both models, the study, and at last their sum."""
    seconds = {
        "search": sum(budget.device_seconds for budget in verdict.budgets.values()),
        "final training": sum(sum(cost.device_seconds) for cost in costs.values()),
        "evaluation": sum(of_model.evaluation_device_seconds for of_model in metrics.values()),
        "study": study.device_seconds,
    }
    seconds["together"] = sum(seconds.values())
    return [
        Item(name, value, value / 3600 * params.watts_per_device, value / 3600 * params.price_per_device_hour)
        for name, value in seconds.items()
    ]
