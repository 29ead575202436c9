"""What the stages before `register` found, as it reads it.

N test images, K classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reconv.artifacts import Best, Metrics, Registration, RegistryState, Verdict
from reconv.files import read_json
from reconv.places import (
    BASELINE,
    CNN,
    COMPARE,
    REGISTERED,
    REGISTRY_STATE,
    evaluate_dir,
    run_file,
    search_dir,
)
from reconv.serving.logits import Logits

SERVED_SEED = 0
"""Chosen before any test image was seen: the best seed on the test set would look better than it is."""


@dataclass(frozen=True)
class Origin:
    """MLflow's runs that a model comes from."""

    search_run: str
    trial: int
    """Of the search: the one whose values it has."""
    training_run: str


@dataclass(frozen=True)
class Outcome:
    """What the stages before have found."""

    verdict: Verdict
    metrics: dict[str, Metrics]
    predictions: dict[str, pd.DataFrame]
    """As `evaluate` writes them."""
    origins: dict[str, Origin]
    registered: Registration | None = None
    """What came of the last registration."""
    times_lost: int = 0
    """How often the registry had lost what was registered."""

    def temperature(self, model: str) -> float:
        """Of the served seed."""
        return self.metrics[model].temperature.seeds[SERVED_SEED]

    def logits(self, model: str) -> Logits:
        """(N, K) of the served seed."""
        table = self.predictions[model]
        of_seed = table[table["seed"] == SERVED_SEED].sort_values("image")
        return of_seed.filter(like="logit_").to_numpy(np.float32)


def other(model: str) -> str:
    return BASELINE if model == CNN else CNN


def origin_of(model: str) -> Origin:
    """As the stages before wrote it down."""
    runs = [str(read_json(run_file(stage, model))["run_id"]) for stage in ("search", "train")]
    return Origin(runs[0], Best.load(search_dir(model) / "best.json").choices[SERVED_SEED].trial, runs[1])


def outcome_here() -> Outcome:
    """What the stages before left in results/."""
    verdict = Verdict.load(COMPARE / "verdict.json")
    models = list(verdict.accuracy)
    return Outcome(
        verdict,
        {model: Metrics.load(evaluate_dir(model) / "metrics.json") for model in models},
        {model: pd.read_parquet(evaluate_dir(model) / "predictions.parquet") for model in models},
        {model: origin_of(model) for model in models},
        Registration.load(REGISTERED) if REGISTERED.exists() else None,
        RegistryState.load(REGISTRY_STATE).times_lost if REGISTRY_STATE.exists() else 0,
    )
