"""What the whole run cost, by stage, and a training of each model."""

from collections.abc import Iterable
from dataclasses import dataclass

from reconv.artifacts import Energy, Metrics, Study, TrainingCost, Verdict
from reconv.params import ReportParams


@dataclass(frozen=True)
class Item:
    name: str
    device_seconds: float
    watt_hours: float
    is_measured: bool
    """False: device-seconds times params.yaml's watts, in whole or in part."""
    price: float


def bill(
    verdict: Verdict,
    costs: dict[str, TrainingCost],
    metrics: dict[str, Metrics],
    study: Study,
    params: ReportParams,
) -> list[Item]:
    """Search, final training and evaluation of both models, the study, and at last their sum."""
    budgets, training, evaluation = verdict.budgets.values(), costs.values(), metrics.values()
    parts = [
        _item("search", [(one.device_seconds, one.energy) for one in budgets], params),
        _item("final training", [(sum(one.device_seconds), one.energy) for one in training], params),
        _item("evaluation", [(one.evaluation_device_seconds, one.evaluation_energy) for one in evaluation], params),
        _item("study", [(study.device_seconds, study.energy)], params),
    ]
    return [
        *parts,
        Item(
            name="together",
            device_seconds=sum(part.device_seconds for part in parts),
            watt_hours=sum(part.watt_hours for part in parts),
            is_measured=all(part.is_measured for part in parts),
            price=sum(part.price for part in parts),
        ),
    ]


def of_one_seed(model: str, cost: TrainingCost, params: ReportParams) -> Item:
    """Its final training, mean over seeds."""
    seeds = len(cost.device_seconds)
    whole = _item(model, [(sum(cost.device_seconds), cost.energy)], params)
    return Item(model, whole.device_seconds / seeds, whole.watt_hours / seeds, whole.is_measured, whole.price / seeds)


def _item(name: str, parts: Iterable[tuple[float, Energy | None]], params: ReportParams) -> Item:
    """`parts` are device-seconds and what the machine counted of each."""
    parts = list(parts)
    seconds = sum(seconds for seconds, _ in parts)
    joules = sum(energy.joules if energy else seconds * params.watts_per_device for seconds, energy in parts)
    is_measured = all(energy is not None for seconds, energy in parts if seconds)
    return Item(name, seconds, joules / 3600, is_measured, seconds / 3600 * params.price_per_device_hour)
