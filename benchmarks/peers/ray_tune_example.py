"""The plain Ray Tune + Lightning example, as Ray ships it (ray/tune/examples/mnist_ptl_mini.py and the reference of
TuneReportCheckpointCallback): random search under ASHA, a core per trial, no DataLoader workers, Tune's defaults.

The data path is the tutorial's. Prints a JSON line per epoch of any trial, at last one with the epochs and seconds of
all.
"""

import argparse
import json
import tempfile
import time
from typing import Any

import pytorch_lightning as pl
from ray import tune
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.peers.tutorial import LR, TutorialData, TutorialModule, new_network, search_arguments

# Batch normalisation bears ten times the learning rate; each network is searched where it can win.
WIDTHS = [[32, 64, 128], [16, 32, 64, 128], [32, 64]]


def train_fashion_mnist(config: dict[str, Any], arguments: argparse.Namespace) -> None:
    """A trial; Tune sets OMP_NUM_THREADS to its cores."""
    network = new_network(arguments.network, config["widths"], config["dropout"])
    data = TutorialData(arguments.data, num_workers=0, judge=arguments.judge, train_images=arguments.train_images)
    report = TuneReportCheckpointCallback({"accuracy": "val_acc"}, on="validation_end", save_checkpoints=False)
    trainer = pl.Trainer(max_epochs=arguments.max_epochs, enable_progress_bar=False, callbacks=[report])
    trainer.fit(TutorialModule(network, config["lr"]), datamodule=data)


class PrintEpochs(tune.Callback):
    """What the benchmark reads."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.epochs += 1
        report = {"trial": trial.trial_id, "epoch": result["training_iteration"], "accuracy": result["accuracy"]}
        print("\n" + json.dumps(report), flush=True)


class EpochBudget(tune.Stopper):
    """Ends the search once its trials have spent so many epochs."""

    def __init__(self, budget: int) -> None:
        self.left = budget

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.left -= 1
        return False

    def stop_all(self) -> bool:
        return self.left <= 0


def main() -> None:
    began = time.perf_counter()
    arguments = search_arguments()
    arguments.data = arguments.data.resolve()  # a trial runs in a folder of its own
    epochs = PrintEpochs()
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train_fashion_mnist, arguments=arguments), {"cpu": 1}),
            param_space={
                "lr": tune.loguniform(*LR[arguments.network]),
                "dropout": tune.uniform(0.0, 0.4),
                "widths": tune.choice(WIDTHS),
            },
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=arguments.trials,
                scheduler=ASHAScheduler(max_t=arguments.max_epochs, grace_period=1, reduction_factor=3),
                search_alg=BasicVariantGenerator(random_state=arguments.seed),
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                callbacks=[epochs],
                stop=EpochBudget(arguments.budget_epochs) if arguments.budget_epochs else None,
            ),
        )
        results = tuner.fit()
    best = results.get_best_result()
    total = {"epochs": epochs.epochs, "seconds": time.perf_counter() - began, "best": best.metrics["accuracy"]}
    print("\n" + json.dumps({**total, "config": best.config}), flush=True)
    if results.errors:
        raise results.errors[0]


if __name__ == "__main__":
    main()
