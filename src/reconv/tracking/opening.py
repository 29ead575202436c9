"""Finding or starting the MLflow run of a stage, nested in that of the pipeline."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from reconv.errors import DataError, GitError, UnavailableError
from reconv.files import digest_of, read_json, slug, write_json
from reconv.git import ask_git
from reconv.masking import masked
from reconv.params import Params
from reconv.places import STATE, project
from reconv.tracking.courier import Courier
from reconv.tracking.delivery import MAX_PARAMS, PARENT
from reconv.tracking.lineage import dvc_hashes
from reconv.tracking.local_store import ARTIFACTS, file_of
from reconv.tracking.machine import MachineMetrics
from reconv.tracking.record import NOTE, Record, StageRun, as_params
from reconv.tracking.remedies import unavailable
from reconv.tracking.server import connect, tracking_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PIPELINE = STATE / "pipeline.json"
_DELETED = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'deleted'"


def model_name(params: Params) -> str:
    """Return the registered model's name; `auto` is the last part of the source's path, so that data can be moved."""
    if params.register_.name != "auto":
        return params.register_.name
    source = masked(params.data.source)
    last = re.split(r"[/\\:]", source.rstrip("/"))[-1]
    name = slug(re.sub(r"\.(zip|tar|tgz|csv|parquet)(\.\w+)?$", "", last))
    return slug(source) if set(last) <= {"."} or not name.strip(".") else name


def model_name_of_old(params: Params) -> str:
    """Return what `auto` meant in earlier versions: the whole path."""
    return slug(params.data.source)


@contextmanager
def open_stage_run(params: Params, stage: str, model: str | None, say: Callable[[str], None]) -> Iterator[StageRun]:
    """The run of this stage, nested in the pipeline's: a new one, or the one that an interrupted stage left.

    Raises:
        UnavailableError: the tracking store cannot be reached.
    """
    uri = tracking_uri(params.resources)
    name = f"{stage} {model}" if model else stage
    try:
        client = connect(uri)
        experiment_id = experiment_of(client, uri, params)
        pipeline = _pipeline_run(client, experiment_id, params, say)
        run_id = _join_or_create(client, experiment_id, pipeline, name)
        courier = Courier(client, uri, run_id, _unfinished(), say)
    except Exception as error:  # whatever the store's client raises
        raise unavailable(uri, error) from None
    run = StageRun(courier, run_id, Record(courier, {"run": pipeline["run_id"]}), experiment_name(params))
    courier.start()
    run.parent.set_status("RUNNING")
    run.set_status("RUNNING")
    run.set_tags({f"dvc.{path}": digest for path, digest in dvc_hashes().items()})
    machine = MachineMetrics(run) if stage in ("search", "train", "evaluate") else None
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if machine is not None:
            machine.finish()
        run.end(status)
        run.parent.end(status)  # the next stage sets it running again; there may be none
        courier.close(finished=status == "FINISHED")
        if status == "FINISHED":
            pipeline["stages"].pop(name, None)
            write_json(_PIPELINE, pipeline)


def _unfinished() -> set[str]:
    """Return the runs that a stage may go on with: here, or in the project of which this is a temporary copy."""
    found: set[str] = set()
    for file in (_PIPELINE, project() / _PIPELINE):
        with suppress(DataError):  # there is none
            found |= set(read_json(file)["stages"].values())
    return found


def end_pipeline_run() -> None:
    """The last stage calls it: the next stage to run starts a new pipeline run."""
    _PIPELINE.unlink(missing_ok=True)


def experiment_name(params: Params) -> str:
    return slug(masked(params.data.source))


def check_experiment(params: Params) -> None:
    """Check in a local store's tables, without MLflow, that the experiment was not deleted.

    Raises:
        UnavailableError: it was.
    """
    uri, name = tracking_uri(params.resources), experiment_name(params)
    path = file_of(uri)
    if path is None or not path.exists():
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as store:
        if found := store.execute(_DELETED, (name,)).fetchone():
            raise _deleted(uri, name, found[0])


def _deleted(uri: str, name: str, number: str) -> UnavailableError:
    return UnavailableError(
        f"MLflow's experiment {name} (ID {number}) was deleted, and its name is taken until it is restored.\n"
        f"Restore it: `MLFLOW_TRACKING_URI={masked(uri)} mlflow experiments restore -x {number}`, then run the same "
        "command again."
    )


def experiment_of(client: "MlflowClient", uri: str, params: Params) -> str:
    from mlflow.exceptions import MlflowException

    name = experiment_name(params)
    found = client.get_experiment_by_name(name)
    if found is not None:
        experiment_id: str = found.experiment_id
        if found.lifecycle_stage == "deleted":
            raise _deleted(uri, name, experiment_id)
        return experiment_id
    local = (project().resolve() / ARTIFACTS).as_uri() if uri.startswith("sqlite:") else None
    try:
        experiment_id = client.create_experiment(name, artifact_location=local and f"{local}/{name}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return experiment_of(client, uri, params)  # another stage has just made it
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    client.set_experiment_tag(
        experiment_id,
        NOTE,
        f"**{name}**: is a convolutional network worth it over a plain feed-forward network on these images?\n\n"
        "Each *repro* run is one run of the pipeline; its description holds the verdict, its artifacts the report. "
        "Nested in it are its stages, and in these the search's trials and the final training's seeds. "
        "Open a search and compare its trials by `validation/accuracy`.",
    )
    return experiment_id


def _pipeline_run(
    client: "MlflowClient", experiment_id: str, params: Params, say: Callable[[str], None]
) -> dict[str, Any]:
    """The pipeline run that an interrupted `dvc repro` left, if the parameters are the same; else a new one."""
    from mlflow.entities import Param

    key = digest_of(params.model_dump(mode="json", exclude={"resources"}))
    if _PIPELINE.exists():
        pipeline: dict[str, Any] = read_json(_PIPELINE)
        if pipeline["key"] == key and _exists(client, pipeline["run_id"]):
            return pipeline
    commit, experiment = git_commit(say), os.environ.get("DVC_EXP_NAME", "")
    run = client.create_run(
        experiment_id,
        run_name=" ".join(filter(None, ["repro", time.strftime("%m-%d %H:%M"), commit[:7], experiment])),
        tags={
            "mlflow.source.git.commit": commit,
            "mlflow.source.name": "dvc repro",
            NOTE: f"`dvc repro` of **{masked(params.data.source)}** at commit `{commit[:7] or 'none'}`: running.",
        },
    )
    pipeline = {"key": key, "run_id": run.info.run_id, "stages": {}}
    values = list(as_params(_flatten(params.model_dump(mode="json", by_alias=True))).items())
    for start in range(0, len(values), MAX_PARAMS):
        some = [Param(key, value) for key, value in values[start : start + MAX_PARAMS]]
        client.log_batch(run.info.run_id, params=some)
    write_json(_PIPELINE, pipeline)
    return pipeline


def _join_or_create(client: "MlflowClient", experiment_id: str, pipeline: dict[str, Any], name: str) -> str:
    run_id: str | None = pipeline["stages"].get(name)
    if run_id is not None and _exists(client, run_id):
        return run_id
    commit = git_commit()
    run = client.create_run(
        experiment_id,
        run_name=name,
        tags={PARENT: pipeline["run_id"], "reconv.stage": name, "mlflow.source.git.commit": commit},
    )
    pipeline["stages"][name] = run.info.run_id
    write_json(_PIPELINE, pipeline)
    return str(run.info.run_id)


def _exists(client: "MlflowClient", run_id: str) -> bool:
    """Not if the store was deleted, or the run in MLflow's pages."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def git_commit(say: Callable[[str], None] = lambda _: None) -> str:
    """Return the commit of this folder, or of the one that was sent here as a job; empty, and say why, if there is
    none."""
    if sent := os.environ.get("RECONV_COMMIT"):
        return sent
    try:
        return ask_git("rev-parse", "HEAD").strip()
    except GitError as error:
        say(f"runs and models will not name a commit: {error}")
        return ""


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
