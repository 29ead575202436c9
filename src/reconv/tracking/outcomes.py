"""What a stage's run says of its outcome: metrics under the names that they have everywhere, files, a description."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reconv.artifacts import Best, Budget, DataReport, Explanation, Manifest, Metrics, Study, TrainingCost, Verdict
from reconv.files import AnyPath, local_copy, sha256_of_file
from reconv.tracking.record import StageRun
from reconv.tracking.trainings import weights_tag


def log_prepared(run: StageRun, manifest: Manifest, report: DataReport, report_file: Path) -> None:
    run.log_dataset(manifest, "prepared")
    run.log_metrics({f"images/{split}": count for split, count in manifest.counts.items()})
    run.log_metrics({f"findings/{one.kind}": one.count for one in report.findings if one.count})
    run.log_file(report_file)
    counts = ", ".join(f"{count:,} {split}" for split, count in manifest.counts.items())
    run.describe(f"**{manifest.source}** packed: {counts} images of {manifest.num_classes} classes.")


def log_search(run: StageRun, model: str, budget: Budget, best: Best, trials_file: Path) -> None:
    run.log_params(in_words(best))
    run.log_metrics(
        {
            "validation/accuracy": statistics.mean(choice.validation_accuracy for choice in best.choices),
            "search/searches": budget.num_searches,
            "search/epochs": budget.spent_epochs,
            "search/trials": budget.num_trials,
            "search/device_seconds": budget.device_seconds,
        }
    )
    run.log_file(trials_file)
    run.describe(
        f"{budget.num_searches} searches for the best values of **{model}**, one for each final training: "
        f"{budget.num_trials} trials, {budget.spent_epochs} of {budget.budget_epochs} epochs. {best.text}. "
        "Select the nested trials and press *Compare* for their curves side by side."
    )


def in_words(best: Best) -> dict[str, Any]:
    """Return the values that searches ended with, by name; those that differ as the text `one / another`."""
    first, *_ = (choice.values for choice in best.choices)
    differing = best.differing()
    return {
        name: " / ".join(str(choice.values[name]) for choice in best.choices) if name in differing else value
        for name, value in first.items()
    }


def log_training(
    run: StageRun, model: str, cost: TrainingCost, curves_file: Path, weights: Mapping[int, AnyPath]
) -> None:
    """The run's own curve is the mean over seeds; each seed's run has the digest of its weights (seed -> file)."""
    for seed, file in weights.items():
        with local_copy(file) as copy:
            run.tag(f"seed-{seed}", weights_tag(sha256_of_file(copy)))
    curves = pd.read_csv(curves_file)
    for epoch, row in curves.groupby("epoch").mean(numeric_only=True).drop(columns="seed").iterrows():
        run.log_metrics({str(name): float(value) for name, value in row.items()}, step=int(str(epoch)))
    run.log_metrics({"training/wall_seconds": cost.wall_seconds, "training/device_seconds": sum(cost.device_seconds)})
    run.log_file(curves_file)
    run.describe(
        f"Final training of **{model}** on the training images: {len(cost.device_seconds)} seeds in "
        f"{cost.wall_seconds:,.0f} s on {cost.device}, {cost.precision}."
    )


def log_evaluation(run: StageRun, model: str, metrics: Metrics, files: list[Path]) -> None:
    run.log_metrics(test_metrics(metrics))
    for file in files:
        run.log_file(file)
    run.describe(
        f"**{model}** on the untouched test images: {metrics.accuracy.mean:.2%} ± {metrics.accuracy.std:.2%} accuracy, "
        f"{metrics.num_parameters:,} parameters, {metrics.multiply_adds:,} multiply-adds."
    )


def log_explanation(run: StageRun, explanation: Explanation, file: Path) -> None:
    run.log_metrics({f"explain/{name}": value for name, value in explanation.as_metrics().items()})
    run.log_file(file)
    run.describe(explanation.text)


def log_study(run: StageRun, study: Study, folder: Path) -> None:
    run.log_metrics({f"study/{name}": value for name, value in study.as_metrics().items()})
    for file in sorted(folder.glob("*.*")):
        run.log_file(file)
    run.describe("\n\n".join(f"**{one.title}.** {one.text}" for one in study.findings) or "Not enabled.")


def test_metrics(metrics: Metrics) -> dict[str, float]:
    return {
        "test/accuracy": metrics.accuracy.mean,
        "test/accuracy_std": metrics.accuracy.std,
        "test/nll": metrics.nll.mean,
        "test/ece": metrics.ece.mean,
        "test/scaled_nll": metrics.scaled_nll.mean,
        "test/scaled_ece": metrics.scaled_ece.mean,
        **({} if metrics.scaled_ece_by_chance is None else {"test/scaled_ece_by_chance": metrics.scaled_ece_by_chance}),
        **_label_metrics(metrics),
        "test/temperature": metrics.temperature.mean,
        "cost/parameters": metrics.num_parameters,
        "cost/multiply_adds": metrics.multiply_adds,
        "cost/device_seconds": metrics.device_seconds,
        **{f"cost/latency_ms_batch_{size}": value for size, value in metrics.latency_ms.items()},
    }


def _label_metrics(metrics: Metrics) -> dict[str, float]:
    check = metrics.labels
    if check is None:
        return {}
    return {"labels/doubted": check.doubted, "labels/expected": check.expected, "labels/listed": check.listed}


def log_comparison(
    run: StageRun, verdict: Verdict, report_file: Path, verdict_file: Path, pictures: Sequence[Path]
) -> None:
    """On the stage's run and, as it is the answer, on the pipeline's."""
    for picture in pictures:
        run.log_file(picture, "pictures")
    for record in (run, run.parent):
        record.log_metrics({f"verdict/{name}": value for name, value in verdict.as_metrics().items()})
        record.log_file(report_file)
        record.log_file(verdict_file)
        record.describe(
            f"{verdict.text} {verdict.why}\n\n| | accuracy | {verdict.confidence:.0%} interval |\n|---|---|---|\n"
            + "\n".join(
                f"| {model} | {accuracy:.2%} | {verdict.accuracy_interval[model].low:.2%} to "
                f"{verdict.accuracy_interval[model].high:.2%} |"
                for model, accuracy in verdict.accuracy.items()
            )
            + (f"\n| guessing | {verdict.guessing.accuracy:.2%} | |" if verdict.guessing else "")
            + (f"\n\n{verdict.about_compute}" if verdict.compute else "")
            + "\n\nThe whole report is the artifact `report.html`."
        )
