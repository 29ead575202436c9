"""Classifiers that were trained for a moment, with all that the stages before `register` find out about them."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from reconv.artifacts import Interval, Metrics, TrainingCost, Verdict
from reconv.data.arrays import PreparedData
from reconv.evaluation.evaluate import evaluate
from reconv.files import write_bytes, write_json
from reconv.params import Params
from reconv.places import seed_dir
from reconv.registry.opening import open_registry
from reconv.registry.outcome import Origin, Outcome
from reconv.registry.registry import Registry
from reconv.training.fit import fit
from reconv.training.job import TrainingJob

COST = TrainingCost(
    device_seconds=(2.0,), energy=None, wall_seconds=5.0, images_per_second=100.0, device="cpu", precision="32-true"
)


def verdict_of(winner: str | None = "cnn", p_value: float = 1e-6, **changes: Any) -> Verdict:
    usual: dict[str, Any] = {
        "accuracy": {"cnn": 0.9, "feedforward": 0.8},
        "accuracy_interval": {name: Interval(low=0.7, high=0.95) for name in ("cnn", "feedforward")},
        "difference": 0.1,
        "difference_interval": Interval(low=0.05, high=0.15),
        "confidence": 0.95,
        "p_value": p_value,
        "detectable_difference": 0.02,
        "power": 0.8,
        "probability_of_cnn": 0.9,
        "classes": (),
        "audit": (),
        "budgets": {},
        "notes": (),
        "winner": winner,
        "text": "The CNN is worth it here.",
        "why": "",
    }
    return Verdict.model_validate({**usual, **changes})


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    """make_verdict(winner="cnn", p_value=1e-6)."""
    return verdict_of


def outcome_of(data: PreparedData, params: Params, epochs: int, seed: int, lr: float, **of_verdict: Any) -> Outcome:
    """A CNN, and a feed-forward network that learns nothing, trained into results/train and evaluated."""
    metrics: dict[str, Metrics] = {}
    predictions: dict[str, pd.DataFrame] = {}
    for model in ("cnn", "feedforward"):
        recipe = params.recipe.model_copy(update={"lr": lr if model == "cnn" else 1e-7})
        job = TrainingJob(model, params.network(model), recipe, params.augment, epochs, seed)
        trained = fit(job, data.manifest, data.train, data.validation, lambda *_: None)
        folder = seed_dir(model, 0)
        write_bytes(folder / "weights.safetensors", trained.weights)
        write_json(folder / "model.json", trained.arguments)
        found = evaluate({0: folder}, data, COST, params.evaluate)
        metrics[model], predictions[model] = found.metrics, found.predictions
    origins = {model: Origin("of the search", 1, "of the training") for model in metrics}
    return Outcome(verdict_of(**of_verdict), metrics, predictions, origins)


@pytest.fixture
def make_outcome(params: Params) -> Callable[..., Outcome]:
    """make_outcome(data, epochs=1, seed=0, lr=0.01): see `outcome_of`."""

    def make(data: PreparedData, epochs: int = 1, seed: int = 0, lr: float = 1e-2, **of_verdict: Any) -> Outcome:
        return outcome_of(data, params, epochs, seed, lr, **of_verdict)

    return make


@pytest.fixture
def registry(params: Params) -> Registry:
    """Of the current folder's store."""
    return open_registry(params)
