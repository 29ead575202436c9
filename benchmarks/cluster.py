"""A search on a Ray cluster of several nodes of this machine: what is lost to bookkeeping, and to a node that dies.

The trials sleep instead of training, since the nodes share two cores, and report an epoch with a checkpoint as real
ones do; trials, searcher, scheduler, saved state and MLflow's records are the pipeline's own.

- Efficiency: 32 trials of four seconds on one, two and four nodes of one core, against the seconds that they sleep.
- Bookkeeping: 1,000 trials of one second on 16 declared CPUs, as in Ray Tune's own published scalability test (14 %
  above the ideal, without a searcher and without MLflow), and on 64.
  Both are counted from the moment when every worker has started, for which two cores take minutes where there are 64.
- A node that is killed under a training: until its first epoch on another is reported.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import reconv.search.search as search_module
from benchmarks.measure import OURS, ROOT, Effort, Row
from benchmarks.photographs import generated
from benchmarks.preparing import fetch_and_prepare
from reconv.data.arrays import PreparedData
from reconv.params import Params, load_params
from reconv.search.space import key_of
from reconv.search.trial import TrialSettings
from reconv.tracking.opening import end_pipeline_run, open_stage_run
from reconv.training.checkpoints import Checkpoints
from reconv.training.cluster import ray_session
from reconv.training.job import EpochResult, jobs_for
from reconv.training.observer import Observers
from reconv.training.seeds import train_seeds

TITLE = "On a cluster: efficiency, bookkeeping, a lost node"

_SECONDS = "RECONV_BENCHMARK_TRIAL_SECONDS"


def measure(effort: Effort) -> list[Row]:
    full = effort == "full"
    repeats = 2 if full else 1
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))  # Ray reads them once
    with tempfile.TemporaryDirectory(prefix="reconv-cluster-") as folder, chdir(folder):
        os.environ["PYTHONPATH"] = str(ROOT)  # the workers import the trial from here
        fetch_and_prepare(generated(40), Path("data"))
        data = PreparedData(Path("data/prepared"))
        rows = []
        for nodes in (1, 2, 4):
            few = (32, 4.0) if full else (8, 0.2)
            values = [100 * _of_ideal(data, [1.0] * nodes, *few) for _ in range(repeats)]
            rows.append(Row(f"efficiency on {nodes} nodes", "%", OURS, values, bar=">= 90 %"))
        for num_trials, seconds, cpus in ((1000, 1.0, 16), (1000, 1.0, 64)) if full else ((16, 0.2, 2),):
            started_meanwhile = 10 * cpus
            above = [
                100 * (1 / _of_ideal(data, [float(cpus)], num_trials + started_meanwhile, seconds) - 1)
                for _ in range(repeats)
            ]
            what = f"{num_trials:,} trials of {seconds:g} s on {cpus} CPUs, above the ideal"
            rows.append(Row(what, "%", OURS, above, bar="<= 15 %"))
        lost = [_seconds_after_a_loss(data) for _ in range(3 if full else 1)]
        rows.append(Row("a node is killed, until its training trains again", "s", OURS, lost, bar="<= 30 s"))
    return rows


class Clock:
    """An observer that notes when epochs end, and how many had when the last worker started."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.before_all = 0
        self._workers: set[str] = set()

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None: ...

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        if worker not in self._workers:
            self._workers.add(worker)
            self.before_all = len(self.ends)

    def noticed(self, key: str, what: str) -> None: ...

    def note(self, text: str) -> None: ...

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.ends.append(time.perf_counter())

    def finished(self, key: str, status: str) -> None: ...

    def resumed(self, history: Any, ended: Any) -> None: ...


def trial_that_sleeps(config: dict[str, Any], settings: TrialSettings) -> None:
    """In place of run_trial: one epoch with what a real one reports, a checkpoint included."""
    from ray import tune

    seconds = float(os.environ[_SECONDS])
    time.sleep(seconds)
    result = EpochResult(1, 1.0, 0.5, 1.0, config["lr"], 1.0, seconds)
    Checkpoints(settings.state, key_of(config)).save(result, lambda path: path.write_bytes(bytes(1024)))
    tune.report({"epoch": 1, **result.as_metrics()})


def _of_ideal(data: PreparedData, cpus_of_nodes: list[float], num_trials: int, seconds: float) -> float:
    """Ideal time / time, from the first trial of the last worker on."""
    one_search = {"budget_epochs": num_trials, "max_epochs": 1, "grace_epochs": 1}
    params = _changed(search=one_search, train={"num_seeds": 1})
    room = round(sum(cpus_of_nodes))
    os.environ[_SECONDS] = str(seconds)
    clock = Clock()
    end_pipeline_run()
    with (
        _cluster(cpus_of_nodes),
        ray_session(params.resources) as session,
        open_stage_run(params, "search", "cnn", print) as run,
        patch.object(search_module, "run_trial", trial_that_sleeps),
        tempfile.TemporaryDirectory() as state,
    ):
        assert session.room == room
        search_module.search("cnn", params, data, Path(state), session, Observers(clock, run))
    assert len(clock.ends) == num_trials
    counted = num_trials - clock.before_all - 1
    share = counted / room * seconds / (clock.ends[-1] - clock.ends[clock.before_all])
    print(f"  {counted} trials on {room} CPUs: {share:.1%} of ideal", file=sys.stderr, flush=True)
    return share


def _seconds_after_a_loss(data: PreparedData) -> float:
    params = _changed(train={"max_epochs": 100_000, "num_seeds": 1})

    class OverError(Exception):
        pass

    class Killer(Clock):
        killed = 0.0

        def begins(self, key: str, after_epoch: int, worker: str) -> None:
            if self.killed:
                assert after_epoch >= 3
                raise OverError

        def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
            if epoch == 3:
                cluster.add_node(num_cpus=1)
                cluster.remove_node(node, allow_graceful=False)
                self.killed = time.perf_counter()

    killer = Killer()
    with _cluster([1.0]) as (cluster, (node,)), tempfile.TemporaryDirectory() as state:
        try:
            with ray_session(params.resources, 1) as session:
                train_seeds(jobs_for("cnn", params, [{}] * params.train.num_seeds), data, Path(state), session, killer)
        except OverError:
            seconds = time.perf_counter() - killer.killed
    print(f"  trains again after {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _changed(**sections: dict[str, int]) -> Params:
    params = load_params(ROOT / "params.yaml")
    changed = {name: getattr(params, name).model_copy(update=values) for name, values in sections.items()}
    return params.model_copy(update=changed)


@contextmanager
def _cluster(cpus_of_nodes: list[float]) -> Iterator[tuple[Any, list[Any]]]:
    """Its head has no core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=cpus) for cpus in cpus_of_nodes]
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield cluster, nodes
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()
