"""Runs that this process writes. Only the driver process of a stage does.

MLflow observes: once a stage has started, a store that fails stops nothing.
"""

import json
import time
from collections.abc import Callable, Mapping, Set
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from reconv.artifacts import Manifest
from reconv.files import slug
from reconv.places import PREPARED
from reconv.training.observer import History

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
_KEY = "reconv.key"
P = ParamSpec("P")
R = TypeVar("R", bound="Record")


def never_stops_training(method: Callable[Concatenate[R, P], None]) -> Callable[Concatenate[R, P], None]:
    """A record that cannot be written is said once and left out: the numbers do not depend on it."""

    @wraps(method)
    def guarded(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever the store's client raises
            if not self.has_complained():
                self.complain(f"MLflow takes no record ({str(error).splitlines()[0]}); the stage goes on without it.")

    return guarded


class Record:
    """One MLflow run that this process writes."""

    def __init__(self, client: "MlflowClient", run_id: str, complain: Callable[[str], None]) -> None:
        self._client = client
        self.run_id = run_id
        self._complain = complain
        self._complaints: list[str] = []

    def has_complained(self) -> bool:
        return bool(self._complaints)

    def complain(self, message: str) -> None:
        self._complaints.append(message)
        self._complain(message)

    @never_stops_training
    def log_params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(key, str(value)[:5000]) for key, value in values.items()])

    @never_stops_training
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    @never_stops_training
    def set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def describe(self, markdown: str) -> None:
        self.set_tags({NOTE: markdown})

    @never_stops_training
    def log_file(self, path: Path, folder: str | None = None) -> None:
        self._client.log_artifact(self.run_id, str(path), folder)

    @never_stops_training
    def log_dataset(self, manifest: Manifest, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=slug(manifest.source),
            digest=manifest.digest[:32],
            source_type="local",
            source=json.dumps({"uri": str(PREPARED)}),
            schema=json.dumps({"image": ["uint8", *manifest.image_shape], "classes": list(manifest.class_names)}),
            profile=json.dumps(manifest.counts),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    @never_stops_training
    def end(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)


class StageRun(Record):
    """The run of a stage. As an observer it keeps a nested run for each trial or seed."""

    def __init__(
        self, client: "MlflowClient", run_id: str, parent: Record, experiment: str, complain: Callable[[str], None]
    ) -> None:
        super().__init__(client, run_id, complain)
        self.parent = parent
        self.experiment = experiment
        self._experiment_id = client.get_run(run_id).info.experiment_id
        self._children: dict[str, Record] = {}
        self._last_epoch: dict[str, int] = {}

    @never_stops_training
    def resumed(self, history: History, ended: Set[str]) -> None:
        """Join the nested runs that an interrupted stage left; those it does not go on with are deleted."""
        for run in self._nested():
            key = run.data.tags.get(_KEY, "")
            if key not in history:
                self._client.delete_run(run.info.run_id)
                continue
            self._children[key] = Record(self._client, run.info.run_id, self.complain)
            logged = self._client.get_metric_history(run.info.run_id, "train/loss")
            self._last_epoch[key] = max((metric.step for metric in logged), default=0)
            for epoch, metrics in sorted(history[key].items()):
                self.epoch(key, epoch, metrics)  # what it had not logged when it was interrupted

    def _nested(self) -> list["Run"]:
        return list(
            self._client.search_runs([self._experiment_id], f"tags.`{PARENT}` = '{self.run_id}'", max_results=10_000)
        )

    @never_stops_training
    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        if key in self._children:
            self._client.update_run(self._children[key].run_id, status="RUNNING")
            return
        run = self._client.create_run(
            self._experiment_id, run_name=name, tags={PARENT: self.run_id, _KEY: key, NOTE: _values_as_text(values)}
        )
        self._children[key] = Record(self._client, run.info.run_id, self.complain)
        self._children[key].log_params(values)

    @never_stops_training
    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        self._children[key].set_tags({"reconv.worker": worker, "reconv.begins_after_epoch": str(after_epoch)})

    @never_stops_training
    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch > self._last_epoch.get(key, 0):
            self._last_epoch[key] = epoch
            self._children[key].log_metrics(metrics, step=epoch)

    @never_stops_training
    def finished(self, key: str, status: str) -> None:
        self._children[key].set_tags({"reconv.status": status})
        self._children[key].end("FAILED" if status in ("failed", "diverged") else "FINISHED")


def _values_as_text(values: Mapping[str, Any]) -> str:
    shown = (f"`{k}` {v:.3g}" if isinstance(v, float) else f"`{k}` {v}" for k, v in values.items())
    return ", ".join(shown)
