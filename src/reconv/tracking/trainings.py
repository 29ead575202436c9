"""What MLflow keeps of a trial or a final training so that it can be trained once more, and the reading of it."""

import ast
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from reconv.artifacts import Artifact, Manifest
from reconv.errors import RegistryError
from reconv.params import AugmentParams, Params, RecipeParams
from reconv.resuming import code_digest
from reconv.tracking.delivery import KEY, PARENT
from reconv.tracking.filters import quoted
from reconv.tracking.remedies import reason_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_TAG = "reconv.trainings"
_WEIGHTS = "reconv.weights_sha256"
_SEED = "seed"
PREPARED_TAG = "dvc.data/prepared"


class Trainings(Artifact):
    """What all trials of a search, or all seeds of a final training, have in common: a tag of their stage's run."""

    stage: Literal["search", "train"]
    model: str
    augment: AugmentParams
    recipe: RecipeParams
    """Without the values that were searched, as the next."""
    network: dict[str, Any]
    epochs: int
    seed: int | None = None
    """Of all trials, as earlier versions kept it; today the run of each training has its own."""
    data_digest: str
    threads: int
    """Of each training's process."""
    workers: int
    """That shared each training."""
    code_digest: str
    torch: str
    """Its version."""


def trainings_tag(
    stage: Literal["search", "train"],
    model: str,
    params: Params,
    epochs: int,
    manifest: Manifest,
    threads: int,
    workers: int = 1,
) -> dict[str, str]:
    common = Trainings(
        stage=stage,
        model=model,
        augment=params.augment,
        recipe=params.recipe,
        network=params.network(model).model_dump(mode="json"),
        epochs=epochs,
        data_digest=manifest.digest,
        threads=threads,
        workers=workers,
        code_digest=code_digest(),
        torch=importlib.metadata.version("torch"),
    )
    return {_TAG: common.model_dump_json()}


def weights_tag(sha256: str) -> dict[str, str]:
    """Of a final training's own run."""
    return {_WEIGHTS: sha256}


@dataclass(frozen=True)
class Recorded:
    """One trial or final training, as MLflow has it."""

    run_id: str
    name: str
    common: Trainings
    values: Mapping[str, Any]
    """Those of params.yaml that the search chose."""
    seed: int
    curve: Mapping[int, Mapping[str, float]]
    """Epoch -> metrics."""
    weights_sha256: str
    """Empty of a trial, whose weights are not kept."""
    prepared_md5: str
    """By which DVC knows the images."""
    git_commit: str


def recorded_training(client: "MlflowClient", run_id: str) -> Recorded:
    """Raises RegistryError: there is no such run, or it is none of a trial or a final training."""
    run = _run(client, run_id)
    parent = run.data.tags.get(PARENT)
    stage = _run(client, parent) if parent else run
    if _TAG not in stage.data.tags or run is stage:
        raise RegistryError(
            f"run {run_id} is no trial of a search and no seed of a final training (or one from before they were kept "
            "so): open one of these in MLflow and take its run id."
        )
    try:
        common = Trainings.model_validate_json(stage.data.tags[_TAG])
    except ValidationError as error:
        raise RegistryError(f"run {stage.info.run_id} was kept by another version of reconv ({error}).") from None
    chosen = dict(run.data.params)
    if common.stage == "train" and not chosen.keys() - {_SEED}:  # as earlier versions kept it
        chosen |= stage.data.params
    seed = chosen.pop(_SEED, None)
    return Recorded(
        run_id=run.info.run_id,
        name=run.info.run_name,
        common=common,
        values={key: _value(text) for key, text in chosen.items()},
        seed=int(seed) if common.seed is None else common.seed,
        curve=_curve(client, run),
        weights_sha256=run.data.tags.get(_WEIGHTS, ""),
        prepared_md5=stage.data.tags.get(PREPARED_TAG, ""),
        git_commit=stage.data.tags.get("mlflow.source.git.commit", ""),
    )


def seed_run(client: "MlflowClient", stage_run: str, seed: int) -> str:
    """The run of one seed of a final training. Raises RegistryError: there is none."""
    stage = _run(client, stage_run)
    wanted = f"tags.`{PARENT}` = {quoted(stage.info.run_id)} and tags.`{KEY}` = 'seed-{seed}'"
    found = client.search_runs([stage.info.experiment_id], wanted, max_results=1)
    if not found:
        raise RegistryError(f"run {stage_run} has no training of seed {seed}.")
    return str(found[0].info.run_id)


def _run(client: "MlflowClient", run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"MLflow has no run {run_id} ({reason_of(error)}).") from None


def _curve(client: "MlflowClient", run: "Run") -> dict[int, dict[str, float]]:
    curve: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        if name.startswith(("train/", "validation/")):
            for metric in client.get_metric_history(run.info.run_id, name):
                curve.setdefault(metric.step, {})[name] = metric.value
    return curve


def _value(text: str) -> Any:
    """What `str` made of a number, a truth value, a list or None; other text stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
