"""register: the verdict's winner -> MLflow's registry, as champion if it earned it; results/register.json."""

import pandas as pd

from reconv.artifacts import Metrics, TrainingCost, Verdict
from reconv.data.arrays import PreparedData
from reconv.places import COMPARE, REGISTERED, evaluate_dir, train_dir
from reconv.registry.opening import open_registry
from reconv.registry.register import Outcome, origin_of, register
from reconv.report.summary import summary
from reconv.stage import stage
from reconv.tracking.opening import end_pipeline_run

if __name__ == "__main__":
    with stage("register") as this:
        verdict = Verdict.load(COMPARE / "verdict.json")
        metrics = {model: Metrics.load(evaluate_dir(model) / "metrics.json") for model in verdict.accuracy}
        costs = {model: TrainingCost.load(train_dir(model) / "cost.json") for model in verdict.accuracy}
        predictions = {model: pd.read_parquet(evaluate_dir(model) / "predictions.parquet") for model in metrics}
        outcome = Outcome(verdict, metrics, predictions, {model: origin_of(model) for model in metrics})
        registration = register(outcome, PreparedData(), this.params, this.run, open_registry(this.params))

        registration.save(REGISTERED)
        this.console.print(summary(verdict, metrics, costs, registration))
    end_pipeline_run()
