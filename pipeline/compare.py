"""compare: predictions and costs of both models -> verdict.json and the report in results/compare."""

import pandas as pd

from reconv.artifacts import (
    BASELINE,
    CNN,
    COMPARE,
    PREPARED,
    STUDY,
    Budget,
    Conditions,
    Manifest,
    Study,
    evaluate_dir,
    search_dir,
    train_dir,
)
from reconv.evaluation.compare import compare
from reconv.files import write_json, write_text
from reconv.report.page import collect, render
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
        study = Study.load(STUDY / "study.json")
        verdict = compare(predictions, budgets, conditions, study, class_names, this.params.compare)

        verdict.save(COMPARE / "verdict.json")
        write_json(COMPARE / "metrics.json", verdict.as_metrics())
        write_text(COMPARE / "report.html", render(collect(verdict, models, git_commit()), this.params.report))
        log_comparison(this.run, verdict, COMPARE / "report.html", COMPARE / "verdict.json")
        this.console.say(verdict.text)
