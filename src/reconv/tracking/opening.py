"""Finding or starting the MLflow run of a stage, nested in that of the pipeline."""

import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconv.errors import UnavailableError
from reconv.files import atomic, digest_of, read_json, slug, write_json
from reconv.params import Params, ResourcesParams
from reconv.places import STATE
from reconv.tracking.lineage import dvc_hashes
from reconv.tracking.record import NOTE, PARENT, Record, StageRun

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_CONNECT_SECONDS = 10
_SQLITE = "sqlite:///"
_MEMORY = Path("/dev/shm")
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is sent anywhere that the user did not name
}
_PIPELINE = STATE / "pipeline.json"
_SYSTEM_METRICS_SECONDS = 5


def tracking_uri(resources: ResourcesParams) -> str:
    """MLFLOW_TRACKING_URI, else params.yaml's, else a file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or resources.tracking_uri or f"sqlite:///{Path('mlflow.db').resolve()}"


def model_name(params: Params) -> str:
    """Of the registered model; the experiment is named alike for `auto`."""
    return slug(params.data.source) if params.register_.name == "auto" else params.register_.name


@contextmanager
def open_stage_run(params: Params, stage: str, model: str | None, say: Callable[[str], None]) -> Iterator[StageRun]:
    """The run of this stage, nested in the pipeline's: a new one, or the one that an interrupted stage left.

    Raises:
        UnavailableError: the tracking store cannot be reached.
    """
    uri = tracking_uri(params.resources)
    name = f"{stage} {model}" if model else stage
    try:
        client = _connect(uri)
        experiment_id = _experiment(client, uri, params)
        pipeline = _pipeline_run(client, experiment_id, params)
        client.update_run(pipeline["run_id"], status="RUNNING")
        parent = Record(client, pipeline["run_id"], say)
        run_id = _join_or_create(client, experiment_id, pipeline, name)
    except Exception as error:  # whatever the store's client raises
        raise _unavailable(uri, error) from None
    run = StageRun(client, run_id, parent, slug(params.data.source), say)
    run.set_tags({f"dvc.{path}": digest for path, digest in dvc_hashes().items()})
    monitor = _system_metrics(run_id) if stage in ("search", "train", "evaluate") else None
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if monitor is not None:
            monitor.finish()
        run.end(status)
        parent.end(status)  # the next stage sets it running again; there may be none
        if status == "FINISHED":
            pipeline["stages"].pop(name, None)
            write_json(_PIPELINE, pipeline)


def end_pipeline_run() -> None:
    """The last stage calls it: the next stage to run starts a new pipeline run."""
    _PIPELINE.unlink(missing_ok=True)


def _connect(uri: str) -> "MlflowClient":
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.tracking import MlflowClient

    _make_store(uri)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def _make_store(uri: str) -> None:
    """Make a new file's tables in memory and move them to their place as a whole: migration by migration on a disk it
    takes up to 8 s instead of 2, and a process that is killed meanwhile leaves a store that cannot be opened."""
    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or "?" in uri or path.exists():
        return
    from mlflow.tracking import MlflowClient

    with TemporaryDirectory(prefix="reconv-store-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        made = Path(folder) / "mlflow.db"
        MlflowClient(f"{_SQLITE}{made}").search_experiments(max_results=1)
        with (
            atomic(path) as temporary,
            closing(sqlite3.connect(made)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)


def check_tracking(resources: ResourcesParams) -> None:
    """A server that does not answer is known here within seconds; MLflow's client would retry for minutes.

    Raises:
        UnavailableError: no connection is accepted.
    """
    uri = tracking_uri(resources)
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _unavailable(uri, error) from None


def _unavailable(uri: str, error: Exception) -> UnavailableError:
    parts = urlsplit(uri)
    shown = uri.replace(f"{parts.username}:{parts.password}@", "") if parts.password else uri
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return UnavailableError(
        f"MLflow at {shown} cannot be used ({reason}).\n"
        "Start the server, correct MLFLOW_TRACKING_URI or resources.tracking_uri, or unset both to use a local file."
    )


def _experiment(client: "MlflowClient", uri: str, params: Params) -> str:
    name = slug(params.data.source)
    found = client.get_experiment_by_name(name)
    if found is not None:
        experiment_id: str = found.experiment_id
        return experiment_id
    local = Path("mlartifacts").resolve().as_uri() if uri.startswith("sqlite:") else None
    experiment_id = client.create_experiment(name, artifact_location=local and f"{local}/{name}")
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


def _pipeline_run(client: "MlflowClient", experiment_id: str, params: Params) -> dict[str, Any]:
    """The pipeline run that an interrupted `dvc repro` left, if the parameters are the same; else a new one."""
    key = digest_of([tracking_uri(params.resources), params.model_dump(mode="json", exclude={"resources"})])
    if _PIPELINE.exists():
        pipeline: dict[str, Any] = read_json(_PIPELINE)
        if pipeline["key"] == key and _exists(client, pipeline["run_id"]):
            return pipeline
    commit = git_commit()
    run = client.create_run(
        experiment_id,
        run_name=f"repro {time.strftime('%m-%d %H:%M')} {commit[:7]}".rstrip(),
        tags={
            "mlflow.source.git.commit": commit,
            "mlflow.source.name": "dvc repro",
            NOTE: f"`dvc repro` of **{params.data.source}** at commit `{commit[:7] or 'none'}`: running.",
        },
    )
    pipeline = {"key": key, "run_id": run.info.run_id, "stages": {}}
    Record(client, run.info.run_id, print).log_params(_flatten(params.model_dump(mode="json", by_alias=True)))
    write_json(_PIPELINE, pipeline)
    return pipeline


def _join_or_create(client: "MlflowClient", experiment_id: str, pipeline: dict[str, Any], name: str) -> str:
    run_id: str | None = pipeline["stages"].get(name)
    if run_id is not None and _exists(client, run_id):
        client.update_run(run_id, status="RUNNING")
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


def _system_metrics(run_id: str) -> Any:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=_SYSTEM_METRICS_SECONDS)
    monitor.start()
    return monitor


def git_commit() -> str:
    """Of the working copy; empty outside of git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
