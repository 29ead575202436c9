"""A journal's lines -> MLflow. Whatever is delivered a second time changes nothing there.

MLflow's stores ignore a metric that equals one of the same run in value, time and step; a param or tag is overwritten
by itself; a nested run is found again by its key.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconv.tracking.filters import quoted
from reconv.tracking.journal import Line

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"
KEY = "reconv.key"
MAX_METRICS, MAX_PARAMS = 1000, 100  # of a request, MLflow's own bounds; tags as params
_MAX_BYTES = 800_000  # of 1 MB
_POISONED_SECONDS = 300
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "NOT_FOUND"}
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class Delivery:
    """Of the journal of the stage whose run is `stage_id`, its files in `folder`. Runs are written side by side."""

    def __init__(
        self, client: "MlflowClient", stage_id: str, folder: Path, writers: int, refuse: Callable[[Exception], None]
    ) -> None:
        self._client = client
        self._stage_id = stage_id
        self._folder = folder
        self._writers = writers
        self._refuse = refuse
        self._finding = threading.Lock()
        self._creating = threading.Lock()
        self._nested: dict[str, str] | None = None
        self._experiment_id = ""
        self._failing_since: dict[str, float] = {}

    def deliver(self, lines: Sequence[Line]) -> None:
        """Each run's lines in their order. A record that MLflow refuses for good is told to `refuse` and left out.

        Raises:
            Exception: MLflow cannot take some of them now; all of them are to be delivered again.
        """
        for part in _between_barriers(lines):
            by_run: dict[str, list[Line]] = {}
            for line in part:
                by_run.setdefault(str(line.get("key") or line.get("run")), []).append(line)
            with ThreadPoolExecutor(min(self._writers, len(by_run))) as pool:
                errors = [error for error in pool.map(self._deliver_run, by_run.values()) if error is not None]
            if errors:
                raise errors[0]

    def _deliver_run(self, lines: list[Line]) -> Exception | None:
        for batch in batches(lines):
            try:
                self._try(batch)
            except Exception as error:  # whatever the store's client raises
                return error
        return None

    def _try(self, batch: list[Line]) -> None:
        try:
            self._apply(batch)
        except Exception as error:
            if not _is_refused(error) and not self._is_poison(batch):
                raise
            if len(batch) == 1:
                self._refuse(error)
                return
            for line in batch:
                self._try([line])
        self._failing_since.pop(_name(batch), None)

    def _is_poison(self, batch: list[Line]) -> bool:
        """Whether MLflow has failed at it for minutes while it takes others: it would hold these up for ever."""
        since = self._failing_since.setdefault(_name(batch), time.monotonic())
        if time.monotonic() - since < _POISONED_SECONDS:
            return False
        self._client.set_tag(self._stage_id, "reconv.answers", "yes")
        return True

    def _apply(self, batch: list[Line]) -> None:
        line = batch[0]
        if line["op"] == "keep":
            return self._keep(set(line["keys"]))
        if line["op"] == "start":
            return self._start(line)
        run_id = self._known()[line["key"]] if "key" in line else line["run"]
        match line["op"]:
            case "log":
                self._client.log_batch(run_id, **_entities(batch))
            case "status":
                self._client.update_run(run_id, status=line["status"])
            case "end":
                self._client.set_terminated(run_id, line["status"], line["at"])
            case "file":
                self._client.log_artifact(run_id, str(self._folder / line["file"]), line["folder"])
            case "dataset":
                self._client.log_inputs(run_id, [_dataset(line)])
            case unknown:
                raise ValueError(f"unknown record {unknown}")
        return None

    def _start(self, line: Line) -> None:
        """Create a nested run, or set the one of this key running."""
        known = self._known()
        if line["key"] in known:
            self._client.update_run(known[line["key"]], status="RUNNING")
            return
        tags = {PARENT: self._stage_id, KEY: line["key"], **line["tags"]}
        with self._creating:
            try:
                # The client would send it again when the answer is lost, and so make a second run.
                with _no_retries():
                    run = self._client.create_run(self._experiment(), line["at"], tags, line["name"])
            except Exception:
                self._nested = None  # it may be there nevertheless
                raise
        self._known()[line["key"]] = run.info.run_id

    def _keep(self, keys: set[str]) -> None:
        """Delete the nested runs of all other keys."""
        known = self._known()
        for key in set(known) - keys:
            self._client.delete_run(known[key])
            del known[key]

    def _known(self) -> dict[str, str]:
        """Key -> id of every nested run, asked once."""
        with self._finding:
            if self._nested is None:
                self._nested = self._search()
            return self._nested

    def _search(self) -> dict[str, str]:
        found: dict[str, str] = {}
        token = None
        while True:
            nested = f"tags.`{PARENT}` = {quoted(self._stage_id)}"
            page = self._client.search_runs([self._experiment()], nested, max_results=1000, page_token=token)
            found |= {run.data.tags[KEY]: run.info.run_id for run in page if KEY in run.data.tags}
            token = page.token
            if not token:
                return found

    def _experiment(self) -> str:
        if not self._experiment_id:
            self._experiment_id = self._client.get_run(self._stage_id).info.experiment_id
        return self._experiment_id


def batches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Of one run's lines: neighbours that one request can take; what is not logged goes alone."""
    batch: list[Line] = []
    params: dict[str, str] = {}
    metrics = tags = size = 0
    for line in lines:
        is_log = line["op"] == "log"
        if batch and (
            not is_log
            or batch[0]["op"] != "log"
            or metrics + len(line["metrics"]) > MAX_METRICS
            or len(params) + len(line["params"]) > MAX_PARAMS
            or tags + len(line["tags"]) > MAX_PARAMS
            or size + _bytes(line) > _MAX_BYTES
            or any(params.get(key, value) != value for key, value in line["params"].items())
        ):
            yield batch
            batch, params, metrics, tags, size = [], {}, 0, 0, 0
        batch.append(line)
        if is_log:
            params |= line["params"]
            metrics, tags, size = metrics + len(line["metrics"]), tags + len(line["tags"]), size + _bytes(line)
    if batch:
        yield batch


