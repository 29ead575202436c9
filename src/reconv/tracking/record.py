"""Runs that this process writes. Only the driver process of a stage does.

MLflow observes: once a stage has started, a store that fails stops nothing. What is recorded here is in the stage's
journal when the call returns; the courier brings it to MLflow.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Set
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from reconv.artifacts import Manifest
from reconv.files import slug
from reconv.masking import masked
from reconv.places import PREPARED
from reconv.tracking.courier import Courier
from reconv.tracking.delivery import MAX_METRICS, MAX_PARAMS
from reconv.tracking.journal import Line
from reconv.training.observer import History
from reconv.untrusted import without_links

NOTE = "mlflow.note.content"
_MAX_CHARACTERS = 5000
P = ParamSpec("P")
R = TypeVar("R", bound="Record")


def never_stops_training(method: Callable[Concatenate[R, P], None]) -> Callable[Concatenate[R, P], None]:
    """A record that cannot be kept (the disk is full) is said once and left out: the numbers do not depend on it."""

    @wraps(method)
    def guarded(self: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self.courier.say_once("not kept", f"no record for MLflow ({reason}); the stage goes on without it.")

    return guarded


class Record:
    """One MLflow run that this process writes: {"run": its id} or, nested in the stage's, {"key": its key}."""

    def __init__(self, courier: Courier, run: Mapping[str, str]) -> None:
        self.courier = courier
        self._run = run

    @property
    def run_id(self) -> str:
        """Of the stage's and the pipeline's; a nested run has none before it is delivered."""
        return self._run["run"]

    @never_stops_training
    def log_params(self, values: Mapping[str, Any]) -> None:
        for some in _parts(as_params(values), MAX_PARAMS):
            self._log(params=some)

    @never_stops_training
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        for some in _parts({key: float(value) for key, value in metrics.items()}, MAX_METRICS):
            self._log(metrics=some, step=step)

    @never_stops_training
    def set_tags(self, tags: Mapping[str, str]) -> None:
        for some in _parts({key: masked(value) for key, value in tags.items()}, MAX_PARAMS):
            self._log(tags=some)

    def describe(self, markdown: str) -> None:
        self.set_tags({NOTE: without_links(markdown)})

    @never_stops_training
    def log_file(self, path: Path, folder: str | None = None) -> None:
        self._append("file", file=self.courier.journal.keep_file(path), folder=folder)

    @never_stops_training
    def log_dataset(self, manifest: Manifest, context: str) -> None:
        dataset = {
            "name": slug(manifest.source),
            "digest": manifest.digest[:32],
            "source_type": "local",
            "source": json.dumps({"uri": str(PREPARED)}),
            "schema": json.dumps({"image": ["uint8", *manifest.image_shape], "classes": list(manifest.class_names)}),
            "profile": json.dumps(manifest.counts),
        }
        self._append("dataset", dataset=dataset, context=context)

    @never_stops_training
    def set_status(self, status: str) -> None:
        self._append("status", status=status)

    @never_stops_training
    def end(self, status: str) -> None:
        self._append("end", status=status)

    @never_stops_training
    def start(self, name: str, tags: Mapping[str, str]) -> None:
        """Make the nested run, or set it running."""
        self._append("start", name=name, tags=dict(tags))

    def _log(self, **values: Any) -> None:
        self._append("log", **{"params": {}, "metrics": {}, "tags": {}, "step": 0, **values})

    def _append(self, kind: str, **values: Any) -> None:
        """With the time of now, so that a record that is delivered twice is the same."""
        self.courier.journal.append({**self._run, "op": kind, "at": int(time.time() * 1000), **values})
        self.courier.wake()


class StageRun(Record):
    """The run of a stage. As an observer it keeps a nested run for each trial or seed.

    What an interrupted stage has recorded stands in its journal, delivered or not.
    """

    def __init__(self, courier: Courier, run_id: str, parent: Record, experiment: str) -> None:
        super().__init__(courier, {"run": run_id})
        self.parent = parent
        self.experiment = experiment
        self.next_machine_step = 0
        self._last_epoch: dict[str, int] = {}
        """Of each nested run that was started."""
        for line in courier.journal.all():
            self._remember(line)

    def _remember(self, line: Line) -> None:
        if line["op"] == "keep":
            self._last_epoch = {key: self._last_epoch[key] for key in line["keys"] if key in self._last_epoch}
        elif line["op"] == "start":
            self._last_epoch.setdefault(line["key"], 0)
        elif "key" in line and line["op"] == "log":
            self._last_epoch[line["key"]] = max(self._last_epoch.get(line["key"], 0), line["step"])
        elif line.get("run") == self.run_id and any(key.startswith("system/") for key in line.get("metrics", ())):
            self.next_machine_step = line["step"] + 1

    @never_stops_training
    def resumed(self, history: History, ended: Set[str]) -> None:
        """Join the nested runs that an interrupted stage left; those it does not go on with are deleted."""
        if not self._last_epoch:
            return
        kept = {key: last for key, last in self._last_epoch.items() if key in history}
        self._append("keep", keys=sorted(kept))
        self._last_epoch = kept
        for key in kept:
            for epoch, metrics in sorted(history[key].items()):
                self.epoch(key, epoch, metrics)  # what was not recorded when it was interrupted

    @never_stops_training
    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        trial = Record(self.courier, {"key": key})
        trial.start(name, {NOTE: _values_as_text(values)})
        trial.log_params(values)
        self._last_epoch.setdefault(key, 0)

    @never_stops_training
    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        trial = Record(self.courier, {"key": key})
        trial.set_tags({"reconv.worker": worker, "reconv.begins_after_epoch": str(after_epoch)})

    @never_stops_training
    def noticed(self, key: str, what: str) -> None:
        Record(self.courier, {"key": key}).set_tags({"reconv.noticed": what})

    def note(self, text: str) -> None:
        pass

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """The run of a trial or seed."""
        Record(self.courier, {"key": key}).set_tags(tags)

    def keep_log(self, key: str, path: Path) -> None:
        """The log file of a trial or seed, with its run."""
        Record(self.courier, {"key": key}).log_file(path)

    @never_stops_training
    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch > self._last_epoch[key]:
            self._last_epoch[key] = epoch
            Record(self.courier, {"key": key}).log_metrics(metrics, step=epoch)

    @never_stops_training
    def finished(self, key: str, status: str) -> None:
        trial = Record(self.courier, {"key": key})
        trial.set_tags({"reconv.status": status})
        trial.end("FAILED" if status in ("failed", "diverged") else "FINISHED")


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: masked(str(value))[:_MAX_CHARACTERS] for key, value in values.items()}


def _parts(values: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """As many at a time as one request takes."""
    items = iter(values.items())
    while some := dict(islice(items, size)):
        yield some


def _values_as_text(values: Mapping[str, Any]) -> str:
    shown = (f"`{k}` {v:.3g}" if isinstance(v, float) else f"`{k}` {v}" for k, v in values.items())
    return ", ".join(shown)
