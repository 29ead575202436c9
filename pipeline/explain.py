"""explain: the CNN of seed 0 and the test split -> what it looks for and where it errs, in results/explain."""

import own_python  # noqa: F401

import pandas as pd

from reconv.artifacts import Metrics
from reconv.data.arrays import PreparedData
from reconv.explain.explain import explain
from reconv.files import read_csv, write_arrays
from reconv.places import CNN, EXPLAIN, evaluate_dir, seed_dir
from reconv.stage import stage
from reconv.tracking.outcomes import log_explanation

if __name__ == "__main__":
    with stage("explain") as this:
        predictions = pd.read_parquet(evaluate_dir(CNN) / "predictions.parquet", filters=[("seed", "==", 0)])
        temperature = Metrics.load(evaluate_dir(CNN) / "metrics.json").temperature.seeds[0]
        suspects = read_csv(evaluate_dir(CNN) / "suspects.csv", texts=("file", "label", "suggested"))
        explained = explain(seed_dir(CNN, 0), predictions, suspects, temperature, PreparedData())

        write_arrays(EXPLAIN / "pictures.npz", explained.pictures)
        explained.explanation.save(EXPLAIN / "explanation.json")
        log_explanation(this.run, explained.explanation, EXPLAIN / "explanation.json")
        this.console.say(explained.explanation.text)