def _bytes(line: Line) -> int:
    """About what it takes in a request."""
    texts = sum(4 * len(value) + 100 for value in (*line["params"].values(), *line["tags"].values()))
    return texts + 150 * len(line["metrics"])


def _between_barriers(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """`keep` concerns all nested runs, so that it is delivered alone."""
    start = 0
    for index, line in enumerate(lines):
        if line["op"] == "keep":
            if index > start:
                yield lines[start:index]
            yield lines[index : index + 1]
            start = index + 1
    if start < len(lines):
        yield lines[start:]


def _entities(batch: list[Line]) -> dict[str, Any]:
    from mlflow.entities import Metric, Param, RunTag

    params = {key: value for line in batch for key, value in line["params"].items()}
    tags = {key: value for line in batch for key, value in line["tags"].items()}
    return {
        "metrics": [
            Metric(key, value, line["at"], line["step"]) for line in batch for key, value in line["metrics"].items()
        ],
        "params": [Param(key, value) for key, value in params.items()],
        "tags": [RunTag(key, value) for key, value in tags.items()],
    }


def _dataset(line: Line) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**line["dataset"]), [InputTag("mlflow.data.context", line["context"])])


def _is_refused(error: Exception) -> bool:
    """For good: the record is at fault, not the server, the way to it or who may write there."""
    if getattr(error, "error_code", None) in _REFUSED:
        return True
    return isinstance(error, KeyError | ValueError | TypeError | FileNotFoundError | ImportError)


def _name(batch: list[Line]) -> str:
    line = batch[0]
    return f"{line.get('key') or line.get('run')} {line['op']} {line['at']}"


@contextmanager
def _no_retries() -> Iterator[None]:
    before = os.environ.get(_RETRIES)
    os.environ[_RETRIES] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_RETRIES]
        else:
            os.environ[_RETRIES] = before
