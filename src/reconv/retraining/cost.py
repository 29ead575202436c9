"""What the stages of a retraining cost: those that ran, and no others."""

from collections.abc import Iterator, Sequence

from reconv.artifacts import Budget, Metrics, Study, TrainingCost
from reconv.params import ReportParams
from reconv.places import STUDY, evaluate_dir, search_dir, train_dir
from reconv.retraining.record import Cost


def cost_of(stages: Sequence[str], params: ReportParams) -> Cost:
    """`stages` by DVC's names, such as train@cnn."""
    device_seconds = sum(_device_seconds(stages))
    return Cost(
        device_seconds=device_seconds,
        price=device_seconds / 3600 * params.price_per_device_hour,
        currency=params.currency,
    )


def _device_seconds(stages: Sequence[str]) -> Iterator[float]:
    for name in stages:
        stage, _, model = name.partition("@")
        match stage:
            case "search":
                yield Budget.load(search_dir(model) / "budget.json").device_seconds
            case "train":
                yield sum(TrainingCost.load(train_dir(model) / "cost.json").device_seconds)
            case "evaluate":
                yield Metrics.load(evaluate_dir(model) / "metrics.json").evaluation_device_seconds
            case "study":
                yield Study.load(STUDY / "study.json").device_seconds
