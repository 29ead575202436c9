"""How many metrics a second does one driver bring to an MLflow server that keeps them in PostgreSQL?

A stage's run as the pipeline opens it; 40 trials report 250 epochs in turn, each of ten metrics, as fast as they can.
The clock runs from the first report until the server has all of them, the wait at the stage's end included. How long
the driver itself was held up stands beside it. Server, PostgreSQL and driver share this machine. The contender is what
most training loops do: MLflow's client, one `log_batch` an epoch, which the loop waits for; its rate is that of the
first five epochs. Reports that come as fast as they can fill reconv's requests; slower ones would make them smaller.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from benchmarks.measure import OURS, ROOT, Effort, Row, interleaved, ratio
from benchmarks.servers import MlflowServer, missing_for_postgres, postgres

TITLE = "Tracking: metrics a second from one driver to an MLflow server on PostgreSQL"
_TRIALS, _EPOCHS, _METRICS = 40, 250, 10
_PLAIN = "log_batch an epoch"
_PLAIN_EPOCHS = 5


def measure(effort: Effort) -> list[Row]:
    if missing := missing_for_postgres():
        return [Row("metrics delivered", "1/s", OURS, [], bar=">= 5,000 /s", note=missing)]
    epochs = 2 if effort == "quick" else _EPOCHS
    with tempfile.TemporaryDirectory(prefix="reconv-tracking-") as folder, _server(Path(folder)) as uri, chdir(folder):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        held: list[float] = []
        contenders = {OURS: lambda: _ours(epochs, held), _PLAIN: lambda: _plain(uri, epochs)}
        rates = interleaved(contenders, 1 if effort == "quick" else 3)
    what = f"metrics delivered, {_TRIALS} trials of {epochs} epochs of {_METRICS} metrics"
    better = ratio(rates[OURS], rates[_PLAIN], lower_is_better=False)
    return [
        Row(what, "1/s", OURS, rates[OURS], bar=">= 5,000 /s"),
        Row(what, "1/s", _PLAIN, rates[_PLAIN], ratio=better, note=f"measured over {_PLAIN_EPOCHS} epochs"),
        Row("the driver is held up by an epoch's record", "ms", OURS, held),
    ]


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    folder.chmod(0o755)
    with postgres(folder / "postgres") as store, MlflowServer(store, folder) as server:
        yield server.uri


def _ours(epochs: int, held: list[float]) -> float:
    from reconv.params import load_params
    from reconv.tracking.opening import end_pipeline_run, open_stage_run

    end_pipeline_run()
    params = load_params(ROOT / "params.yaml")
    said: list[str] = []  # that something is refused, or waits
    with open_stage_run(params, "compare", None, said.append) as run:
        keys = [f"trial-{number}" for number in range(_TRIALS)]
        for key in keys:
            run.started(key, key, {"lr": 0.1})
        began = time.perf_counter()
        for epoch in range(1, epochs + 1):
            for key in keys:
                run.epoch(key, epoch, _values(epoch))
        held.append((time.perf_counter() - began) * 1000 / (epochs * _TRIALS))
        for key in keys:
            run.finished(key, "finished")
    seconds = time.perf_counter() - began
    stored = _stored(run.run_id)
    if said or stored != _TRIALS * epochs * _METRICS:
        raise RuntimeError(f"{stored:,} metrics arrived: {said}")
    return stored / seconds


def _stored(run_id: str) -> int:
    """Metrics that the server has of the runs nested in `run_id`."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment_id = client.get_run(run_id).info.experiment_id
    trials = client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return sum(len(client.get_metric_history(trial.info.run_id, key)) for trial in trials for key in _values(1))


def _plain(uri: str, epochs: int) -> float:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("plain")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("plain")
    runs = [client.create_run(experiment_id).info.run_id for _ in range(_TRIALS)]
    epochs = min(epochs, _PLAIN_EPOCHS)  # each takes as long as the next
    began = time.perf_counter()
    for epoch in range(1, epochs + 1):
        for run in runs:
            now = int(time.time() * 1000)
            client.log_batch(run, [Metric(key, value, now, epoch) for key, value in _values(epoch).items()])
    return _TRIALS * epochs * _METRICS / (time.perf_counter() - began)


def _values(epoch: int) -> dict[str, float]:
    return {f"metric/{number}": number / epoch for number in range(_METRICS)}
