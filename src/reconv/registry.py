"""The gate and the promotion: the winner becomes a version of the registered model, `champion` only if it earned it."""

import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Metrics, Registration, Verdict
from reconv.data.arrays import PreparedData
from reconv.files import read_json
from reconv.params import Params
from reconv.places import BASELINE, CNN, seed_dir
from reconv.tracking.lineage import dvc_hashes
from reconv.tracking.opening import git_commit, model_name
from reconv.tracking.outcomes import test_metrics
from reconv.tracking.record import StageRun

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PACKAGE = Path(__file__).parent
_SERVED_SEED = 0
"""Chosen before any test image was seen: the best seed on the test set would look better than it is."""
_EXAMPLE_IMAGES = 2
_CHUNK = 100
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "pyyaml", "safetensors", "torch")


@dataclass(frozen=True)
class Decision:
    alias: Literal["champion", "challenger"]
    reason: str


def decide(verdict: Verdict, accuracy: float, champion_accuracy: float | None) -> Decision:
    """`champion` if the winner's interval excludes a tie and it is not worse than the present champion (None: there is
    none that can be measured on these test images), both measured on the same test images."""
    if verdict.winner is None:
        return Decision("challenger", "the interval of the difference contains 0: neither model beats the other")
    if champion_accuracy is not None and accuracy < champion_accuracy:
        return Decision(
            "challenger", f"{accuracy:.2%} on the test images, the present champion has {champion_accuracy:.2%}"
        )
    against = (
        f", not worse than the present champion's {champion_accuracy:.2%}" if champion_accuracy is not None else ""
    )
    other = BASELINE if verdict.winner == CNN else CNN
    return Decision(
        "champion",
        f"its {verdict.confidence:.0%} interval over {other} excludes 0, {accuracy:.2%} on the test images{against}",
    )


def register(
    verdict: Verdict, metrics: dict[str, Metrics], data: PreparedData, params: Params, run: StageRun
) -> Registration:
    """Log the winner's model under `run`, make it a version, and set its alias."""
    import mlflow
    from mlflow.tracking import MlflowClient

    client = MlflowClient(mlflow.get_tracking_uri())
    name = model_name(params)
    model: str = verdict.winner or max(verdict.accuracy, key=verdict.accuracy.__getitem__)
    accuracy = metrics[model].accuracy.seeds[_SERVED_SEED]
    decision = decide(verdict, accuracy, _champion_accuracy(client, name, data))
    version = _log_model(name, model, data, run, metrics[model])
    tags = {
        "model": model,
        "seed": str(_SERVED_SEED),
        "git_commit": git_commit(),
        "data_digest": data.manifest.digest,
        "pipeline_run": run.parent.run_id,
        **_of_torchvision(seed_dir(model, _SERVED_SEED)),
        **{f"dvc.{path}": digest for path, digest in dvc_hashes().items()},
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.update_model_version(name, version, f"{verdict.text}\n\n{decision.alias}: {decision.reason}.")
    client.set_registered_model_alias(name, decision.alias, version)
    run.log_params({"model": model, "version": version, "alias": decision.alias})
    run.describe(
        f"**{name}** version {version} ({model}, seed {_SERVED_SEED}) is `{decision.alias}`: {decision.reason}."
    )
    return Registration(
        name=name,
        version=int(version),
        alias=decision.alias,
        model=model,
        seed=_SERVED_SEED,
        run_id=run.run_id,
        reason=decision.reason,
    )


def _of_torchvision(folder: Path) -> dict[str, str]:
    """Name and, if there are any, digest of the pretrained weights of the classifier in `folder`; nothing for a network
    of our own."""
    described = read_json(folder / "model.json")
    found = {"network": described["network"].get("model"), "weights_sha256": described.get("weights_sha256")}
    return {key: value for key, value in found.items() if value}


def _champion_accuracy(client: "MlflowClient", name: str, data: PreparedData) -> float | None:
    """Of the present champion on these test images; None if there is none, or it takes other images."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        champion = client.get_model_version_by_alias(name, "champion")
    except MlflowException:
        return None
    served = mlflow.pyfunc.load_model(f"models:/{name}/{champion.version}")
    shape = served.metadata.get_input_schema().inputs[0].shape
    if tuple(shape[1:]) != data.manifest.image_shape:
        return None
    predicted = np.concatenate(
        [served.predict(data.test.images[i : i + _CHUNK])["class"] for i in range(0, len(data.test), _CHUNK)]
    )
    return accuracy_of(predicted, data.test.labels, data.manifest.class_names)


def accuracy_of(predicted: NDArray[Any], labels: NDArray[np.int64], class_names: tuple[str, ...]) -> float:
    """Share of predicted class names that are the labels'."""
    return float((predicted == np.array(class_names)[labels]).mean())


def _log_model(name: str, model: str, data: PreparedData, run: StageRun, metrics: Metrics) -> str:
    """Log and register; the version's number."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema, TensorSpec

    folder = seed_dir(model, _SERVED_SEED)
    packages = (*_REQUIREMENTS, *(["torchvision"] if _of_torchvision(folder) else []))
    example = np.array(data.train.images[:_EXAMPLE_IMAGES])
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *data.manifest.image_shape))]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(Array(DataType.double), "probabilities"),
            ]
        ),
    )
    with tempfile.TemporaryDirectory(prefix="reconv-register-") as scratch, mlflow.start_run(run_id=run.run_id):
        # A copy without caches: what lies beside the sources on this machine is no part of the model.
        code = Path(shutil.copytree(_PACKAGE, Path(scratch) / "reconv", ignore=shutil.ignore_patterns("__pycache__")))
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code / "serving.py"),
            artifacts={"classifier": str(folder)},
            code_paths=[str(code)],
            signature=signature,
            input_example=example,
            pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in packages],
            registered_model_name=name,
        )
        mlflow.log_metrics(test_metrics(metrics), model_id=info.model_id)
    return str(info.registered_model_version)
