"""evaluate: classifiers and the test split -> predictions and metrics in results/evaluate/MODEL."""

import own_python  # noqa: F401
import sys

from reconv.artifacts import TrainingCost
from reconv.data.arrays import PreparedData
from reconv.evaluation.evaluate import evaluate
from reconv.evaluation.metrics import confusion_rows
from reconv.files import write_csv, write_parquet
from reconv.places import evaluate_dir, seed_dir, train_dir
from reconv.stage import stage
from reconv.tracking.outcomes import log_evaluation
from reconv.untrusted import as_plotted

if __name__ == "__main__":
    model = sys.argv[1]
    with stage("evaluate", model) as this:
        data = PreparedData()
        cost = TrainingCost.load(train_dir(model) / "cost.json")
        folders = {seed: seed_dir(model, seed) for seed in range(this.params.train.num_seeds)}
        evaluation = evaluate(folders, data, cost, this.params.evaluate)
        metrics = evaluation.metrics

        out = evaluate_dir(model)
        write_parquet(out / "predictions.parquet", evaluation.predictions)
        confusion = confusion_rows(evaluation.predictions, data.manifest.class_names)
        write_csv(out / "confusion.csv", confusion.map(as_plotted))
        write_csv(out / "calibration.csv", evaluation.calibration)
        write_csv(out / "suspects.csv", evaluation.suspects)
        metrics.save(out / "metrics.json")
        this.run.log_dataset(data.manifest, "test")
        log_evaluation(
            this.run, model, metrics, [out / name for name in ("metrics.json", "confusion.csv", "calibration.csv")]
        )
        this.console.say(
            f"test accuracy {metrics.accuracy.mean:.2%} ± {metrics.accuracy.std:.2%} over {len(folders)} seeds · "
            f"{metrics.num_parameters:,} parameters"
        )
