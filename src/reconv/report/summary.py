"""The table at the end of a run."""

from reconv.artifacts import Metrics, Registration, TrainingCost, Verdict
from reconv.places import BASELINE, CNN, COMPARE

_COLUMN = 20


def summary(
    verdict: Verdict, metrics: dict[str, Metrics], costs: dict[str, TrainingCost], registration: Registration
) -> str:
    models = (CNN, BASELINE)
    interval = verdict.difference_interval
    difference = (
        f"difference {verdict.difference * 100:+.1f} points, {verdict.confidence:.0%} interval "
        f"[{interval.low * 100:+.1f}, {interval.high * 100:+.1f}]"
    )
    accuracy = [f"{verdict.accuracy[model]:.1%} ± {half_width(verdict, model) * 100:.1f}" for model in models]
    parameters = [f"{metrics[model].num_parameters:,}" for model in models]
    seconds = [f"{metrics[model].device_seconds:,.0f} s" for model in models]
    device = costs[CNN].device
    return "\n".join(
        [
            "",
            _row("", list(models), ""),
            _row("accuracy", accuracy, difference),
            *_about_guessing(verdict),
            _row("parameters", parameters, ""),
            _row("training", seconds, f"per seed, on one {'core' if device == 'cpu' else device}"),
            *_about_compute(verdict),
            f"{'verdict':<12}{verdict.text}",
            *([f"{'why':<12}{verdict.why}"] if verdict.why else []),
            f"{'registered':<12}{registration.name} version {registration.version}, alias {registration.alias}: "
            f"{registration.reason}",
            f"{'look':<12}{COMPARE / 'report.html'}   ·   make ui   (MLflow)   ·   dvc plots show",
            "",
        ]
    )


def _about_guessing(verdict: Verdict) -> list[str]:
    if verdict.guessing is None:
        return []
    cells = [f"{verdict.guessing.accuracy:.1%}"] * 2
    return [_row("guessing", cells, f"always answering “{verdict.guessing.class_name}”")]


def _about_compute(verdict: Verdict) -> list[str]:
    if verdict.compute_ratios is None:
        return []
    of_models = [verdict.compute[model] for model in (CNN, BASELINE)]
    seconds, flops = verdict.compute_ratios
    note = "of search and final training: {:.1f} times as much for the CNN"
    return [
        _row(
            "device time",
            [f"{one.device_seconds:,.0f} s" for one in of_models],
            note.format(seconds),
        ),
        _row("FLOPs", [f"{one.flops:.2g}" for one in of_models], note.format(flops)),
    ]


def half_width(verdict: Verdict, model: str) -> float:
    interval = verdict.accuracy_interval[model]
    return (interval.high - interval.low) / 2


def _row(head: str, cells: list[str], note: str) -> str:
    return f"{head:<12}{''.join(f'{cell:<{_COLUMN}}' for cell in cells)}{note}".rstrip()
