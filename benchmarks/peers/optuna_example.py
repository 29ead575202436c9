"""Plain Optuna in one process, as Optuna's own Lightning example shows it (optuna-examples,
pytorch/pytorch_lightning_simple.py): TPE, MedianPruner, one trial at a time with all cores, no checkpoints.

The data path is the tutorial's, values are searched as in ray_tune_example.py. Prints a JSON line per epoch of any
trial, at last one with the epochs and seconds of all.
"""

import json
import tempfile
import time

import optuna
import pytorch_lightning as pl

from benchmarks.peers.tutorial import LR, TutorialData, TutorialModule, new_network, search_arguments

WIDTHS = ["32,64,128", "16,32,64,128", "32,64"]  # Optuna's categories are to be strings or numbers


class Report(pl.Callback):
    """Does what optuna-integration's PyTorchLightningPruningCallback does, and prints what the benchmark reads."""

    def __init__(self, trial: optuna.Trial, budget: "Budget") -> None:
        self.trial = trial
        self.budget = budget

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        accuracy = trainer.callback_metrics["val_acc"].item()
        report = {"trial": self.trial.number, "epoch": trainer.current_epoch + 1, "accuracy": accuracy}
        print(json.dumps(report), flush=True)
        self.trial.report(accuracy, step=trainer.current_epoch)
        self.budget.spent += 1
        if self.budget.is_spent:
            self.trial.study.stop()
            trainer.should_stop = True
        elif self.trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {trainer.current_epoch + 1}")


class Budget:
    """Epochs over all trials."""

    def __init__(self, epochs: int | None) -> None:
        self.epochs = epochs
        self.spent = 0

    @property
    def is_spent(self) -> bool:
        return self.epochs is not None and self.spent >= self.epochs


def main() -> None:
    began = time.perf_counter()
    arguments = search_arguments()
    budget = Budget(arguments.budget_epochs)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *LR[arguments.network], log=True)
        dropout = trial.suggest_float("dropout", 0.0, 0.4)
        widths = [int(width) for width in trial.suggest_categorical("widths", WIDTHS).split(",")]
        trainer = pl.Trainer(
            max_epochs=arguments.max_epochs,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_checkpointing=False,
            callbacks=[Report(trial, budget)],
        )
        data = TutorialData(arguments.data, num_workers=2, judge=arguments.judge, train_images=arguments.train_images)
        trainer.fit(TutorialModule(new_network(arguments.network, widths, dropout), lr), datamodule=data)
        return trainer.callback_metrics["val_acc"].item()

    sampler = optuna.samplers.TPESampler(seed=arguments.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())
    with tempfile.TemporaryDirectory() as folder:
        study.optimize(objective, n_trials=arguments.trials)
    total = {"epochs": budget.spent, "seconds": time.perf_counter() - began, "best": study.best_value}
    print(json.dumps({**total, "config": study.best_params}), flush=True)


if __name__ == "__main__":
    main()
