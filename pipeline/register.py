"""register: the verdict's winner -> MLflow's registry, as champion if it earned it; results/register.json."""

import own_python  # noqa: F401

from reconv.artifacts import TrainingCost
from reconv.data.arrays import PreparedData
from reconv.places import REGISTERED, train_dir
from reconv.registry.opening import open_registry
from reconv.registry.outcome import outcome_here
from reconv.registry.register import register
from reconv.report.summary import summary
from reconv.stage import stage
from reconv.tracking.opening import end_pipeline_run

if __name__ == "__main__":
    with stage("register") as this:
        outcome = outcome_here()
        this.inputs.verify()  # before a new version is created
        registration = register(outcome, PreparedData(), this.params, this.run, open_registry(this.params))

        registration.save(REGISTERED)
        costs = {model: TrainingCost.load(train_dir(model) / "cost.json") for model in outcome.metrics}
        this.console.print(summary(outcome.verdict, outcome.metrics, costs, registration))
    end_pipeline_run()
