"""compare: predictions and costs of both models -> verdict.json and the report in results/compare."""

import own_python  # noqa: F401

import pandas as pd

from reconv.artifacts import Budget, Conditions, DataReport, Manifest, Metrics, Study, TrainingCost
from reconv.evaluation.audit import compute_of
from reconv.evaluation.compare import compare
from reconv.files import write_json, write_text
from reconv.places import BASELINE, CNN, COMPARE, PREPARED, STUDY, evaluate_dir, search_dir, train_dir
from reconv.report.page import collect, render
from reconv.report.plots import write_plots
from reconv.stage import stage
from reconv.tracking.opening import git_commit
from reconv.tracking.outcomes import log_comparison

if __name__ == "__main__":
    with stage("compare") as this:
        models = (CNN, BASELINE)
        predictions = {model: pd.read_parquet(evaluate_dir(model) / "predictions.parquet") for model in models}
        budgets = {model: Budget.load(search_dir(model) / "budget.json") for model in models}
        conditions = {model: Conditions.load(train_dir(model) / "conditions.json") for model in models}
        class_names = Manifest.load(PREPARED / "manifest.json").class_names
        trained_on = DataReport.load(PREPARED / "data_report.json").images_per_class["train"]
        study = Study.load(STUDY / "study.json")
        costs = {model: TrainingCost.load(train_dir(model) / "cost.json") for model in models}
        metrics = {model: Metrics.load(evaluate_dir(model) / "metrics.json") for model in models}
        compute = compute_of(budgets, conditions, costs, metrics)
        given = (predictions, budgets, conditions, study, class_names, trained_on)
        verdict = compare(*given, this.params.compare, compute)

        verdict.save(COMPARE / "verdict.json")
        write_json(COMPARE / "metrics.json", verdict.as_metrics())
        contents = collect(verdict, models, git_commit())
        write_text(COMPARE / "report.html", render(contents, this.params.report))
        pictures = write_plots(contents, COMPARE)
        this.inputs.verify()  # before the verdict is shown with the pipeline's run
        log_comparison(this.run, verdict, COMPARE / "report.html", COMPARE / "verdict.json", pictures)
        this.console.say(verdict.text)
